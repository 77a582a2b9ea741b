// See host_file.h.
#include "disk/host_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "base/units.h"
#include "disk/buffers.h"
#include "disk/image_lock.h"

namespace doppel::disk {

namespace {

static_assert(punch_hole == (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE));

std::unexpected<Error> cannot_open(const std::string& path, bool read_only, int error) {
  switch (error) {
    case ENOENT:
      return fail(fmt::format("disk '{}' does not exist; create one with: doppel disk create '{}' 8G", path, path));
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

// The same zeroes for every piece of every request: nobody writes to them.
constexpr u64 zero_piece = 64 * KiB;
iovec zeroes(u64 bytes) {
  static const std::array<u8, zero_piece> zero{};
  return {.iov_base = const_cast<u8*>(zero.data()), .iov_len = bytes};
}

}  // namespace

bool not_supported(int error) { return error == EOPNOTSUPP || error == ENOSYS || error == ENOTTY || error == ENODEV; }

Result<Fd> open_image_file(const std::string& path, bool read_only) {
  struct stat info{};
  if (::stat(path.c_str(), &info) != 0) return cannot_open(path, read_only, errno);
  if (S_ISDIR(info.st_mode)) return cannot_open(path, read_only, EISDIR);
  if (!S_ISREG(info.st_mode) && !S_ISBLK(info.st_mode))
    return fail(fmt::format("disk '{}' is neither a file nor a block device", path));
  // O_EXCL on a block device: refused while it is mounted.
  const int flags = (read_only ? O_RDONLY : O_RDWR | (S_ISBLK(info.st_mode) ? O_EXCL : 0)) | O_CLOEXEC | O_NOCTTY;
  Fd fd(::open(path.c_str(), flags));
  if (!fd) return cannot_open(path, read_only, errno);
  TRY(lock_image(fd.get(), path, !read_only));
  return fd;
}

Result<u64> image_file_bytes(int fd, const std::string& path) {
  struct stat info{};
  if (::fstat(fd, &info) != 0) return fail_errno(fmt::format("cannot look at disk '{}'", path));
  u64 bytes = static_cast<u64>(info.st_size);
  if (S_ISBLK(info.st_mode) && ::ioctl(fd, BLKGETSIZE64, &bytes) != 0)
    return fail_errno(fmt::format("cannot tell the size of disk '{}'", path));
  return bytes;
}

Result<> DirectPath::open(int fd, const std::string& path, bool read_only) {
  fd_ = Fd(::open(fmt::format("/proc/self/fd/{}", fd).c_str(), (read_only ? O_RDONLY : O_RDWR) | O_DIRECT | O_CLOEXEC));
  if (fd_) return {};
  return fail_errno(fmt::format("disk '{}' cannot be used without the host's cache (use cache=writeback)", path));
}

int DirectPath::choose(int other, u64 offset, std::span<const iovec> buffers, u64 end) const {
  constexpr u64 alignment = 4096;
  if (!fd_) return other;
  u64 bits = offset, bytes = 0;
  for (const iovec& buffer : buffers) {
    bits |= reinterpret_cast<u64>(buffer.iov_base) | buffer.iov_len;
    bytes += buffer.iov_len;
  }
  return (bits & (alignment - 1)) == 0 && offset + bytes <= end ? fd_.get() : other;
}

int perform_now(IoEngine& engine, IoRequest request) {
  int result = EIO;
  request.done = [&result](int error) { result = error; };
  engine.submit(std::move(request));
  engine.drain();
  return result;
}

Result<HostFile> HostFile::open(const std::string& path, bool read_only, IoEngine& engine) {
  Fd fd = TRY(open_image_file(path, read_only));
  const u64 bytes = TRY(image_file_bytes(fd.get(), path));
  return HostFile(path, std::move(fd), bytes, engine);
}

Task HostFile::read(Strand& strand, u64 offset, std::span<const iovec> buffers) const {
  const u64 wanted = total_bytes(buffers);
  const u64 there = offset >= end_ ? 0 : std::min(wanted, end_ - offset);
  std::vector<iovec> clipped;
  std::span<const iovec> list = buffers;
  if (there < wanted) {
    fill_zero(slice(buffers, there, wanted - there));
    clipped = slice(buffers, 0, there);
    list = clipped;
  }
  if (there == 0) co_return 0;
  const int fd = fd_for(offset, list);
  IoWait wait{strand,
              {.kind = IoRequest::Kind::read, .fd = fd, .offset = offset, .buffers = list, .cached = is_cached(fd)}};
  co_return co_await wait;
}

Task HostFile::write(Strand& strand, u64 offset, std::span<const iovec> buffers) {
  const u64 bytes = total_bytes(buffers);
  const int fd = direct_.choose(fd_.get(), offset, buffers, ~u64{0});
  IoWait wait{strand,
              {.kind = IoRequest::Kind::write, .fd = fd, .offset = offset, .buffers = buffers, .cached = is_cached(fd)}};
  const int error = co_await wait;
  if (error == 0) reached(offset + bytes);
  co_return error;
}

Task HostFile::write_zeroes(Strand& strand, u64 offset, u64 bytes) {
  constexpr unsigned most = 64;  // pieces in one request
  std::vector<iovec> list;
  while (bytes != 0) {
    list.clear();
    u64 part = 0;
    while (part < bytes && list.size() < most) {
      list.push_back(zeroes(std::min(bytes - part, zero_piece)));
      part += list.back().iov_len;
    }
    const int error = co_await write(strand, offset, list);
    if (error != 0) co_return error;
    offset += part;
    bytes -= part;
  }
  co_return 0;
}

Task HostFile::sync(Strand& strand) const {
  IoWait wait{strand, {.kind = IoRequest::Kind::sync_data, .fd = fd_.get()}};
  co_return co_await wait;
}

Task HostFile::punch(Strand& strand, u64 offset, u64 bytes) const {
  IoWait wait{
      strand,
      {.kind = IoRequest::Kind::allocate, .fd = fd_.get(), .offset = offset, .bytes = bytes, .mode = punch_hole}};
  co_return co_await wait;
}

Result<> HostFile::read_now(u64 offset, std::span<u8> bytes) const {
  const u64 there = offset >= end_ ? 0 : std::min<u64>(bytes.size(), end_ - offset);
  std::ranges::fill(bytes.subspan(there), u8{0});
  if (there == 0) return {};
  const iovec list = buffer_of(bytes.first(there));
  const int error = perform_now(
      *engine_, {.kind = IoRequest::Kind::read, .fd = fd_.get(), .offset = offset, .buffers = {&list, 1}});
  if (error != 0) return fail_errno(fmt::format("cannot read disk '{}'", path_), error);
  return {};
}

Result<> HostFile::write_now(u64 offset, std::span<const u8> bytes) {
  const iovec list = buffer_of(bytes);
  const int error = perform_now(
      *engine_, {.kind = IoRequest::Kind::write, .fd = fd_.get(), .offset = offset, .buffers = {&list, 1}});
  if (error != 0) return fail_errno(fmt::format("cannot write disk '{}'", path_), error);
  reached(offset + bytes.size());
  return {};
}

Result<> HostFile::sync_now() const {
  const int error = perform_now(*engine_, {.kind = IoRequest::Kind::sync_data, .fd = fd_.get()});
  if (error != 0) return fail_errno(fmt::format("cannot write disk '{}' to its medium", path_), error);
  return {};
}

void HostFile::punch_now(u64 offset, u64 bytes) const {
  perform_now(
      *engine_,
      {.kind = IoRequest::Kind::allocate, .fd = fd_.get(), .offset = offset, .bytes = bytes, .mode = punch_hole});
}

Result<> HostFile::truncate(u64 bytes) {
  if (::ftruncate(fd_.get(), static_cast<off_t>(bytes)) != 0)
    return fail_errno(fmt::format("cannot change the size of disk '{}'", path_));
  end_ = bytes;
  return {};
}

}  // namespace doppel::disk
