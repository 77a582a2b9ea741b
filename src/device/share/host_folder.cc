// See host_folder.h.
#include "device/share/host_folder.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

namespace doppel::p9 {

namespace {

constexpr u64 confined = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;

Fd open_beneath(int folder, const char* name, int flags, unsigned mode = 0) {
  open_how how{};
  how.flags = static_cast<u64>(flags | O_CLOEXEC | O_NOFOLLOW);
  how.mode = mode;
  how.resolve = confined;
  // EAGAIN: something was renamed meanwhile, and the kernel could not tell where it was.
  for (int tries = 0;; ++tries) {
    const long fd = ::syscall(SYS_openat2, folder, name, &how, sizeof how);
    if (fd >= 0 || errno != EAGAIN || tries == 100) return Fd(static_cast<int>(fd));
  }
}

}  // namespace

bool is_name(std::string_view name) {
  return !name.empty() && name != "." && name != ".." && name.size() <= 255 &&
         name.find_first_of(std::string_view("/\0", 2)) == std::string_view::npos;
}

Result<HostFolder> HostFolder::open(const std::string& path) {
  Fd root(::open(path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!root && errno == ENOTDIR) return fail(fmt::format("cannot share '{}': it is not a folder", path));
  if (!root) return fail_errno(fmt::format("cannot share '{}'", path));
  Fd descriptors(::open("/proc/self/fd", O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!descriptors) return fail_errno("cannot share a folder: /proc/self/fd");
  HostFolder folder(std::move(root), std::move(descriptors));
  if (const Fd readable = folder.reopen(folder.root(), O_RDONLY); !readable)
    return fail_errno(fmt::format("cannot share '{}'", path));
  if (const Fd test = open_beneath(folder.root(), ".", O_PATH); !test)
    return fail_errno(fmt::format("cannot share '{}': openat2, which Linux 5.6 and later have", path));
  return folder;
}

Fd HostFolder::child(int folder, const std::string& name) const { return open_beneath(folder, name.c_str(), O_PATH); }

Fd HostFolder::descend(std::string_view path) const {
  if (path.empty()) return again(root_.get());
  return open_beneath(root_.get(), std::string(path).c_str(), O_PATH);
}

Fd HostFolder::again(int inode) const { return Fd(::fcntl(inode, F_DUPFD_CLOEXEC, 3)); }

Fd HostFolder::reopen(int inode, int flags) const {
  struct stat info{};
  if (::fstat(inode, &info) != 0) return {};
  if (!S_ISREG(info.st_mode) && !S_ISDIR(info.st_mode)) {
    errno = S_ISLNK(info.st_mode) ? ELOOP : ENXIO;
    return {};
  }
  return Fd(::openat(descriptors_.get(), fmt::format("{}", inode).c_str(), flags | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
}

Fd HostFolder::create(int folder, const std::string& name, int flags, unsigned mode) const {
  return open_beneath(folder, name.c_str(), flags | O_CREAT | O_EXCL | O_NONBLOCK | O_NOCTTY, mode);
}

}  // namespace doppel::p9
