// Opening, reading, writing, lists of folders, locks; see p9_server.h.
#include <dirent.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "device/share/p9_server.h"

namespace doppel::p9 {

namespace {

constexpr std::size_t list_bytes = 32 << 10;  // of the kernel's entries at a time
constexpr int kept_flags = O_ACCMODE | O_APPEND | O_SYNC;

// Lock types and answers of the dialect.
enum LockType : u8 { lock_read = 0, lock_write = 1, lock_none = 2 };
enum LockStatus : u8 { lock_success = 0, lock_blocked = 1, lock_error = 2 };

// struct linux_dirent64, getdents64(2).
struct [[gnu::packed]] EntryHead {
  u64 inode;
  i64 next;
  u16 bytes;
  u8 type;
};

struct flock lock_of(u8 type, u64 start, u64 length) {
  struct flock lock{};
  lock.l_type = static_cast<short>(type == lock_read ? F_RDLCK : type == lock_write ? F_WRLCK : F_UNLCK);
  lock.l_whence = SEEK_SET;
  lock.l_start = static_cast<off_t>(start);
  lock.l_len = static_cast<off_t>(length);
  return lock;
}

}  // namespace

int Server::lopen(Fields fields, Answer answer) {
  Fid* fid = find(fields.get<u32>());
  const u32 flags = fields.get<u32>();
  if (!fields.ok()) return EINVAL;
  if (fid == nullptr || fid->file) return EBADF;
  const int kept = static_cast<int>(flags) & kept_flags;
  const bool changes = (kept & O_ACCMODE) != O_RDONLY || (flags & O_TRUNC) != 0;
  if (read_only_ && changes) return EROFS;
  Fd file = folder_.reopen(fid->inode.get(), kept | static_cast<int>(flags & O_TRUNC));
  if (!file) return errno;
  if (const int error = put_qid_of(fid->inode.get(), answer)) return error;
  answer.put(u32{0});  // iounit: as the message size has it
  fid->file = std::move(file);
  fid->flags = kept;
  return 0;
}

int Server::read(Fields fields, Answer answer) {
  const Fid* fid = find(fields.get<u32>());
  const u64 offset = fields.get<u64>();
  const u32 count = fields.get<u32>();
  if (!fields.ok()) return EINVAL;
  if (fid == nullptr || !fid->file) return EBADF;
  const std::size_t place = answer.size();
  answer.put(u32{0});
  if (!answer.ok()) return EMSGSIZE;
  const std::size_t wanted = std::min<std::size_t>(count, answer.left());
  u8* data = answer.extend(wanted);
  const ssize_t got = ::pread(fid->file.get(), data, wanted, static_cast<off_t>(offset));
  if (got < 0) return errno;
  answer.truncate(place + 4 + static_cast<std::size_t>(got));
  answer.overwrite(place, static_cast<u32>(got));
  return 0;
}

int Server::write(Fields fields, Answer answer) {
  const Fid* fid = find(fields.get<u32>());
  const u64 offset = fields.get<u64>();
  const auto data = fields.take(fields.get<u32>());
  if (!fields.ok()) return EINVAL;
  if (fid == nullptr || !fid->file) return EBADF;
  if (read_only_) return EROFS;
  if ((fid->flags & O_ACCMODE) == O_RDONLY) return EBADF;
  const ssize_t put = ::pwrite(fid->file.get(), data.data(), data.size(), static_cast<off_t>(offset));
  if (put < 0) return errno;
  answer.put(static_cast<u32>(put));
  return 0;
}

// Entries as many as fit: qid, the offset of the next one, type, name.
int Server::readdir(Fields fields, Answer answer) {
  const Fid* fid = find(fields.get<u32>());
  const u64 offset = fields.get<u64>();
  const u32 count = fields.get<u32>();
  if (!fields.ok()) return EINVAL;
  if (fid == nullptr || !fid->file) return EBADF;
  const std::size_t place = answer.size();
  answer.put(u32{0});
  if (!answer.ok()) return EMSGSIZE;
  const std::size_t end = answer.size() + std::min<std::size_t>(count, answer.left());
  if (::lseek(fid->file.get(), static_cast<off_t>(offset), SEEK_SET) < 0) return errno;
  std::array<u8, list_bytes> list;
  for (bool room = true; room;) {
    const long got = ::syscall(SYS_getdents64, fid->file.get(), list.data(), list.size());
    if (got < 0) return errno;
    if (got == 0) break;
    for (long at = 0; at < got && room;) {
      EntryHead head;
      std::memcpy(&head, list.data() + at, sizeof head);
      const char* name = reinterpret_cast<const char*>(list.data() + at) + sizeof head;
      at += head.bytes;
      const std::size_t bytes = 13 + 8 + 1 + 2 + std::strlen(name);
      room = answer.size() + bytes <= end;
      if (!room) break;
      answer.put(static_cast<u8>(head.type == DT_DIR ? qid_folder : head.type == DT_LNK ? qid_link : qid_file));
      answer.put(u32{0});
      answer.put(head.inode);
      answer.put(static_cast<u64>(head.next));
      answer.put(head.type);
      answer.text(name);
    }
    if (!room && answer.size() == place + 4) return EINVAL;  // not even one
  }
  answer.overwrite(place, static_cast<u32>(answer.size() - place - 4));
  return 0;
}

int Server::readlink(Fields fields, Answer answer) {
  const Fid* fid = find(fields.get<u32>());
  if (!fields.ok()) return EINVAL;
  if (fid == nullptr) return EBADF;
  std::array<char, 4096> target;
  const ssize_t length = ::readlinkat(fid->inode.get(), "", target.data(), target.size());
  if (length < 0) return errno == ENOENT ? EINVAL : errno;  // what is no link
  answer.text({target.data(), static_cast<std::size_t>(length)});
  return 0;
}

int Server::fsync(Fields fields, Answer) {
  const Fid* fid = find(fields.get<u32>());
  const u32 data_only = fields.get<u32>();
  if (!fields.ok()) return EINVAL;
  if (fid == nullptr || !fid->file) return EBADF;
  return (data_only != 0 ? ::fdatasync(fid->file.get()) : ::fsync(fid->file.get())) != 0 ? errno : 0;
}

// Locks belong to the fid's open file, so they hold towards the host's programs and between fids; they never wait here: a
// client that wants to asks again.
int Server::lock(Fields fields, Answer answer) {
  Fid* fid = find(fields.get<u32>());
  const u8 type = fields.get<u8>();
  fields.get<u32>();  // flags: whether the client waits
  const u64 start = fields.get<u64>(), length = fields.get<u64>();
  fields.get<u32>();  // process
  fields.text();      // client
  if (!fields.ok() || type > lock_none) return EINVAL;
  if (fid == nullptr || !fid->file) return EBADF;
  // flock(2) locks a file for writing that was opened for reading: then it needs to be open for both here.
  if (type == lock_write && !read_only_ && (fid->flags & O_ACCMODE) == O_RDONLY) {
    if (Fd both = folder_.reopen(fid->inode.get(), O_RDWR)) fid->file = std::move(both);
  }
  struct flock wanted = lock_of(type, start, length);
  u8 status = lock_success;
  if (::fcntl(fid->file.get(), F_OFD_SETLK, &wanted) != 0)
    status = errno == EAGAIN || errno == EACCES ? lock_blocked : lock_error;
  answer.put(status);
  return 0;
}

int Server::getlock(Fields fields, Answer answer) {
  const Fid* fid = find(fields.get<u32>());
  u8 type = fields.get<u8>();
  u64 start = fields.get<u64>(), length = fields.get<u64>();
  const u32 process = fields.get<u32>();
  const std::string client = fields.text();
  if (!fields.ok() || type > lock_none) return EINVAL;
  if (fid == nullptr || !fid->file) return EBADF;
  struct flock asked = lock_of(type, start, length);
  if (type != lock_none && ::fcntl(fid->file.get(), F_OFD_GETLK, &asked) != 0) return errno;
  if (type == lock_none || asked.l_type == F_UNLCK) {
    type = lock_none;
  } else {
    type = asked.l_type == F_RDLCK ? lock_read : lock_write;
    start = static_cast<u64>(asked.l_start);
    length = static_cast<u64>(asked.l_len);
  }
  answer.put(type);
  answer.put(start);
  answer.put(length);
  answer.put(process);
  answer.text(client);
  return 0;
}

}  // namespace doppel::p9
