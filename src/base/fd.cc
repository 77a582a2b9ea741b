// File descriptors: see fd.h.
#include "base/fd.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "base/units.h"

namespace doppel {

void Fd::reset() {
  if (fd_ >= 0) ::close(std::exchange(fd_, -1));
}

Result<Fd> open_file(const std::string& path, int flags, int mode) {
  int fd;
  do {
    fd = ::open(path.c_str(), flags | O_CLOEXEC, mode);
  } while (fd < 0 && errno == EINTR);
  if (fd < 0) return fail_errno(fmt::format("cannot open '{}'", path));
  return Fd(fd);
}

Result<std::string> read_file(const std::string& path, u64 limit) {
  // Non-blocking, so that a FIFO without a writer is refused instead of waited for.
  const Fd fd = TRY(open_file(path, O_RDONLY | O_NONBLOCK));
  struct stat info{};
  if (::fstat(fd.get(), &info) != 0) return fail_errno(fmt::format("cannot examine '{}'", path));
  if (S_ISDIR(info.st_mode)) return fail(fmt::format("cannot read '{}': it is a directory", path));
  if (!S_ISREG(info.st_mode)) return fail(fmt::format("cannot read '{}': it is not a regular file", path));
  const auto size = static_cast<u64>(info.st_size);
  if (size > limit) {
    return fail(fmt::format("'{}' is too large: {} where at most {} fit", path, format_size(size), format_size(limit)));
  }
  std::string contents(size, '\0');
  std::size_t filled = 0;
  while (filled < contents.size()) {
    const ssize_t count = ::read(fd.get(), contents.data() + filled, contents.size() - filled);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return fail_errno(fmt::format("cannot read '{}'", path));
    if (count == 0) break;  // it shrank meanwhile
    filled += static_cast<std::size_t>(count);
  }
  contents.resize(filled);
  return contents;
}

Result<> write_file(const std::string& path, std::string_view text) {
  const Fd fd = TRY(open_file(path, O_WRONLY | O_CREAT | O_TRUNC));
  if (auto written = write_all(fd.get(), {reinterpret_cast<const u8*>(text.data()), text.size()}); !written)
    return fail(fmt::format("'{}': {}", path, written.error().message));
  return {};
}

Result<> write_all(int fd, std::span<const u8> bytes) {
  while (!bytes.empty()) {
    const ssize_t count = ::write(fd, bytes.data(), bytes.size());
    if (count >= 0) {
      bytes = bytes.subspan(static_cast<std::size_t>(count));
    } else if (errno == EAGAIN) {
      struct pollfd writable{.fd = fd, .events = POLLOUT, .revents = 0};
      ::poll(&writable, 1, -1);
    } else if (errno != EINTR) {
      return fail_errno("cannot write");
    }
  }
  return {};
}

}  // namespace doppel
