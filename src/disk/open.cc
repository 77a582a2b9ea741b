// Opening disks; see open.h.
#include "disk/open.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <string_view>

#include "disk/overlay.h"
#include "disk/raw.h"

namespace doppel::disk {

namespace {

// The name of a format that this is plainly not a raw image of; empty: raw.
std::string_view known_format(const std::string& path) {
  const Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  std::array<char, 8> start{};
  if (!file || ::pread(file.get(), start.data(), start.size(), 0) != static_cast<ssize_t>(start.size())) return {};
  if (std::memcmp(start.data(), "QFI\xfb", 4) == 0) return "qcow2";
  if (std::memcmp(start.data(), "vhdxfile", 8) == 0) return "VHDX";
  if (std::memcmp(start.data(), "KDMV", 4) == 0) return "VMDK";
  return {};
}

}  // namespace

Result<std::unique_ptr<BlockImage>> open_disk(const DiskOptions& options, IoEngine& engine) {
  std::unique_ptr<BlockImage> image = TRY(RawImage::open(options.path, options.read_only || options.snapshot, engine));
  if (options.format == DiskOptions::Format::automatic) {
    if (const auto format = known_format(options.path); !format.empty()) {
      return fail(fmt::format("disk '{}' is a {} image; convert it with: qemu-img convert -O raw '{}' disk.img",
                              options.path, format, options.path));
    }
  }
  if (options.snapshot && !options.read_only) return TRY(Overlay::create(std::move(image), engine));
  return image;
}

}  // namespace doppel::disk
