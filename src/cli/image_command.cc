// See image_command.h.
#include "cli/image_command.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <sstream>

#include "base/units.h"
#include "cli/json_text.h"
#include "disk/copy.h"
#include "disk/open.h"
#include "image/debian.h"
#include "image/store.h"

namespace doppel::cli {

namespace {

using image::Image;
using image::Store;

std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> parts;
  std::istringstream in(text);
  for (std::string part; std::getline(in, part, separator);) {
    if (!part.empty()) parts.push_back(part);
  }
  return parts;
}

std::string date_of(const Image& image) {
  return fmt::format("{:%Y-%m-%d %H:%M}", fmt::localtime(static_cast<std::time_t>(image.created)));
}

std::string json_of(const Image& image) {
  return fmt::format(
      "{{\"name\": {}, \"origin\": {}, \"packages\": {}, \"append\": {}, \"created\": {}, \"disk\": {}, \"kernel\": "
      "{}, "
      "\"initrd\": {}, \"size_bytes\": {}, \"used_bytes\": {}}}",
      json_text(image.name), json_text(image.origin), json_text(image.packages), json_text(image.append), image.created,
      json_text(image.root().string()), image.has_kernel() ? json_text(image.kernel().string()) : "null",
      image.has_initrd() ? json_text(image.initrd().string()) : "null", image.size_bytes(), image.used_bytes());
}

// What a file is called without its folder and its last extension, made into a name if it is none.
std::string name_from(const std::string& path) {
  std::string name = std::filesystem::path(path).stem().string();
  for (char& c : name) {
    if (!image::check_name(std::string("x") + c)) c = '-';
  }
  return name;
}

// The store's disks are raw.
Result<> import_disk(const std::string& from, const std::string& to) {
  if (TRY(disk::find_format(from, disk::Format::automatic)) == disk::Format::raw) return image::copy_sparse(from, to);
  const auto loop = TRY(EventLoop::create());
  const auto engine = TRY(disk::IoEngine::create(*loop));
  const auto source = TRY(disk::open_disk({.path = from, .read_only = true}, *engine));
  TRY(write_file(to, ""));
  if (::truncate(to.c_str(), static_cast<off_t>(source->size_bytes())) != 0)
    return fail_errno(fmt::format("cannot make '{}' as large as {}", to, format_size(source->size_bytes())));
  const auto target = TRY(disk::open_disk({.path = to, .format = disk::Format::raw}, *engine));
  return disk::copy_image(*source, *target, false, [](u64, u64) {});
}

}  // namespace

ImageCommand::ImageCommand(CLI::App& app) {
  command_ = app.add_subcommand("image", "Guest images: make, import, list");
  command_->require_subcommand(1);
  add_import();
  add_make();
  add_list();
  add_inspect();
  add_remove();
}

void ImageCommand::add_import() {
  import_ = command_->add_subcommand("import", "Copy a disk image into the store");
  import_->add_option("PATH", path_, "The disk image")->required();
  import_->add_option("--name", name_, "Its name in the store; else that of the file, without its extension");
  import_->add_option("--kernel", kernel_, "The kernel that boots it; else `doppel run` needs --kernel");
  import_->add_option("--initrd", initrd_, "The kernel's initial RAM disk");
  import_->add_option("--append", append_, "The kernel's command line");
}

void ImageCommand::add_make() {
  make_ = command_->add_subcommand("make", "Make an image from the host's package sources");
  make_->add_option("WHAT", what_, "debian, or debian:RELEASE such as debian:bookworm")->required();
  make_->add_option("--packages", packages_, "Further packages, joined by commas");
  make_->add_option("--size", size_, "Size of its disk, such as 2G")->capture_default_str();
  make_->add_option("--name", name_, "Its name in the store; else debian, or debian-RELEASE");
  make_->add_option("--root-password", root_password_, "Else root logs in without a password");
}

void ImageCommand::add_list() {
  list_ = command_->add_subcommand("ls", "List the images");
  list_->add_flag("--json", json_, "As JSON");
}

void ImageCommand::add_inspect() {
  inspect_ = command_->add_subcommand("inspect", "What an image is and where its files are");
  inspect_->add_option("NAME", names_, "The image")->required()->expected(1);
  inspect_->add_flag("--json", json_, "As JSON");
}

void ImageCommand::add_remove() {
  remove_ = command_->add_subcommand("rm", "Remove images");
  remove_->add_option("NAME", names_, "The images")->required();
}

Result<int> ImageCommand::execute() {
  if (import_->parsed()) TRY(import());
  if (make_->parsed()) TRY(make());
  if (list_->parsed()) TRY(list());
  if (inspect_->parsed()) TRY(inspect());
  if (remove_->parsed()) TRY(remove());
  return 0;
}

Result<> ImageCommand::import() const {
  if (kernel_.empty() && !initrd_.empty()) return usage_error("--initrd needs --kernel");
  const std::string name = name_.empty() ? name_from(path_) : name_;
  TRY(image::check_name(name));
  struct stat info{};
  if (::stat(path_.c_str(), &info) != 0) return fail_errno(fmt::format("cannot open '{}'", path_));
  if (!S_ISREG(info.st_mode)) return fail(fmt::format("'{}' is not a regular file", path_));
  if (info.st_size == 0) return fail(fmt::format("'{}' is empty", path_));
  const Store store = TRY(Store::open());
  Store::Draft draft = TRY(store.make(name));
  TRY(import_disk(path_, draft.folder() / "root.img"));
  if (!kernel_.empty()) TRY(image::copy_sparse(kernel_, draft.folder() / "kernel"));
  if (!initrd_.empty()) TRY(image::copy_sparse(initrd_, draft.folder() / "initrd"));
  TRY(draft.publish({.origin = "imported from " + std::filesystem::path(path_).filename().string(), .append = append_}));
  fmt::print("{}\n", name);
  return {};
}

Result<> ImageCommand::make() const {
  image::DebianOptions options{.name = name_, .packages = split(packages_, ','), .root_password = root_password_};
  const std::string distribution = what_.substr(0, what_.find(':'));
  if (distribution != "debian") {
    return usage_error(
        fmt::format("cannot make '{}': only debian or debian:RELEASE; for others see: doppel image import", what_));
  }
  if (what_.size() > distribution.size()) {
    options.release = what_.substr(distribution.size() + 1);
    if (options.release.empty()) return usage_error("debian: the release's name is missing after the colon");
  }
  const auto bytes = parse_size(size_);
  if (!bytes) return usage_error("--size: " + bytes.error().message);
  options.size_bytes = *bytes;
  const Store store = TRY(Store::open());
  const auto progress = [](std::string_view step) { fmt::print(stderr, "doppel: {}\n", step); };
  const Image made = TRY(image::make_debian(store, options, progress));
  fmt::print("{}\n", made.name);
  return {};
}

Result<> ImageCommand::list() const {
  const Store store = TRY(Store::open());
  const auto images = TRY(store.list());
  if (json_) {
    std::string text;
    for (const Image& image : images) text += (text.empty() ? "" : ",\n ") + json_of(image);
    fmt::print("[{}]\n", text);
    return {};
  }
  if (images.empty()) return {};
  fmt::print("{:<24}  {:>9}  {:>9}  {:<16}  {}\n", "NAME", "SIZE", "USED", "MADE", "ORIGIN");
  for (const Image& image : images) {
    fmt::print("{:<24}  {:>9}  {:>9}  {:<16}  {}\n", image.name, format_size(image.size_bytes()),
               format_size(image.used_bytes() / MiB * MiB), date_of(image), image.origin);
  }
  return {};
}

Result<> ImageCommand::inspect() const {
  const Store store = TRY(Store::open());
  const Image image = TRY(store.find(names_.at(0)));
  if (json_) {
    fmt::print("{}\n", json_of(image));
    return {};
  }
  fmt::print("name      {}\norigin    {}\nmade      {}\nsize      {}\nused      {}\ndisk      {}\n", image.name,
             image.origin, date_of(image), format_size(image.size_bytes()), format_size(image.used_bytes() / MiB * MiB),
             image.root().string());
  if (image.has_kernel()) fmt::print("kernel    {}\n", image.kernel().string());
  if (image.has_initrd()) fmt::print("initrd    {}\n", image.initrd().string());
  if (!image.append.empty()) fmt::print("append    {}\n", image.append);
  if (!image.packages.empty()) fmt::print("packages  {}\n", image.packages);
  return {};
}

Result<> ImageCommand::remove() const {
  const Store store = TRY(Store::open());
  for (const std::string& name : names_) TRY(store.find(name));  // all or none
  for (const std::string& name : names_) TRY(store.remove(name));
  return {};
}

}  // namespace doppel::cli
