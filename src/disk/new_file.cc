// See new_file.h.
#include "disk/new_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>

namespace doppel::disk {

namespace {

std::string folder_of(const std::string& path) {
  const std::string folder = std::filesystem::path(path).parent_path().string();
  return folder.empty() ? "." : folder;
}

std::unexpected<Error> taken(const std::string& path) {
  return fail(fmt::format("'{}' exists already; choose another name, or remove it first", path));
}

}  // namespace

Result<NewFile> NewFile::create(const std::string& path) {
  struct stat info{};
  if (::lstat(path.c_str(), &info) == 0) return taken(path);
  const std::string folder = folder_of(path);
  Fd fd(::open(folder.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0644));
  if (fd) return NewFile(path, std::move(fd), "");
  std::string hidden = folder + "/." + std::filesystem::path(path).filename().string() + ".XXXXXX";
  fd = Fd(::mkostemp(hidden.data(), O_CLOEXEC));
  if (!fd) return fail_errno(fmt::format("cannot create '{}'", path));
  ::fchmod(fd.get(), 0644);
  return NewFile(path, std::move(fd), std::move(hidden));
}

NewFile::~NewFile() {
  if (fd_ && !hidden_.empty()) ::unlink(hidden_.c_str());
}

std::string NewFile::working_path() const {
  return hidden_.empty() ? fmt::format("/proc/self/fd/{}", fd_.get()) : hidden_;
}

Result<> NewFile::publish() {
  if (::fsync(fd_.get()) != 0) return fail_errno(fmt::format("cannot write '{}' to its medium", path_));
  const int made = hidden_.empty()
                       ? ::linkat(AT_FDCWD, working_path().c_str(), AT_FDCWD, path_.c_str(), AT_SYMLINK_FOLLOW)
                       : ::link(hidden_.c_str(), path_.c_str());
  if (made != 0) return errno == EEXIST ? taken(path_) : fail_errno(fmt::format("cannot create '{}'", path_));
  const Fd folder(::open(folder_of(path_).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (folder) ::fsync(folder.get());
  return {};
}

}  // namespace doppel::disk
