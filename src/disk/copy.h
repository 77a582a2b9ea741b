// What is done with whole images: copying, comparing, committing to the backing file, changing the backing file. Nobody uses
// the images meanwhile, and no event loop runs on their engine.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "base/result.h"
#include "disk/block_image.h"
#include "disk/qcow2/image.h"

namespace doppel::disk {

using Progress = std::function<void(u64 done_bytes, u64 total_bytes)>;

// Where a run of an image's bytes comes from.
struct Extent {
  enum class Kind : u8 { data, zero, compressed };
  Kind kind = Kind::data;
  u64 offset = 0, bytes = 0;
  unsigned depth = 0;        // 0: the image itself, 1: its backing file …
  std::optional<u64> place;  // data: the offset in the file that has it
  bool operator==(const Extent&) const = default;
};
// The run at `offset`, of at most `most` bytes. What is known without reading data.
Result<Extent> extent_at(BlockImage& image, u64 offset, u64 most);

// Performs one request to its end.
Result<> wait_for(BlockImage& image, const char* what, const std::function<void(Completion)>& start);

// `to` is new and reads as zeroes, and is at least as large. `compress`: only if it is qcow2.
Result<> copy_image(BlockImage& from, BlockImage& to, bool compress, const Progress& progress);
// The first offset at which they differ. A longer one must have zeroes at its end.
Result<std::optional<u64>> compare_images(BlockImage& one, BlockImage& other, const Progress& progress);
// Writes what the image itself holds to its backing file, which is open for writing. The image stays as it is.
Result<> commit_image(qcow2::Image& image, const Progress& progress);
// Copies to the image what it has from its backing file where `next` (nullptr: none) has something else.
Result<> keep_contents(qcow2::Image& image, BlockImage* next, const Progress& progress);

}  // namespace doppel::disk
