// The zero page as the 32- and 64-bit protocols want it: all zero but the kernel's own setup header and what follows here.
//
//   0x070 acpi_rsdp_addr   0x0c0 ext_ramdisk_image   0x0c4 ext_ramdisk_size   0x1e8 e820_entries
//   0x1f1 setup header …   0x2d0 e820_table: 128 entries of {u64 base, u64 size, u32 type}
#include "firmware/linux_boot.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/bits.h"
#include "base/log.h"
#include "base/units.h"
#include "firmware/boot_parts.h"
#include "firmware/bytes.h"
#include "firmware/entry_state.h"

namespace doppel::firmware {

namespace {

namespace zero_page {
constexpr u64 acpi_rsdp_addr = 0x70, ext_ramdisk_image = 0xc0, ext_ramdisk_size = 0xc4, e820_entries = 0x1e8,
              e820_table = 0x2d0;
constexpr u64 e820_entry_bytes = 20, e820_capacity = 128;
}  // namespace zero_page

constexpr u8 loader_undefined = 0xff;  // a loader without an assigned number
constexpr u16 video_mode_normal = 0xffff;
constexpr u64 entry_64_offset = 0x200;

// The kernel moves itself up to its preferred address if it is loaded lower, so there is nothing to gain below.
Result<GuestPhysical> place_kernel(FreeMemory& free, const BzImage& image, NamedBytes kernel) {
  GuestPhysical address = image.preferred_address;
  if (free.take(address, image.memory_needed)) return address;
  if (image.relocatable) {
    const auto place = free.lowest(image.memory_needed, image.alignment, image.preferred_address, 4 * GiB);
    if (place && free.take(*place, image.memory_needed)) return *place;
  }
  return does_not_fit(kernel, image.memory_needed, address);
}

void write_memory_map(std::span<u8> page, std::span<const MemoryMapEntry> map) {
  CHECK(map.size() <= zero_page::e820_capacity);  // the board's own map
  store<u8>(page, zero_page::e820_entries, static_cast<u8>(map.size()));
  u64 at = zero_page::e820_table;
  for (const MemoryMapEntry& entry : map) {
    store<u64>(page, at, entry.base);
    store<u64>(page, at + 8, entry.size);
    store<u32>(page, at + 16, static_cast<u32>(entry.type));
    at += zero_page::e820_entry_bytes;
  }
}

std::array<u8, page_size> make_zero_page(const BzImage& image, GuestPhysical kernel, GuestPhysical initrd,
                                         u64 initrd_bytes, const BootEnvironment& environment) {
  std::array<u8, page_size> page{};
  std::ranges::copy(image.setup_header, page.begin() + setup::header_begin);
  store<u64>(page, zero_page::acpi_rsdp_addr, environment.acpi_rsdp);
  write_memory_map(page, environment.memory_map);
  store<u16>(page, setup::vid_mode, video_mode_normal);
  store<u8>(page, setup::type_of_loader, loader_undefined);
  store<u32>(page, setup::code32_start, static_cast<u32>(kernel));
  store<u32>(page, setup::cmd_line_ptr, static_cast<u32>(environment.layout.command_line));
  store<u64>(page, setup::setup_data, 0);
  store<u32>(page, setup::ramdisk_image, static_cast<u32>(initrd));
  store<u32>(page, setup::ramdisk_size, static_cast<u32>(initrd_bytes));
  store<u32>(page, zero_page::ext_ramdisk_image, static_cast<u32>(initrd >> 32));
  store<u32>(page, zero_page::ext_ramdisk_size, static_cast<u32>(initrd_bytes >> 32));
  return page;
}

}  // namespace

Result<x86::X86State> boot_linux(Dma& memory, const BzImage& image, NamedBytes kernel, NamedBytes initrd,
                                 std::string_view command_line, const BootEnvironment& environment) {
  const BootLayout& layout = environment.layout;
  FreeMemory free(environment.memory_map, kernel_floor);
  const GuestPhysical address = TRY(place_kernel(free, image, kernel));
  if (!memory.write(address, image.kernel.data(), image.kernel.size()))
    return fail("the memory map names RAM where there is none");

  const bool above_4g = image.has_64_bit_entry && image.initrd_may_be_above_4g;
  const GuestPhysical initrd_address = initrd.bytes.empty()
                                           ? 0
                                           : TRY(place_initrd(memory, free, initrd, image.initrd_end_limit, above_4g));
  TRY(write_command_line(memory, layout, command_line, image.command_line_limit));
  memory.write(layout.boot_info, make_zero_page(image, address, initrd_address, initrd.bytes.size(), environment));

  x86::X86State state = image.has_64_bit_entry ? enter_long_mode(memory, layout, address + entry_64_offset)
                                               : enter_protected_mode(memory, layout, static_cast<u32>(address));
  state.gpr[x86::rsi] = layout.boot_info;
  log::info("kernel '{}' ({}) at {:#x}, {}-bit entry; initrd at {:#x}", kernel.name, image.kernel_version, address,
            image.has_64_bit_entry ? 64 : 32, initrd_address);
  return state;
}

}  // namespace doppel::firmware
