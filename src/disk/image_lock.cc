// Image locks; see image_lock.h.
//
// QEMU's scheme (docs/system/qemu-block-drivers, "Disk image file locking"): byte 100+p is read-locked by whoever uses
// permission p, byte 200+p by whoever does not want others to use p. Whoever takes locks first and then finds that a
// byte of the other kind is locked by another open file gives way.
#include "disk/image_lock.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/magic.h>
#include <sys/file.h>
#include <sys/vfs.h>

#include <cerrno>
#include <initializer_list>

#include "base/log.h"
#include "base/types.h"

namespace doppel::disk {

namespace {

constexpr int use_base = 100, exclude_base = 200;
constexpr int consistent_read = 0, write = 1, resize = 3;  // permissions

enum class Outcome { locked, busy, unsupported };

struct flock one_byte(short type, int byte) {
  struct flock lock{};
  lock.l_type = type;
  lock.l_whence = SEEK_SET;
  lock.l_start = byte;
  lock.l_len = 1;
  return lock;
}

bool is_conflict(int error) { return error == EAGAIN || error == EACCES || error == EWOULDBLOCK; }

Outcome hold(int fd, int byte) {
  struct flock lock = one_byte(F_RDLCK, byte);
  if (::fcntl(fd, F_OFD_SETLK, &lock) == 0) return Outcome::locked;
  return is_conflict(errno) ? Outcome::busy : Outcome::unsupported;
}

// Whether another open file holds a lock on the byte.
bool held_by_another(int fd, int byte) {
  struct flock lock = one_byte(F_WRLCK, byte);
  return ::fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

Outcome lock_bytes(int fd, bool for_writing) {
  const auto excluded = {write, resize};  // nobody but us writes
  Outcome outcome = hold(fd, use_base + consistent_read);
  if (for_writing && outcome == Outcome::locked) outcome = hold(fd, use_base + write);
  for (const int permission : excluded) {
    if (outcome == Outcome::locked) outcome = hold(fd, exclude_base + permission);
  }
  if (outcome != Outcome::locked) return outcome;
  if (held_by_another(fd, exclude_base + consistent_read)) return Outcome::busy;
  if (for_writing && held_by_another(fd, exclude_base + write)) return Outcome::busy;
  for (const int permission : excluded) {
    if (held_by_another(fd, use_base + permission)) return Outcome::busy;
  }
  return Outcome::locked;
}

// NFS turns flock into a lock of all bytes, which would collide with the byte locks of this very file.
bool flock_is_byte_lock(int fd) {
  struct statfs info{};
  return ::fstatfs(fd, &info) == 0 && info.f_type == NFS_SUPER_MAGIC;
}

Outcome lock_whole(int fd, bool for_writing) {
  if (flock_is_byte_lock(fd)) return Outcome::unsupported;
  if (::flock(fd, (for_writing ? LOCK_EX : LOCK_SH) | LOCK_NB) == 0) return Outcome::locked;
  return is_conflict(errno) ? Outcome::busy : Outcome::unsupported;
}

}  // namespace

Result<> lock_image(int fd, const std::string& path, bool for_writing) {
  const Outcome whole = lock_whole(fd, for_writing);
  const Outcome bytes = whole == Outcome::busy ? Outcome::busy : lock_bytes(fd, for_writing);
  if (bytes == Outcome::busy) {
    return fail(
        for_writing
            ? fmt::format("disk '{}' is in use by another machine; stop that one first, or use a copy of the disk", path)
            : fmt::format(
                  "disk '{}' is being written by another machine; stop that one first, or use a copy of the disk",
                  path));
  }
  if (whole == Outcome::unsupported && bytes == Outcome::unsupported) {
    if (for_writing)
      return fail(fmt::format("disk '{}' cannot be locked: its file system has no locks; copy it to a local one", path));
    log::warning("disk '{}' cannot be locked: its file system has no locks", path);
  }
  return {};
}

}  // namespace doppel::disk
