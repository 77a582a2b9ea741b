// How a disk uses the host's page cache, and what a write means: the modes that QEMU users know.
//
//                 the host's page cache    a completed write is on the medium    a flush
//   writeback     used                     after the next flush                  fdatasync
//   writethrough  used                     at once                               fdatasync
//   none          left out for the data    after the next flush                  fdatasync
//   directsync    left out for the data    at once                               fdatasync
//   unsafe        used                     at some time                          does nothing
//
// Left out means O_DIRECT for requests that are aligned to 4 KiB in the file and in memory, which a guest's mostly are;
// others, and metadata, go through the cache, with which the kernel keeps direct requests consistent.
#pragma once

#include <memory>
#include <string_view>

#include "base/result.h"
#include "base/types.h"
#include "disk/block_image.h"
#include "disk/io_engine.h"

namespace doppel::disk {

enum class CacheMode : u8 { writeback, writethrough, none, directsync, unsafe };

Result<CacheMode> parse_cache_mode(std::string_view text);  // a usage error names what there is
inline bool is_direct(CacheMode mode) { return mode == CacheMode::none || mode == CacheMode::directsync; }

// What the mode says about writes and flushes, around an image; the image itself for modes that say nothing.
std::unique_ptr<BlockImage> with_cache_mode(std::unique_ptr<BlockImage> image, CacheMode mode, IoEngine& engine);

}  // namespace doppel::disk
