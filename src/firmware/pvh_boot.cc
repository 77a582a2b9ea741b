// The boot information, from its start on: hvm_start_info (version 1), one module entry, the memory map.
#include "firmware/pvh_boot.h"

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

constexpr u32 start_info_magic = 0x336e'c578;
constexpr u32 start_info_version = 1;  // 1 adds the memory map
constexpr u64 start_info_bytes = 56, module_bytes = 32, memory_map_entry_bytes = 24;

bool write_zeros(Dma& memory, GuestPhysical address, u64 size) {
  const std::array<u8, 64 * KiB> zeros{};
  while (size != 0) {
    const u64 piece = std::min<u64>(size, zeros.size());
    if (!memory.write(address, zeros.data(), piece)) return false;
    address += piece;
    size -= piece;
  }
  return true;
}

Result<> load_segments(Dma& memory, FreeMemory& free, const ElfImage& image, NamedBytes kernel) {
  for (const ElfImage::Segment& segment : image.segments) {
    if (segment.physical_address < kernel_floor) {
      return fail(fmt::format("cannot boot '{}': it loads a segment to {:#x}, below 1 MiB", kernel.name,
                              segment.physical_address));
    }
    if (!free.take(segment.physical_address, segment.memory_size)) {
      return does_not_fit(kernel, segment.memory_size, segment.physical_address);
    }
  }
  for (const ElfImage::Segment& segment : image.segments) {
    const u64 from_file = segment.bytes.size();
    if (!memory.write(segment.physical_address, segment.bytes.data(), from_file) ||
        !write_zeros(memory, segment.physical_address + from_file, segment.memory_size - from_file)) {
      return fail("the memory map names RAM where there is none");
    }
  }
  return {};
}

std::vector<u8> make_start_info(const BootEnvironment& environment, GuestPhysical initrd, u64 initrd_bytes) {
  const BootLayout& layout = environment.layout;
  const u64 modules = initrd_bytes != 0 ? 1 : 0;
  ByteWriter out;
  out.dword(start_info_magic)                                         // magic
      .dword(start_info_version)                                      // version
      .dword(0)                                                       // flags
      .dword(modules)                                                 // nr_modules
      .qword(modules != 0 ? layout.boot_info + start_info_bytes : 0)  // modlist_paddr
      .qword(layout.command_line)                                     // cmdline_paddr
      .qword(environment.acpi_rsdp)                                   // rsdp_paddr
      .qword(layout.boot_info + start_info_bytes + module_bytes)      // memmap_paddr
      .dword(environment.memory_map.size())                           // memmap_entries
      .dword(0);                                                      // reserved
  CHECK(out.size() == start_info_bytes);
  out.qword(initrd).qword(initrd_bytes).qword(0).qword(0);  // paddr, size, cmdline_paddr, reserved
  for (const MemoryMapEntry& entry : environment.memory_map) {
    out.qword(entry.base).qword(entry.size).dword(static_cast<u32>(entry.type)).dword(0);
  }
  CHECK(out.size() == start_info_bytes + module_bytes + environment.memory_map.size() * memory_map_entry_bytes);
  CHECK(out.size() <= BootLayout::boot_info_bytes);  // the board's own map
  return out.take();
}

}  // namespace

Result<x86::X86State> boot_pvh(Dma& memory, const ElfImage& image, NamedBytes kernel, NamedBytes initrd,
                               std::string_view command_line, const BootEnvironment& environment) {
  const BootLayout& layout = environment.layout;
  FreeMemory free(environment.memory_map, kernel_floor);
  TRY(load_segments(memory, free, image, kernel));
  // The start info has 64-bit module addresses, but the entry is 32-bit code: below 4 GiB.
  const GuestPhysical initrd_address = initrd.bytes.empty() ? 0
                                                            : TRY(place_initrd(memory, free, initrd, 4 * GiB, false));
  TRY(write_command_line(memory, layout, command_line, ~u64{0}));
  const std::vector<u8> start_info = make_start_info(environment, initrd_address, initrd.bytes.size());
  memory.write(layout.boot_info, start_info.data(), start_info.size());

  x86::X86State state = enter_protected_mode(memory, layout, image.entry);
  state.gpr[x86::rbx] = layout.boot_info;
  log::info("kernel '{}' (ELF) enters at {:#x}; initrd at {:#x}", kernel.name, image.entry, initrd_address);
  return state;
}

}  // namespace doppel::firmware
