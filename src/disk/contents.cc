// See contents.h.
#include "disk/contents.h"

#include <cerrno>
#include <cstring>

#include "base/bits.h"
#include "disk/buffers.h"
#include "disk/raw.h"

namespace doppel::disk {

Contents::Contents(std::string name, std::string bytes, IoEngine& engine)
    : name_(std::move(name)), bytes_(std::move(bytes)), engine_(engine) {
  bytes_.resize(align_up(bytes_.size(), sector_bytes));
}

void Contents::read(u64 offset, std::span<const iovec> buffers, Completion done) {
  if (const int error = check_range(offset, total_bytes(buffers), size_bytes()))
    return engine_.complete(error, std::move(done));
  for (const iovec& buffer : buffers) {
    std::memcpy(buffer.iov_base, bytes_.data() + offset, buffer.iov_len);
    offset += buffer.iov_len;
  }
  engine_.complete(0, std::move(done));
}

void Contents::write(u64, std::span<const iovec>, Completion done) { engine_.complete(EROFS, std::move(done)); }
void Contents::flush(Completion done) { engine_.complete(0, std::move(done)); }
void Contents::discard(u64, u64, Completion done) { engine_.complete(EROFS, std::move(done)); }
void Contents::write_zeroes(u64, u64, bool, Completion done) { engine_.complete(EROFS, std::move(done)); }
void Contents::resize(u64, Completion done) { engine_.complete(EROFS, std::move(done)); }

void Contents::state(state::Archive& archive) {
  archive.begin("contents", 1);
  std::string bytes = bytes_;
  archive(bytes, 64 << 20);
  archive.require(bytes == bytes_, "contents of a disk: it is not the one that the machine was saved with");
  archive.end();
}

}  // namespace doppel::disk
