// Raw images; see raw.h.
#include "disk/raw.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>

#include "base/bits.h"
#include "base/units.h"
#include "disk/buffers.h"
#include "disk/host_file.h"

namespace doppel::disk {

namespace {

constexpr int zero_range = FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE;
constexpr u64 zero_piece = 64 * KiB;
constexpr unsigned zero_pieces = 16;  // at most so many in one request

// The same zeroes for every piece of every request: nobody writes to them.
iovec zeroes(u64 bytes) {
  static const std::array<u8, zero_piece> zero{};
  return {.iov_base = const_cast<u8*>(zero.data()), .iov_len = bytes};
}

}  // namespace

int check_range(u64 offset, u64 bytes, u64 size_bytes) {
  if (offset % sector_bytes != 0 || bytes % sector_bytes != 0) return EINVAL;
  return offset <= size_bytes && bytes <= size_bytes - offset ? 0 : EINVAL;
}

Result<std::unique_ptr<RawImage>> RawImage::open(const std::string& path, bool read_only, IoEngine& engine) {
  std::unique_ptr<RawImage> image(new RawImage(path, read_only, engine));
  image->fd_ = TRY(open_image_file(path, read_only));
  image->size_bytes_ = TRY(image_file_bytes(image->fd_.get(), path));
  if (image->size_bytes_ == 0)
    return fail(
        fmt::format("disk '{}' is empty; give it a size with: doppel disk resize --format raw '{}' 8G", path, path));
  if (image->size_bytes_ % sector_bytes != 0) {
    return fail(
        fmt::format("disk '{}' has {} bytes, which is not a multiple of 512; a raw image always is: pad it with: "
                    "truncate -s %512 '{}'",
                    path, image->size_bytes_, path));
  }
  struct stat info{};
  if (::fstat(image->fd_.get(), &info) != 0) return fail_errno(fmt::format("cannot look at disk '{}'", path));
  const u32 block = static_cast<u32>(std::clamp<long>(info.st_blksize, 512, 1 << 20));
  image->preferred_bytes_ = std::bit_floor(block);
  return image;
}

void RawImage::read(u64 offset, std::span<const iovec> buffers, Completion done) {
  if (const int error = check_range(offset, total_bytes(buffers), size_bytes_))
    return engine_.complete(error, std::move(done));
  const int fd = direct_.choose(fd_.get(), offset, buffers, size_bytes_);
  engine_.submit({.kind = IoRequest::Kind::read,
                  .fd = fd,
                  .offset = offset,
                  .buffers = buffers,
                  .cached = fd == fd_.get(),
                  .done = std::move(done)});
}

void RawImage::write(u64 offset, std::span<const iovec> buffers, Completion done) {
  if (read_only_) return engine_.complete(EROFS, std::move(done));
  if (const int error = check_range(offset, total_bytes(buffers), size_bytes_))
    return engine_.complete(error, std::move(done));
  const int fd = direct_.choose(fd_.get(), offset, buffers, size_bytes_);
  engine_.submit({.kind = IoRequest::Kind::write,
                  .fd = fd,
                  .offset = offset,
                  .buffers = buffers,
                  .cached = fd == fd_.get(),
                  .done = std::move(done)});
}

bool RawImage::read_at_once(u64 offset, std::span<const iovec> buffers) {
  return transfer_at_once(IoRequest::Kind::read, offset, buffers);
}

bool RawImage::write_at_once(u64 offset, std::span<const iovec> buffers) {
  return !read_only_ && transfer_at_once(IoRequest::Kind::write, offset, buffers);
}

// Direct transfers wait for the medium.
bool RawImage::transfer_at_once(IoRequest::Kind kind, u64 offset, std::span<const iovec> buffers) {
  if (check_range(offset, total_bytes(buffers), size_bytes_) != 0) return false;
  if (direct_.choose(fd_.get(), offset, buffers, size_bytes_) != fd_.get()) return false;
  return engine_.transfer_at_once({.kind = kind, .fd = fd_.get(), .offset = offset, .buffers = buffers, .cached = true});
}

void RawImage::flush(Completion done) {
  if (read_only_) return engine_.complete(0, std::move(done));
  engine_.submit({.kind = IoRequest::Kind::sync_data, .fd = fd_.get(), .done = std::move(done)});
}

void RawImage::discard(u64 offset, u64 bytes, Completion done) {
  if (read_only_) return engine_.complete(EROFS, std::move(done));
  if (const int error = check_range(offset, bytes, size_bytes_)) return engine_.complete(error, std::move(done));
  if (bytes == 0) return engine_.complete(0, std::move(done));
  // A host that cannot punch holes keeps the data, which a discard allows.
  engine_.submit({.kind = IoRequest::Kind::allocate,
                  .fd = fd_.get(),
                  .offset = offset,
                  .bytes = bytes,
                  .mode = punch_hole,
                  .done = [done = std::move(done)](int error) { done(not_supported(error) ? 0 : error); }});
}

void RawImage::write_zeroes(u64 offset, u64 bytes, bool may_unmap, Completion done) {
  if (read_only_) return engine_.complete(EROFS, std::move(done));
  if (const int error = check_range(offset, bytes, size_bytes_)) return engine_.complete(error, std::move(done));
  if (bytes == 0) return engine_.complete(0, std::move(done));
  engine_.submit({.kind = IoRequest::Kind::allocate,
                  .fd = fd_.get(),
                  .offset = offset,
                  .bytes = bytes,
                  .mode = may_unmap ? punch_hole : zero_range,
                  .done = [this, offset, bytes, done = std::move(done)](int error) mutable {
                    if (!not_supported(error)) return done(error);
                    zero_by_writing(offset, bytes, std::move(done));
                  }});
}

// One request after another, so that a large range holds no more than one list of buffers.
void RawImage::zero_by_writing(u64 offset, u64 bytes, Completion done) {
  struct Job {
    RawImage& image;
    u64 offset, left;
    Completion done;
    std::vector<iovec> buffers{};
  };
  auto step = [](auto self, std::shared_ptr<Job> job) -> void {
    const u64 at = job->offset;
    job->buffers.clear();
    while (job->left != 0 && job->buffers.size() < zero_pieces) {
      job->buffers.push_back(zeroes(std::min(job->left, zero_piece)));
      job->offset += job->buffers.back().iov_len;
      job->left -= job->buffers.back().iov_len;
    }
    IoRequest request{.kind = IoRequest::Kind::write, .fd = job->image.fd_.get(), .offset = at, .buffers = job->buffers};
    request.done = [self, job](int error) {
      if (error != 0 || job->left == 0) return job->done(error);
      self(self, job);
    };
    job->image.engine_.submit(std::move(request));
  };
  step(step, std::make_shared<Job>(*this, offset, bytes, std::move(done)));
}

// What a shrunk image loses goes at once; there is nothing to order.
void RawImage::resize(u64 bytes, Completion done) {
  if (read_only_) return engine_.complete(EROFS, std::move(done));
  if (bytes % sector_bytes != 0 || bytes == 0) return engine_.complete(EINVAL, std::move(done));
  if (::ftruncate(fd_.get(), static_cast<off_t>(bytes)) != 0) return engine_.complete(errno, std::move(done));
  size_bytes_ = bytes;
  engine_.complete(0, std::move(done));
}

// A host that knows no holes has only data.
RawImage::Stretch RawImage::run_at(u64 offset, u64 most) const {
  const off_t data = ::lseek(fd_.get(), static_cast<off_t>(offset), SEEK_DATA);
  if (data < 0) return {most, errno == ENXIO};
  if (static_cast<u64>(data) > offset)
    return {std::min(most, align_down(static_cast<u64>(data), sector_bytes) - offset), true};
  const off_t hole = ::lseek(fd_.get(), static_cast<off_t>(offset), SEEK_HOLE);
  if (hole <= static_cast<off_t>(offset)) return {most, false};
  return {std::min(most, align_up(static_cast<u64>(hole), sector_bytes) - offset), false};
}

void RawImage::state(state::Archive& archive) {
  archive.begin("raw-image", 1);
  u64 size = size_bytes_;
  archive(size);
  archive.require(size == size_bytes_, "disk size: it is not the disk that the machine was saved with");
  archive.end();
}

}  // namespace doppel::disk
