// A small ISO 9660 file system (ECMA-119, level 1 by name length) with Joliet names: one folder of small files, as seeds for
// cloud-init are. Left out: folders, Rock Ridge, boot records.
#pragma once

#include <string>
#include <vector>

#include "base/types.h"

namespace doppel::image {

struct IsoFile {
  std::string name;  // letters, digits, dots, dashes and underscores; at most 64
  std::string contents;
};

// The whole image, a multiple of 2048 bytes. `label`: at most 16 characters. The same files give the same bytes.
std::vector<u8> make_iso(const std::string& label, const std::vector<IsoFile>& files);

}  // namespace doppel::image
