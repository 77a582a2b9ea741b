// Walking, making, renaming and removing; see p9_server.h.
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include <cerrno>

#include "device/share/p9_server.h"

namespace doppel::p9 {

namespace {
constexpr u16 most_names = 16;  // of one walk
constexpr int remove_folder = 0x200;
}  // namespace

std::optional<Server::Fid> Server::step(const Fid& from, const std::string& name) {
  Fid to;
  if (name == "..") {  // by the path: a descriptor's parent may be outside of the folder by now
    to.path = split(from.path).first;
    to.inode = folder_.descend(to.path);
  } else if (is_name(name)) {
    to.path = join(from.path, name);
    to.inode = folder_.child(from.inode.get(), name);
  } else {
    errno = ENOENT;
  }
  if (!to.inode) return std::nullopt;
  return to;
}

// Walks as far as it gets; only a walk of all names gives a new fid, and only one of no name at all fails.
int Server::walk(Fields fields, Answer answer) {
  const u32 number = fields.get<u32>(), wanted = fields.get<u32>();
  const u16 count = fields.get<u16>();
  if (!fields.ok() || count > most_names) return EINVAL;
  Fid* from = find(number);
  if (from == nullptr || from->file) return EBADF;
  if (wanted != number && (fids_.contains(wanted) || wanted == no_fid)) return EBADF;
  if (wanted != number && fids_.size() >= most_fids_) return ENFILE;
  Fid at{.inode = folder_.again(from->inode.get()), .path = from->path};
  if (!at.inode) return errno;
  const std::size_t place = answer.size();
  answer.put(u16{0});
  u16 walked = 0;
  for (; walked < count; ++walked) {
    const std::string name = fields.text();
    if (!fields.ok()) return EINVAL;
    auto next = step(at, name);
    if (!next && walked == 0) return errno;
    if (!next) break;
    if (const int error = put_qid_of(next->inode.get(), answer)) return error;
    at = std::move(*next);
  }
  if (!answer.ok()) return EMSGSIZE;
  answer.overwrite(place, walked);
  if (walked == count) fids_.insert_or_assign(wanted, std::move(at));
  return 0;
}

// The folder's fid becomes the new file's, open.
int Server::lcreate(Fields fields, Answer answer) {
  Fid* fid = find(fields.get<u32>());
  const std::string name = fields.text();
  const u32 flags = fields.get<u32>(), mode = fields.get<u32>();
  fields.get<u32>();  // group
  if (!fields.ok() || !is_name(name)) return EINVAL;
  if (fid == nullptr || fid->file) return EBADF;
  if (read_only_) return EROFS;
  const int kept = static_cast<int>(flags) & (O_ACCMODE | O_APPEND | O_SYNC);
  Fid made{.path = join(fid->path, name), .flags = kept};
  made.file = folder_.create(fid->inode.get(), name, kept, mode & permission_bits);
  if (!made.file && (errno != EEXIST || (flags & O_EXCL) != 0)) return errno;
  made.inode = folder_.child(fid->inode.get(), name);
  if (!made.inode) return errno;
  if (!made.file) {
    made.file = folder_.reopen(made.inode.get(), kept | static_cast<int>(flags & O_TRUNC));
  } else {  // of the very file that was made, whatever has that name by now
    made.inode = Fd(::openat(folder_.descriptors(), std::to_string(made.file.get()).c_str(), O_PATH | O_CLOEXEC));
  }
  if (!made.file || !made.inode) return errno;
  if (const int error = put_qid_of(made.inode.get(), answer)) return error;
  answer.put(u32{0});  // iounit: as the message size has it
  *fid = std::move(made);
  return 0;
}

int Server::put_qid_of_child(const Fid& folder, const std::string& name, Answer answer) const {
  const Fd made = folder_.child(folder.inode.get(), name);
  return made ? put_qid_of(made.get(), answer) : errno;
}

int Server::symlink(Fields fields, Answer answer) {
  const Fid* fid = find(fields.get<u32>());
  const std::string name = fields.text(), target = fields.text();
  if (!fields.ok() || !is_name(name) || target.find('\0') != std::string::npos) return EINVAL;
  if (fid == nullptr) return EBADF;
  if (read_only_) return EROFS;
  if (::symlinkat(target.c_str(), fid->inode.get(), name.c_str()) != 0) return errno;
  return put_qid_of_child(*fid, name, answer);
}

int Server::mknod(Fields fields, Answer answer) {
  const Fid* fid = find(fields.get<u32>());
  const std::string name = fields.text();
  const u32 mode = fields.get<u32>();
  if (!fields.ok() || !is_name(name)) return EINVAL;
  if (fid == nullptr) return EBADF;
  if (read_only_) return EROFS;
  const u32 type = mode & S_IFMT;
  if (type != 0 && type != S_IFREG && type != S_IFIFO && type != S_IFSOCK) return EPERM;  // no devices
  if (::mknodat(fid->inode.get(), name.c_str(), type | (mode & permission_bits), 0) != 0) return errno;
  return put_qid_of_child(*fid, name, answer);
}

int Server::mkdir(Fields fields, Answer answer) {
  const Fid* fid = find(fields.get<u32>());
  const std::string name = fields.text();
  const u32 mode = fields.get<u32>();
  if (!fields.ok() || !is_name(name)) return EINVAL;
  if (fid == nullptr) return EBADF;
  if (read_only_) return EROFS;
  if (::mkdirat(fid->inode.get(), name.c_str(), mode & permission_bits) != 0) return errno;
  return put_qid_of_child(*fid, name, answer);
}

int Server::link(Fields fields, Answer) {
  const Fid* folder = find(fields.get<u32>());
  const Fid* fid = find(fields.get<u32>());
  const std::string name = fields.text();
  if (!fields.ok() || !is_name(name)) return EINVAL;
  if (folder == nullptr || fid == nullptr) return EBADF;
  if (read_only_) return EROFS;
  const std::string source = std::to_string(fid->inode.get());
  const int failed = ::linkat(folder_.descriptors(), source.c_str(), folder->inode.get(), name.c_str(),
                              AT_SYMLINK_FOLLOW);
  return failed != 0 ? errno : 0;
}

// Fids keep their files through a rename, so their paths follow.
int Server::rename_path(int from_folder, const std::string& from_folder_path, const std::string& from,
                        const Fid& to_folder, const std::string& to) {
  if (read_only_) return EROFS;
  if (::renameat(from_folder, from.c_str(), to_folder.inode.get(), to.c_str()) != 0) return errno;
  const std::string before = join(from_folder_path, from), after = join(to_folder.path, to);
  for (auto& [number, fid] : fids_) {
    if (fid.path == before) {
      fid.path = after;
    } else if (fid.path.starts_with(before + "/")) {
      fid.path = after + fid.path.substr(before.size());
    }
  }
  return 0;
}

int Server::rename(Fields fields, Answer) {
  const Fid* fid = find(fields.get<u32>());
  const Fid* folder = find(fields.get<u32>());
  const std::string name = fields.text();
  if (!fields.ok() || !is_name(name)) return EINVAL;
  if (fid == nullptr || folder == nullptr) return EBADF;
  if (fid->path.empty()) return EBUSY;  // the root
  const auto [parent_path, old_name] = split(fid->path);
  const Fd parent = folder_.descend(parent_path);
  if (!parent) return errno;
  return rename_path(parent.get(), parent_path, old_name, *folder, name);
}

int Server::renameat(Fields fields, Answer) {
  const Fid* from = find(fields.get<u32>());
  const std::string old_name = fields.text();
  const Fid* to = find(fields.get<u32>());
  const std::string new_name = fields.text();
  if (!fields.ok() || !is_name(old_name) || !is_name(new_name)) return EINVAL;
  if (from == nullptr || to == nullptr) return EBADF;
  const std::string from_path = from->path;
  return rename_path(from->inode.get(), from_path, old_name, *to, new_name);
}

int Server::unlinkat(Fields fields, Answer) {
  const Fid* fid = find(fields.get<u32>());
  const std::string name = fields.text();
  const u32 flags = fields.get<u32>();
  if (!fields.ok() || !is_name(name)) return EINVAL;
  if (fid == nullptr) return EBADF;
  if (read_only_) return EROFS;
  const int how = (flags & remove_folder) != 0 ? AT_REMOVEDIR : 0;
  return ::unlinkat(fid->inode.get(), name.c_str(), how) != 0 ? errno : 0;
}

// The fid goes even if the file stays.
int Server::remove(Fields fields, Answer) {
  const u32 number = fields.get<u32>();
  Fid* fid = find(number);
  if (!fields.ok()) return EINVAL;
  if (fid == nullptr) return EBADF;
  struct stat info{};
  const int failed = ::fstat(fid->inode.get(), &info);
  const auto [parent_path, name] = split(fid->path);
  const bool is_root = fid->path.empty();
  fids_.erase(number);
  if (failed != 0) return EIO;
  if (is_root) return EBUSY;
  if (read_only_) return EROFS;
  const Fd parent = folder_.descend(parent_path);
  if (!parent) return errno;
  return ::unlinkat(parent.get(), name.c_str(), S_ISDIR(info.st_mode) ? AT_REMOVEDIR : 0) != 0 ? errno : 0;
}

}  // namespace doppel::p9
