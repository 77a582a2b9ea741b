// Raw images; see raw.h.
#include "disk/raw.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>

#include "base/units.h"
#include "disk/image_lock.h"

namespace doppel::disk {

namespace {

constexpr int punch_hole = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
constexpr int zero_range = FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE;
constexpr u64 zero_piece = 64 * KiB;
constexpr unsigned zero_pieces = 16;  // at most so many in one request

bool not_supported(int error) { return error == EOPNOTSUPP || error == ENOSYS || error == ENOTTY || error == ENODEV; }

// The same zeroes for every piece of every request: nobody writes to them.
iovec zeroes(u64 bytes) {
  static const std::array<u8, zero_piece> zero{};
  return {.iov_base = const_cast<u8*>(zero.data()), .iov_len = bytes};
}

std::unexpected<Error> cannot_open(const std::string& path, bool read_only, int error) {
  switch (error) {
    case ENOENT: return fail(fmt::format("disk '{}' does not exist; create one with: truncate -s 8G '{}'", path, path));
    case EISDIR: return fail(fmt::format("disk '{}' is a folder; name an image file in it", path));
    case EROFS:
    case EACCES:
    case EPERM:
      if (!read_only)
        return fail(fmt::format(
            "disk '{}' cannot be written; attach it read-only, as a snapshot, or change its permissions", path));
      return fail(fmt::format("disk '{}' cannot be read; change its permissions", path));
    case EBUSY: return fail(fmt::format("disk '{}' is in use, perhaps mounted; unmount it first", path));
    default: return fail_errno(fmt::format("cannot open disk '{}'", path), error);
  }
}

}  // namespace

int check_range(u64 offset, u64 bytes, u64 size_bytes) {
  if (offset % sector_bytes != 0 || bytes % sector_bytes != 0) return EINVAL;
  return offset <= size_bytes && bytes <= size_bytes - offset ? 0 : EINVAL;
}

u64 total_bytes(std::span<const iovec> buffers) {
  u64 total = 0;
  for (const iovec& buffer : buffers) total += buffer.iov_len;
  return total;
}

Result<std::unique_ptr<RawImage>> RawImage::open(const std::string& path, bool read_only, IoEngine& engine) {
  struct stat info{};
  if (::stat(path.c_str(), &info) != 0) return cannot_open(path, read_only, errno);
  if (S_ISDIR(info.st_mode)) return cannot_open(path, read_only, EISDIR);
  if (!S_ISREG(info.st_mode) && !S_ISBLK(info.st_mode)) {
    return fail(fmt::format("disk '{}' is neither a file nor a block device", path));
  }
  std::unique_ptr<RawImage> image(new RawImage(path, read_only, engine));
  // O_EXCL on a block device: refused while it is mounted.
  const int flags = (read_only ? O_RDONLY : O_RDWR | (S_ISBLK(info.st_mode) ? O_EXCL : 0)) | O_CLOEXEC | O_NOCTTY;
  image->fd_ = Fd(::open(path.c_str(), flags));
  if (!image->fd_) return cannot_open(path, read_only, errno);
  TRY(lock_image(image->fd_.get(), path, !read_only));

  if (::fstat(image->fd_.get(), &info) != 0) return fail_errno(fmt::format("cannot look at disk '{}'", path));
  image->size_bytes_ = static_cast<u64>(info.st_size);
  if (S_ISBLK(info.st_mode) && ::ioctl(image->fd_.get(), BLKGETSIZE64, &image->size_bytes_) != 0) {
    return fail_errno(fmt::format("cannot tell the size of disk '{}'", path));
  }
  if (image->size_bytes_ == 0)
    return fail(fmt::format("disk '{}' is empty; give it a size with: truncate -s 8G '{}'", path, path));
  if (image->size_bytes_ % sector_bytes != 0) {
    return fail(
        fmt::format("disk '{}' has {} bytes, which is not a multiple of 512; a raw image always is: pad it with: "
                    "truncate -s %512 '{}'",
                    path, image->size_bytes_, path));
  }
  const u32 block = static_cast<u32>(std::clamp<long>(info.st_blksize, 512, 1 << 20));
  image->preferred_bytes_ = std::bit_floor(block);
  return image;
}

void RawImage::read(u64 offset, std::span<const iovec> buffers, Completion done) {
  if (const int error = check_range(offset, total_bytes(buffers), size_bytes_))
    return engine_.complete(error, std::move(done));
  engine_.submit(
      {.kind = IoRequest::Kind::read, .fd = fd_.get(), .offset = offset, .buffers = buffers, .done = std::move(done)});
}

void RawImage::write(u64 offset, std::span<const iovec> buffers, Completion done) {
  if (read_only_) return engine_.complete(EROFS, std::move(done));
  if (const int error = check_range(offset, total_bytes(buffers), size_bytes_))
    return engine_.complete(error, std::move(done));
  engine_.submit(
      {.kind = IoRequest::Kind::write, .fd = fd_.get(), .offset = offset, .buffers = buffers, .done = std::move(done)});
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

void RawImage::state(state::Archive& archive) {
  archive.begin("raw-image", 1);
  u64 size = size_bytes_;
  archive(size);
  archive.require(size == size_bytes_, "disk size: it is not the disk that the machine was saved with");
  archive.end();
}

}  // namespace doppel::disk
