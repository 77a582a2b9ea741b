// See contents.h.
#include "disk/contents.h"

#include <cerrno>
#include <cstring>

namespace doppel::disk {

Contents::Contents(std::string name, std::string bytes, IoEngine& engine)
    : name_(std::move(name)), bytes_(std::move(bytes)), engine_(engine) {
  bytes_.resize((bytes_.size() + sector_bytes - 1) / sector_bytes * sector_bytes);
}

void Contents::complete(int error, Completion done) {
  engine_.submit({.kind = IoRequest::Kind::nothing,
                  .done = [error, done = std::move(done)](int failed) { done(failed != 0 ? failed : error); }});
}

void Contents::read(u64 offset, std::span<const iovec> buffers, Completion done) {
  u64 total = 0;
  for (const iovec& buffer : buffers) total += buffer.iov_len;
  const bool inside = offset <= bytes_.size() && total <= bytes_.size() - offset;
  if (!inside || offset % sector_bytes != 0 || total % sector_bytes != 0) return complete(EINVAL, std::move(done));
  for (const iovec& buffer : buffers) {
    std::memcpy(buffer.iov_base, bytes_.data() + offset, buffer.iov_len);
    offset += buffer.iov_len;
  }
  complete(0, std::move(done));
}

void Contents::write(u64, std::span<const iovec>, Completion done) { complete(EROFS, std::move(done)); }
void Contents::flush(Completion done) { complete(0, std::move(done)); }
void Contents::discard(u64, u64, Completion done) { complete(EROFS, std::move(done)); }
void Contents::write_zeroes(u64, u64, bool, Completion done) { complete(EROFS, std::move(done)); }

void Contents::state(state::Archive& archive) {
  archive.begin("contents", 1);
  std::string bytes = bytes_;
  archive(bytes, 64 << 20);
  archive.require(bytes == bytes_, "contents of a disk: it is not the one that the machine was saved with");
  archive.end();
}

}  // namespace doppel::disk
