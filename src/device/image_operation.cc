// See image_operation.h.
#include "device/image_operation.h"

#include <algorithm>

#include "base/check.h"

namespace doppel {

void submit(disk::BlockImage& image, const ImageOperation& operation, std::span<const iovec> buffers,
            disk::Completion done) {
  switch (operation.kind) {
    case ImageOperation::Kind::read: return image.read(operation.offset, buffers, std::move(done));
    case ImageOperation::Kind::write: return image.write(operation.offset, buffers, std::move(done));
    case ImageOperation::Kind::flush: return image.flush(std::move(done));
    case ImageOperation::Kind::discard: return image.discard(operation.offset, operation.bytes, std::move(done));
    case ImageOperation::Kind::zeroes:
      return image.write_zeroes(operation.offset, operation.bytes, operation.may_unmap, std::move(done));
  }
}

std::vector<iovec> cut_buffers(std::span<const std::span<u8>> pieces, u64 from, u64 bytes) {
  std::vector<iovec> buffers;
  for (const auto& piece : pieces) {
    const u64 skip = std::min<u64>(from, piece.size());
    const u64 part = std::min<u64>(bytes, piece.size() - skip);
    if (part != 0) buffers.push_back({.iov_base = piece.data() + skip, .iov_len = part});
    from -= skip;
    bytes -= part;
  }
  CHECK(bytes == 0);
  return buffers;
}

}  // namespace doppel
