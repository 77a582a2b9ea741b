// What a disk device has its image do, one step of a request; and the buffers of a step, cut out of the guest's.
#pragma once

#include <sys/uio.h>

#include <span>
#include <vector>

#include "disk/block_image.h"

namespace doppel {

struct ImageOperation {
  enum class Kind : u8 { read, write, flush, discard, zeroes } kind;
  u64 offset = 0;
  u64 bytes = 0;           // of a discard or zeroes; a transfer has as many as its buffers
  bool may_unmap = false;  // zeroes
};

void submit(disk::BlockImage& image, const ImageOperation& operation, std::span<const iovec> buffers,
            disk::Completion done);

// The bytes [from, from + bytes) of the pieces, which together have them.
std::vector<iovec> cut_buffers(std::span<const std::span<u8>> pieces, u64 from, u64 bytes);

}  // namespace doppel
