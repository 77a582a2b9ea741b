// Opens a disk as the user named it: finds the format, opens the files behind it, applies read-only and snapshot.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "disk/block_image.h"
#include "disk/cache_mode.h"
#include "disk/format.h"
#include "disk/io_engine.h"
#include "disk/qcow2/image.h"

namespace doppel::disk {

struct DiskOptions {
  std::string path;
  Format format = Format::automatic;
  bool read_only = false;
  bool snapshot = false;  // writes go to a temporary file and are lost; the image itself is only read
  CacheMode cache = CacheMode::writeback;
  // Not empty: the disk is an overlay of this raw image; it is made when it does not exist.
  std::string base{};
};

// Errors are for the user: one line that names the disk and says what to do.
Result<std::unique_ptr<BlockImage>> open_disk(const DiskOptions& options, IoEngine& engine);

// A qcow2 image, with its backing files opened for reading unless `alone`; the first of them for writing if `commit`.
struct ImageOptions {
  bool read_only = false;
  bool alone = false;
  bool commit = false;
  qcow2::Image::Purpose purpose = qcow2::Image::Purpose::use;
};
Result<std::unique_ptr<qcow2::Image>> open_qcow2(const std::string& path, const ImageOptions& options, IoEngine& engine);
// What an image's backing file is called from here.
Result<std::string> backing_path(const qcow2::Image& image);
Result<std::string> backing_path(const std::string& image, std::string_view name);
// A file for reading with all that lies behind it, which `image` (a path) must not be.
Result<std::unique_ptr<BlockImage>> open_backing(const std::string& image, const std::string& path, Format format,
                                                 IoEngine& engine);

}  // namespace doppel::disk
