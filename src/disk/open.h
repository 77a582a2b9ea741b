// Opens a disk as the user named it: picks the format, applies read-only and snapshot.
#pragma once

#include <memory>
#include <string>

#include "base/result.h"
#include "disk/block_image.h"
#include "disk/io_engine.h"

namespace doppel::disk {

struct DiskOptions {
  enum class Format { automatic, raw };

  std::string path;
  Format format = Format::automatic;
  bool read_only = false;
  bool snapshot = false;  // writes go to a temporary file and are lost; the image itself is only read
};

// Errors are for the user: one line that names the disk and says what to do.
Result<std::unique_ptr<BlockImage>> open_disk(const DiskOptions& options, IoEngine& engine);

}  // namespace doppel::disk
