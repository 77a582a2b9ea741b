// Header fields are trusted only after they were checked against the file's size; see bzimage.h.
#include "firmware/bzimage.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>

#include "base/bits.h"
#include "base/units.h"
#include "firmware/bytes.h"

namespace doppel::firmware {

namespace {

constexpr u64 sector = 512;
constexpr u64 header_bytes_needed = 0x264;  // through init_size, which protocol 2.10 has
constexpr u16 boot_flag_value = 0xaa55;
constexpr u32 header_magic = 0x5372'6448;  // "HdrS"
constexpr u16 oldest_protocol = 0x020a;
constexpr u16 protocol_with_xloadflags = 0x020c;
constexpr u64 most_memory_needed = 2 * GiB;  // the kernel's own limit for its image is 1 GiB

namespace loadflag {
using LoadedHigh = Bits<0>;
}
namespace xloadflag {
using Kernel64 = Bits<0>;
using CanBeLoadedAbove4G = Bits<1>;
}  // namespace xloadflag

// The version string lies in the setup part, at the stated offset plus one sector.
std::string version_of(std::span<const u8> image, u64 setup_bytes) {
  const u64 pointer = load<u16>(image, setup::kernel_version);
  std::string version;
  if (pointer == 0) return version;
  constexpr std::size_t longest = 128;
  for (u64 at = pointer + sector; at < setup_bytes && version.size() < longest; ++at) {
    const u8 character = image[at];
    if (character == 0) return version;
    if (character < ' ' || character > '~') return {};
    version.push_back(static_cast<char>(character));
  }
  return {};
}

}  // namespace

bool is_bzimage(std::span<const u8> image) {
  return image.size() >= setup::header + 4 && load<u16>(image, setup::boot_flag) == boot_flag_value &&
         load<u32>(image, setup::header) == header_magic;
}

Result<BzImage> parse_bzimage(NamedBytes file) {
  const std::span<const u8> image = file.bytes;
  const auto refuse = [&](const std::string& why) { return fail(fmt::format("cannot boot '{}': {}", file.name, why)); };

  if (!is_bzimage(image)) return refuse("it is not a bzImage");
  if (image.size() < setup::version + 2) return refuse("it is truncated within its header");
  const u16 protocol = load<u16>(image, setup::version);
  if (protocol < oldest_protocol) {
    return refuse(
        fmt::format("its boot protocol {}.{:02} is too old (2.10, Linux 2.6.31, is the oldest that Doppel boots)",
                    protocol >> 8, protocol & 0xff));
  }
  if (image.size() < header_bytes_needed) return refuse("it is truncated within its header");

  const u64 setup_sectors = image[setup::setup_sects] == 0 ? 4 : image[setup::setup_sects];
  const u64 setup_bytes = (setup_sectors + 1) * sector;
  // In 16-byte units, rounded up: the last unit may be incomplete.
  const u64 kernel_bytes = u64{load<u32>(image, setup::syssize)} * 16;
  if (kernel_bytes == 0) return refuse("its header says that there is no kernel in it");
  if (image.size() < setup_bytes || image.size() - setup_bytes + 15 < kernel_bytes) {
    return refuse(fmt::format("it is truncated: {} bytes of {}", image.size(), setup_bytes + kernel_bytes));
  }
  if (!loadflag::LoadedHigh::get(image[setup::loadflags]))
    return refuse("it is a zImage, which would be loaded below 1 MiB");

  const u64 header_end = std::min<u64>(setup::header + image[setup::jump_length], setup::header_end_limit);
  if (header_end < header_bytes_needed) return refuse("its header is shorter than its boot protocol says");
  const u64 xloadflags = protocol >= protocol_with_xloadflags ? load<u16>(image, setup::xloadflags) : 0;
  BzImage parsed{
      .protocol = protocol,
      .kernel_version = version_of(image, setup_bytes),
      .setup_header = image.subspan(setup::header_begin, header_end - setup::header_begin),
      .kernel = image.subspan(setup_bytes, std::min<u64>(kernel_bytes, image.size() - setup_bytes)),
      .has_64_bit_entry = xloadflag::Kernel64::get(xloadflags) != 0,
      .initrd_may_be_above_4g = xloadflag::CanBeLoadedAbove4G::get(xloadflags) != 0,
      .relocatable = image[setup::relocatable_kernel] != 0,
      .preferred_address = load<u64>(image, setup::pref_address),
      .alignment = load<u32>(image, setup::kernel_alignment),
      .memory_needed = std::max<u64>(load<u32>(image, setup::init_size), kernel_bytes),
      .initrd_end_limit = u64{load<u32>(image, setup::initrd_addr_max)} + 1,
      .command_line_limit = load<u32>(image, setup::cmdline_size),
  };

  if (!std::has_single_bit(parsed.alignment) || parsed.alignment > GiB) {
    return refuse(fmt::format("its alignment {:#x} is not a power of two up to 1 GiB", parsed.alignment));
  }
  // A relocatable kernel aligns itself; one that is not runs exactly where it wants to be.
  if (parsed.preferred_address < MiB || parsed.preferred_address >= 4 * GiB) {
    return refuse(
        fmt::format("it wants to be loaded at {:#x}, which is not between 1 MiB and 4 GiB", parsed.preferred_address));
  }
  if (parsed.relocatable && parsed.preferred_address % parsed.alignment != 0) {
    return refuse(
        fmt::format("its preferred address {:#x} is not aligned to {:#x}", parsed.preferred_address, parsed.alignment));
  }
  if (parsed.memory_needed > most_memory_needed) {
    return refuse(fmt::format("its header asks for {} of memory to start", format_size(parsed.memory_needed)));
  }
  if (parsed.command_line_limit == 0) return refuse("its header leaves no room for a command line");
  return parsed;
}

}  // namespace doppel::firmware
