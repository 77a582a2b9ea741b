// Attributes of files and of the file system; see p9_server.h.
#include <fcntl.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>

#include "device/share/p9_server.h"

namespace doppel::p9 {

namespace {

constexpr u64 basic_attributes = 0x7ff;
constexpr u32 file_system_magic = 0x01021997;
// Which attributes to set.
enum Valid : u32 {
  set_mode = 1 << 0,
  set_user = 1 << 1,
  set_group = 1 << 2,
  set_size_ = 1 << 3,
  set_access_time = 1 << 4,
  set_modify_time = 1 << 5,
  access_time_given = 1 << 7,
  modify_time_given = 1 << 8,
};

timespec time_to_set(u32 valid, u32 set, u32 given, u64 seconds, u64 nanoseconds) {
  if ((valid & set) == 0) return {.tv_sec = 0, .tv_nsec = UTIME_OMIT};
  if ((valid & given) == 0) return {.tv_sec = 0, .tv_nsec = UTIME_NOW};
  return {.tv_sec = static_cast<time_t>(seconds), .tv_nsec = static_cast<long>(nanoseconds)};
}

}  // namespace

int Server::getattr(Fields fields, Answer answer) {
  const Fid* fid = find(fields.get<u32>());
  fields.get<u64>();  // which are wanted: all come
  if (!fields.ok()) return EINVAL;
  if (fid == nullptr) return EBADF;
  struct stat info{};
  if (::fstat(fid->inode.get(), &info) != 0) return errno;
  answer.put(basic_attributes);
  put_qid(info, answer);
  answer.put(u32{info.st_mode});
  answer.put(u32{info.st_uid});
  answer.put(u32{info.st_gid});
  answer.put(u64{info.st_nlink});
  answer.put(u64{info.st_rdev});
  for (const auto value : {info.st_size, info.st_blksize, info.st_blocks}) answer.put(static_cast<u64>(value));
  for (const timespec& time : {info.st_atim, info.st_mtim, info.st_ctim}) {
    answer.put(static_cast<u64>(time.tv_sec));
    answer.put(static_cast<u64>(time.tv_nsec));
  }
  for (int i = 0; i < 4; ++i) answer.put(u64{0});  // birth, generation, data version: not known
  return 0;
}

int Server::set_size(const Fid& fid, const struct stat& info, u64 size) {
  if (!S_ISREG(info.st_mode)) return EINVAL;
  Fd opened;
  int file = fid.file.get();
  if (file < 0 || (fid.flags & O_ACCMODE) == O_RDONLY) {
    opened = folder_.reopen(fid.inode.get(), O_WRONLY);
    if (!opened) return errno;
    file = opened.get();
  }
  return ::ftruncate(file, static_cast<off_t>(size)) != 0 ? errno : 0;
}

int Server::setattr(Fields fields, Answer) {
  const Fid* fid = find(fields.get<u32>());
  const u32 valid = fields.get<u32>(), mode = fields.get<u32>(), user = fields.get<u32>(), group = fields.get<u32>();
  const u64 size = fields.get<u64>();
  const u64 access = fields.get<u64>(), access_part = fields.get<u64>();
  const u64 modify = fields.get<u64>(), modify_part = fields.get<u64>();
  if (!fields.ok()) return EINVAL;
  if (fid == nullptr) return EBADF;
  if (read_only_) return EROFS;
  struct stat info{};
  if (::fstat(fid->inode.get(), &info) != 0) return errno;
  const std::string inode = std::to_string(fid->inode.get());
  if ((valid & set_mode) != 0) {
    if (S_ISLNK(info.st_mode)) return EOPNOTSUPP;
    if (::fchmodat(folder_.descriptors(), inode.c_str(), mode & permission_bits, 0) != 0) return errno;
  }
  if ((valid & (set_user | set_group)) != 0) {
    const uid_t to_user = (valid & set_user) != 0 ? user : ~uid_t{0};
    const gid_t to_group = (valid & set_group) != 0 ? group : ~gid_t{0};
    // An ordinary user's files are its own whatever the guest says.
    if (::fchownat(fid->inode.get(), "", to_user, to_group, AT_EMPTY_PATH) != 0 && errno != EPERM) return errno;
  }
  if ((valid & set_size_) != 0) {
    if (const int error = set_size(*fid, info, size)) return error;
  }
  if ((valid & (set_access_time | set_modify_time)) == 0) return 0;
  const timespec times[2] = {time_to_set(valid, set_access_time, access_time_given, access, access_part),
                             time_to_set(valid, set_modify_time, modify_time_given, modify, modify_part)};
  const int failed = S_ISLNK(info.st_mode) ? ::utimensat(fid->inode.get(), "", times, AT_EMPTY_PATH)
                                           : ::utimensat(folder_.descriptors(), inode.c_str(), times, 0);
  return failed != 0 ? errno : 0;
}

int Server::statfs(Fields fields, Answer answer) {
  const Fid* fid = find(fields.get<u32>());
  if (!fields.ok()) return EINVAL;
  if (fid == nullptr) return EBADF;
  struct statfs info{};
  if (::fstatfs(fid->inode.get(), &info) != 0) return errno;
  answer.put(file_system_magic);
  answer.put(static_cast<u32>(info.f_bsize));
  for (const u64 value : {info.f_blocks, info.f_bfree, info.f_bavail, info.f_files, info.f_ffree}) answer.put(value);
  u64 id = 0;
  std::memcpy(&id, &info.f_fsid, sizeof id);
  answer.put(id);
  answer.put(static_cast<u32>(info.f_namelen));
  return 0;
}

int Server::xattr(Fields, Answer) { return EOPNOTSUPP; }

}  // namespace doppel::p9
