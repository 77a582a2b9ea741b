// The session; see p9_server.h.
#include "device/share/p9_server.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <cerrno>

namespace doppel::p9 {

namespace {

constexpr std::size_t most_fids = 65536;
constexpr std::size_t spare_descriptors = 512;  // for everything else in the process
constexpr u8 type_error_answer = 7;

// A fid takes two descriptors at most. The usual soft limit of 1024 is for programs that use select().
std::size_t fid_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return 64;
  const rlim_t wanted = std::min<rlim_t>(limit.rlim_max, 2 * most_fids + spare_descriptors);
  if (limit.rlim_cur < wanted) {
    limit.rlim_cur = wanted;
    ::setrlimit(RLIMIT_NOFILE, &limit);
    ::getrlimit(RLIMIT_NOFILE, &limit);
  }
  if (limit.rlim_cur < 2 * spare_descriptors) return 64;
  return std::min<std::size_t>(most_fids, (limit.rlim_cur - spare_descriptors) / 2);
}

}  // namespace

void put_qid(const struct stat& info, Writer& answer) {
  answer.put(static_cast<u8>(S_ISDIR(info.st_mode) ? qid_folder : S_ISLNK(info.st_mode) ? qid_link : qid_file));
  answer.put(static_cast<u32>(0));  // version: a client that caches would rely on it
  // Inode numbers of other file systems that are mounted inside must not meet.
  answer.put(u64{info.st_ino} ^ u64{info.st_dev} << 48);
}

std::string join(const std::string& folder, const std::string& name) {
  return folder.empty() ? name : folder + "/" + name;
}

std::pair<std::string, std::string> split(const std::string& path) {
  const auto slash = path.rfind('/');
  if (slash == std::string::npos) return {"", path};
  return {path.substr(0, slash), path.substr(slash + 1)};
}

Result<std::unique_ptr<Server>> Server::create(const std::string& path, bool read_only) {
  auto folder = TRY(HostFolder::open(path));
  return std::unique_ptr<Server>(new Server(std::move(folder), path, read_only));
}

Server::Server(HostFolder folder, std::string path, bool read_only)
    : folder_(std::move(folder)), path_(std::move(path)), read_only_(read_only), most_fids_(fid_limit()) {}

void Server::reset() {
  fids_.clear();
  message_bytes_ = largest_message;
}

Server::Handler Server::handler_of(u8 type) {
  switch (type) {
    case 8: return &Server::statfs;
    case 12: return &Server::lopen;
    case 14: return &Server::lcreate;
    case 16: return &Server::symlink;
    case 18: return &Server::mknod;
    case 20: return &Server::rename;
    case 22: return &Server::readlink;
    case 24: return &Server::getattr;
    case 26: return &Server::setattr;
    case 30: return &Server::xattr;  // xattrwalk
    case 32: return &Server::xattr;  // xattrcreate
    case 40: return &Server::readdir;
    case 50: return &Server::fsync;
    case 52: return &Server::lock;
    case 54: return &Server::getlock;
    case 70: return &Server::link;
    case 72: return &Server::mkdir;
    case 74: return &Server::renameat;
    case 76: return &Server::unlinkat;
    case 100: return &Server::version;
    case 102: return &Server::auth;
    case 104: return &Server::attach;
    case 108: return &Server::flush;
    case 110: return &Server::walk;
    case 116: return &Server::read;
    case 118: return &Server::write;
    case 120: return &Server::clunk;
    case 122: return &Server::remove;
    default: return nullptr;
  }
}

std::vector<u8> Server::answer(std::span<const u8> request, std::size_t capacity) {
  Reader fields(request);
  const u32 size = fields.get<u32>();
  const u8 type = fields.get<u8>();
  const u16 tag = fields.get<u16>();
  Writer answer(std::min<std::size_t>(capacity, message_bytes_));
  answer.put(u32{0});
  answer.put(static_cast<u8>(type + 1));
  answer.put(tag);
  int error = EOPNOTSUPP;
  if (size < header_bytes || size > request.size() || size > message_bytes_) {
    error = EINVAL;
  } else if (const Handler handler = handler_of(type)) {
    Reader body(request.subspan(header_bytes, size - header_bytes));
    error = (this->*handler)(body, answer);
    if (error == 0 && !answer.ok()) error = EMSGSIZE;
  }
  if (error != 0) {
    answer = Writer(error_bytes);
    answer.put(u32{0});
    answer.put(type_error_answer);
    answer.put(tag);
    answer.put(static_cast<u32>(error));
  }
  answer.overwrite(0, static_cast<u32>(answer.size()));
  return answer.take_bytes();
}

Server::Fid* Server::find(u32 fid) {
  const auto found = fids_.find(fid);
  return found == fids_.end() ? nullptr : &found->second;
}

int Server::add(u32 number, Fid fid) {
  if (number == no_fid || fids_.contains(number)) return EBADF;
  if (fids_.size() >= most_fids_) return ENFILE;
  fids_.emplace(number, std::move(fid));
  return 0;
}

int Server::put_qid_of(int inode, Answer answer) const {
  struct stat info{};
  if (::fstat(inode, &info) != 0) return errno;
  put_qid(info, answer);
  return 0;
}

// ---- session ----

// Begins a new session. A dialect that we do not speak is answered with "unknown", which is no error.
int Server::version(Fields fields, Answer answer) {
  const u32 size = fields.get<u32>();
  const std::string dialect = fields.text();
  if (!fields.ok()) return EINVAL;
  reset();
  const bool known = dialect == "9P2000.L" && size >= least_message;
  if (known) message_bytes_ = std::min(size, largest_message);
  answer.put(std::min(size, largest_message));
  answer.text(known ? "9P2000.L" : "unknown");
  return 0;
}

int Server::auth(Fields, Answer) { return EOPNOTSUPP; }

int Server::attach(Fields fields, Answer answer) {
  const u32 number = fields.get<u32>();
  const u32 authentication = fields.get<u32>();
  fields.text();      // user
  fields.text();      // which tree: there is one
  fields.get<u32>();  // user, as a number
  if (!fields.ok() || authentication != no_fid) return EINVAL;
  Fid fid{.inode = folder_.again(folder_.root())};
  if (!fid.inode) return errno;
  if (const int error = put_qid_of(fid.inode.get(), answer)) return error;
  return add(number, std::move(fid));
}

// Requests are answered in turn: the one to be flushed has been answered.
int Server::flush(Fields fields, Answer) {
  fields.get<u16>();
  return fields.ok() ? 0 : EINVAL;
}

int Server::clunk(Fields fields, Answer) {
  const u32 number = fields.get<u32>();
  if (!fields.ok()) return EINVAL;
  return fids_.erase(number) == 1 ? 0 : EBADF;
}

// ---- saved state ----

void Server::state(state::Archive& archive) {
  archive.begin("p9-session", 1);
  archive(message_bytes_);
  archive.require(message_bytes_ >= least_message && message_bytes_ <= largest_message, "message size");
  u32 count = static_cast<u32>(fids_.size());
  archive(count);
  archive.require(count <= most_fids, "number of fids");
  if (archive.saving()) {
    for (auto& [number, fid] : fids_) {
      struct stat info{};
      if (::fstat(fid.inode.get(), &info) != 0 || info.st_nlink == 0) {
        archive.reject(fmt::format("cannot save a machine that has the removed file '{}/{}' open", path_, fid.path));
      }
      u32 name = number, type = info.st_mode & S_IFMT, flags = static_cast<u32>(fid.flags);
      bool open = static_cast<bool>(fid.file);
      archive(name);
      archive(fid.path, 1 << 16);
      archive(type);
      archive(open);
      archive(flags);
    }
  } else {
    reset();
    for (u32 i = 0; i < count && archive.ok(); ++i) load(archive);
  }
  archive.end();
}

void Server::load(state::Archive& archive) {
  u32 number = 0, type = 0, flags = 0;
  bool open = false;
  Fid fid;
  archive(number);
  archive(fid.path, 1 << 16);
  archive(type);
  archive(open);
  archive(flags);
  if (!archive.ok()) return;
  const auto reject = [&] {
    archive.reject(
        fmt::format("the shared folder '{}' no longer has '{}' as it was when the machine was saved", path_, fid.path));
  };
  fid.inode = folder_.descend(fid.path);
  struct stat info{};
  if (!fid.inode || ::fstat(fid.inode.get(), &info) != 0 || (info.st_mode & S_IFMT) != type) return reject();
  fid.flags = static_cast<int>(flags) & (O_ACCMODE | O_APPEND | O_SYNC);
  if (read_only_ && (fid.flags & O_ACCMODE) != O_RDONLY) return reject();
  if (open) fid.file = folder_.reopen(fid.inode.get(), fid.flags);
  if (open && !fid.file) return reject();
  archive.require(add(number, std::move(fid)) == 0, "fid");
}

}  // namespace doppel::p9
