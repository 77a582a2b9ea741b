// The formats of disk images, and how the format of a file is found.
//
// A file's first bytes never decide how it is read: the guest of a raw disk writes them, and one that wrote a qcow2 header
// naming a file of the host as its backing file would be given that file. So the format is what the user or the image above
// says, else what the file's name says (*.qcow2), else raw; and a raw file that begins like an image of another format is
// refused until the format is named.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "base/types.h"

namespace doppel::disk {

enum class Format : u8 { automatic, raw, qcow2 };

// "raw", "qcow2"; a usage error names what there is.
Result<Format> parse_format(std::string_view text);
std::string_view format_name(Format format);
// The format of a file by the rule above; never automatic.
Result<Format> find_format(const std::string& path, Format named);

}  // namespace doppel::disk
