// See store.h.
#include "image/store.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <fstream>
#include <system_error>

namespace doppel::image {

namespace fs = std::filesystem;

namespace {

constexpr std::string_view temporary_prefix = ".tmp-";
constexpr u64 largest_configuration = 64 << 10;
constexpr std::size_t longest_name = 64;

bool is_there(const fs::path& path) {
  std::error_code error;
  return fs::exists(path, error);
}

// A file that is locked while this lives; empty when somebody else has it.
Fd lock_folder(const fs::path& path, int operation) {
  Fd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW));
  if (fd && ::flock(fd.get(), operation) != 0) fd.reset();
  return fd;
}

std::unexpected<Error> cannot_lock(const fs::path& path) {
  return fail_errno(fmt::format("cannot lock the folder '{}'", path.string()));
}

// Values are one line each.
std::string one_line(std::string text) {
  std::ranges::replace_if(text, [](char c) { return c == '\n' || c == '\r'; }, ' ');
  return text;
}

std::string configuration(const Image& image) {
  return fmt::format("origin={}\npackages={}\nappend={}\ncreated={}\n", one_line(image.origin),
                     one_line(image.packages), one_line(image.append), image.created);
}

Result<Image> read_image(const fs::path& folder) {
  Image image{.name = folder.filename(), .folder = folder};
  const std::string text = TRY(read_file(folder / "image.conf", largest_configuration));
  std::string_view rest = text;
  while (!rest.empty()) {
    const std::string_view line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(rest.size(), line.size() + 1));
    const auto equals = line.find('=');
    if (equals == std::string_view::npos) continue;
    const std::string_view key = line.substr(0, equals), value = line.substr(equals + 1);
    if (key == "origin") image.origin = value;
    if (key == "packages") image.packages = value;
    if (key == "append") image.append = value;
    if (key == "created") std::from_chars(value.data(), value.data() + value.size(), image.created);
  }
  if (!is_there(image.root()))
    return fail(fmt::format("image '{}' has no disk: '{}' is missing", image.name, image.root().string()));
  return image;
}

std::unexpected<Error> not_found(std::string_view name) {
  return fail(
      fmt::format("no image is called '{}'; see: doppel image ls, doppel image make, doppel image import", name));
}

}  // namespace

bool Image::has_kernel() const { return is_there(kernel()); }
bool Image::has_initrd() const { return is_there(initrd()); }

u64 Image::size_bytes() const {
  std::error_code error;
  const auto bytes = fs::file_size(root(), error);
  return error ? 0 : bytes;
}

u64 Image::used_bytes() const {
  u64 total = 0;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    struct stat info{};
    if (::lstat(entry.path().c_str(), &info) == 0) total += static_cast<u64>(info.st_blocks) * 512;
  }
  return total;
}

Result<> check_name(std::string_view name) {
  const auto letter_or_digit = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
  };
  const bool good = !name.empty() && name.size() <= longest_name && letter_or_digit(name[0]) &&
                    std::ranges::all_of(name,
                                        [&](char c) { return letter_or_digit(c) || c == '.' || c == '-' || c == '_'; });
  if (good) return {};
  return usage_error(
      fmt::format("'{}' cannot be an image's name: use up to {} letters, digits, dots, dashes and underscores",
                  name.substr(0, 100), longest_name));
}

Result<> copy_sparse(const std::string& from, const std::string& to) {
  const Fd in = TRY(open_file(from, O_RDONLY));
  struct stat info{};
  if (::fstat(in.get(), &info) != 0) return fail_errno(fmt::format("cannot examine '{}'", from));
  if (!S_ISREG(info.st_mode)) return fail(fmt::format("'{}' is not a regular file", from));
  const Fd out = TRY(open_file(to, O_WRONLY | O_CREAT | O_EXCL));
  if (::ioctl(out.get(), FICLONE, in.get()) == 0) return {};
  if (::ftruncate(out.get(), info.st_size) != 0) return fail_errno(fmt::format("cannot write '{}'", to));
  for (off_t at = 0; at < info.st_size;) {
    off_t start = ::lseek(in.get(), at, SEEK_DATA);
    if (start < 0 && errno == ENXIO) break;  // holes to the end
    if (start < 0) start = at;
    off_t end = ::lseek(in.get(), start, SEEK_HOLE);
    if (end < 0) end = info.st_size;
    off_t read_at = start, write_at = start;
    while (read_at < end) {
      const ssize_t copied = ::copy_file_range(in.get(), &read_at, out.get(), &write_at,
                                               static_cast<std::size_t>(end - read_at), 0);
      if (copied < 0 && errno == EINTR) continue;
      if (copied < 0) return fail_errno(fmt::format("cannot copy '{}' to '{}'", from, to));
      if (copied == 0) return fail(fmt::format("'{}' became shorter while it was copied", from));
    }
    at = end;
  }
  return {};
}

// ---- the store ----

Result<Store> Store::open() {
  const char* data = ::getenv("XDG_DATA_HOME");
  const char* home = ::getenv("HOME");
  fs::path base;
  if (data != nullptr && data[0] == '/') {
    base = data;
  } else if (home != nullptr && home[0] == '/') {
    base = fs::path(home) / ".local/share";
  } else {
    return fail("no place for images: set HOME or XDG_DATA_HOME");
  }
  return open(base / "doppel/images");
}

Result<Store> Store::open(fs::path folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) return fail(fmt::format("cannot make the folder '{}': {}", folder.string(), error.message()));
  return Store(std::move(folder));
}

Result<std::vector<Image>> Store::list() const {
  std::vector<Image> images;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder_, error)) {
    if (!check_name(entry.path().filename().string())) continue;
    if (auto image = read_image(entry.path())) images.push_back(std::move(*image));
  }
  if (error) return fail(fmt::format("cannot read the folder '{}': {}", folder_.string(), error.message()));
  std::ranges::sort(images, {}, &Image::name);
  return images;
}

Result<Image> Store::find(std::string_view name) const {
  TRY(check_name(name));
  const fs::path folder = folder_ / name;
  if (!is_there(folder / "image.conf")) return not_found(name);
  return read_image(folder);
}

Result<> Store::remove(std::string_view name) const {
  const Image image = TRY(find(name));
  const Fd disk = TRY(open_file(image.root(), O_RDONLY));
  if (::flock(disk.get(), LOCK_EX | LOCK_NB) != 0)
    return fail(fmt::format("image '{}' is in use: a machine runs from it", name));
  const Fd guard = lock_folder(folder_, LOCK_EX);
  if (!guard) return cannot_lock(folder_);
  const fs::path doomed = folder_ / fmt::format("{}removed-{}", temporary_prefix, ::getpid());
  if (::rename(image.folder.c_str(), doomed.c_str()) != 0)
    return fail_errno(fmt::format("cannot remove image '{}'", name));
  std::error_code error;
  fs::remove_all(doomed, error);
  if (error) return fail(fmt::format("cannot remove all of image '{}': {}", name, error.message()));
  return {};
}

// What nobody holds a lock on was left by a process that is gone.
void Store::remove_leftovers() const {
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder_, error)) {
    if (!entry.path().filename().string().starts_with(temporary_prefix)) continue;
    if (const Fd lock = lock_folder(entry.path(), LOCK_EX | LOCK_NB)) fs::remove_all(entry.path(), error);
  }
}

Result<Store::Draft> Store::make(std::string_view name) const {
  TRY(check_name(name));
  fs::path target = folder_ / name;
  if (is_there(target)) {
    return fail(fmt::format("there is an image '{}' already; remove it first (doppel image rm {}), or give --name",
                            name, name));
  }
  // Held until the new folder has its own lock, so that no one takes it for a leftover.
  const Fd guard = lock_folder(folder_, LOCK_EX);
  if (!guard) return cannot_lock(folder_);
  remove_leftovers();
  std::string folder = folder_ / fmt::format("{}XXXXXX", temporary_prefix);
  if (::mkdtemp(folder.data()) == nullptr)
    return fail_errno(fmt::format("cannot make a folder in '{}'", folder_.string()));
  Fd lock = lock_folder(folder, LOCK_EX);
  if (!lock) {
    auto problem = cannot_lock(folder);
    ::rmdir(folder.c_str());
    return problem;
  }
  return Draft(std::move(folder), std::move(target), std::move(lock));
}

Store::Draft::~Draft() {
  if (!lock_) return;  // moved from, or published
  std::error_code error;
  fs::remove_all(folder_, error);
}

Result<> Store::Draft::publish(Image image) {
  if (image.created == 0) image.created = ::time(nullptr);
  TRY(write_file(folder_ / "image.conf", configuration(image)));
  if (::chmod(folder_.c_str(), 0755) != 0 || ::syncfs(lock_.get()) != 0 ||
      ::renameat2(AT_FDCWD, folder_.c_str(), AT_FDCWD, target_.c_str(), RENAME_NOREPLACE) != 0) {
    return fail_errno(fmt::format("cannot keep the image as '{}'", target_.string()));
  }
  lock_.reset();
  return {};
}

}  // namespace doppel::image
