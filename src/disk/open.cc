// Opening disks; see open.h.
#include "disk/open.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <filesystem>
#include <string_view>

#include "disk/new_file.h"
#include "disk/overlay.h"
#include "disk/qcow2/create.h"
#include "disk/raw.h"

namespace doppel::disk {

namespace {

constexpr std::size_t max_chain = 200;

// The name of a format that the file begins like; empty: none that is known.
std::string_view looks_like(const std::string& path) {
  const Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  std::array<char, 68> start{};
  if (!file || ::pread(file.get(), start.data(), start.size(), 0) < 8) return {};
  if (std::memcmp(start.data(), qcow2::magic, 4) == 0) return "qcow2";
  if (std::memcmp(start.data(), "vhdxfile", 8) == 0) return "VHDX";
  if (std::memcmp(start.data(), "KDMV", 4) == 0) return "VMDK";
  if (std::memcmp(start.data() + 64, "\x7f\x10\xda\xbe", 4) == 0) return "VDI";
  return {};
}

// The files of a chain, so that none is met twice.
class Chain {
 public:
  Result<> enter(const std::string& path) {
    struct stat info{};
    if (::stat(path.c_str(), &info) != 0) return {};  // opening it says why
    const auto file = std::pair(info.st_dev, info.st_ino);
    if (std::ranges::find(files_, file) != files_.end())
      return fail(fmt::format("disk '{}' has itself behind it: its backing files go round in a circle", path));
    if (files_.size() == max_chain)
      return fail(fmt::format("disk '{}' has more than {} backing files behind it", path, max_chain));
    files_.push_back(file);
    return {};
  }

 private:
  std::vector<std::pair<dev_t, ino_t>> files_;
};

Result<std::unique_ptr<BlockImage>> open_file_as(const std::string& path, Format named, bool read_only,
                                                 IoEngine& engine, Chain& chain);

Result<std::unique_ptr<qcow2::Image>> open_with_chain(const std::string& path, const ImageOptions& options,
                                                      IoEngine& engine, Chain& chain) {
  TRY(chain.enter(path));
  auto image = TRY(qcow2::Image::open(path, options.read_only, options.purpose, engine));
  if (options.alone || image->header().backing_name.empty()) return image;
  const std::string behind = TRY(backing_path(*image));
  const std::string format = image->header().backing_format();
  auto named = format.empty() ? Result<Format>(Format::automatic) : parse_format(format);
  if (!named) return fail(fmt::format("the backing file of disk '{}': {}", path, named.error().message));
  auto backing = open_file_as(behind, *named, !options.commit, engine, chain);
  if (!backing) return fail(fmt::format("the backing file of disk '{}': {}", path, backing.error().message));
  image->set_backing(std::move(*backing));
  return image;
}

Result<std::unique_ptr<BlockImage>> open_file_as(const std::string& path, Format named, bool read_only,
                                                 IoEngine& engine, Chain& chain) {
  if (TRY(find_format(path, named)) == Format::qcow2)
    return TRY(open_with_chain(path, {.read_only = read_only}, engine, chain));
  TRY(chain.enter(path));
  return TRY(RawImage::open(path, read_only, engine));
}

}  // namespace

std::string_view format_name(Format format) { return format == Format::qcow2 ? "qcow2" : "raw"; }

Result<Format> parse_format(std::string_view text) {
  if (text == "raw") return Format::raw;
  if (text == "qcow2") return Format::qcow2;
  return usage_error(fmt::format("unknown format '{}': use raw or qcow2", text));
}

Result<Format> find_format(const std::string& path, Format named) {
  if (named != Format::automatic) return named;
  if (path.ends_with(".qcow2")) return Format::qcow2;
  const std::string_view like = looks_like(path);
  if (like.empty()) return Format::raw;
  if (like == "qcow2") {
    return fail(
        fmt::format("disk '{}' begins like a qcow2 image and its name does not say so: name its format, qcow2 "
                    "(or raw, if its guest may have written that)",
                    path));
  }
  return fail(
      fmt::format("disk '{}' is a {} image; convert it with: doppel disk convert '{}' disk.qcow2", path, like, path));
}

Result<std::string> backing_path(const std::string& image, std::string_view name) {
  if (name.starts_with("json:") || name.find("://") != std::string_view::npos) {
    return fail(fmt::format("disk '{}' names its backing file by a protocol ('{}'); only files are known", image, name));
  }
  if (name.starts_with("file:")) name.remove_prefix(5);
  return (std::filesystem::path(image).parent_path() / name).string();
}

Result<std::string> backing_path(const qcow2::Image& image) {
  return backing_path(image.path(), image.header().backing_name);
}

Result<std::unique_ptr<qcow2::Image>> open_qcow2(const std::string& path, const ImageOptions& options,
                                                 IoEngine& engine) {
  Chain chain;
  return open_with_chain(path, options, engine, chain);
}

Result<std::unique_ptr<BlockImage>> open_backing(const std::string& image, const std::string& path, Format format,
                                                 IoEngine& engine) {
  Chain chain;
  TRY(chain.enter(image));
  return open_file_as(path, format, true, engine, chain);
}

namespace {

// Makes the overlay if need be. One that was made of another image is refused: it would show the wrong disk.
Result<> prepare_overlay(const DiskOptions& options, IoEngine& engine) {
  const std::string base = std::filesystem::absolute(options.base).string();
  struct stat info{};
  if (::stat(options.path.c_str(), &info) == 0) {
    const auto image = TRY(qcow2::Image::open(options.path, true, qcow2::Image::Purpose::inspect, engine));
    std::error_code ignored;
    const std::string behind = image->header().backing_name.empty() ? "" : TRY(backing_path(*image));
    if (std::filesystem::equivalent(behind, base, ignored)) return {};
    return fail(
        fmt::format("disk '{}' is no overlay of '{}' but of '{}'; give another name", options.path, base, behind));
  }
  const auto raw = TRY(RawImage::open(base, true, engine));
  const std::string bytes = TRY(qcow2::new_image(
      {.size_bytes = raw->size_bytes(), .backing_name = base, .backing_format = std::string(format_name(Format::raw))}));
  auto file = TRY(NewFile::create(options.path));
  TRY(write_all(file.fd(), {reinterpret_cast<const u8*>(bytes.data()), bytes.size()}));
  return file.publish();
}

}  // namespace

Result<std::unique_ptr<BlockImage>> open_disk(const DiskOptions& options, IoEngine& engine) {
  Chain chain;
  if (!options.base.empty()) TRY(prepare_overlay(options, engine));
  const Format format = options.base.empty() ? options.format : Format::qcow2;
  auto image = TRY(open_file_as(options.path, format, options.read_only || options.snapshot, engine, chain));
  if (is_direct(options.cache)) {
    auto* qcow2 = qcow2::as_qcow2(image.get());
    TRY(qcow2 != nullptr ? qcow2->use_direct() : dynamic_cast<RawImage&>(*image).use_direct());
  }
  if (options.snapshot && !options.read_only) return TRY(Overlay::create(std::move(image), engine));
  return with_cache_mode(std::move(image), options.cache, engine);
}

}  // namespace doppel::disk
