// Boots a kernel without firmware: recognizes the image, loads it and its initrd, and makes the processor state of its
// entry point. bzImage by the Linux boot protocol (64-bit entry if the kernel has one, else 32-bit), ELF by PVH.
#pragma once

#include <span>
#include <string>

#include "base/result.h"
#include "firmware/bzimage.h"
#include "firmware/memory_map.h"
#include "isa/x86/registers.h"
#include "memory/physical_memory.h"

namespace doppel::firmware {

// Where to put what the kernel is handed. All of it RAM below 1 MiB that the map gives the kernel; it copies what it keeps.
struct BootLayout {
  GuestPhysical gdt;          // gdt_bytes
  GuestPhysical boot_info;    // 8 KiB, page aligned: the zero page, or PVH's start info and its lists
  GuestPhysical page_tables;  // page_table_bytes, page aligned
  GuestPhysical stack_end;    // no protocol asks for a stack, but a push must not go astray
  GuestPhysical command_line;
  u64 command_line_bytes;  // with the terminating zero

  static constexpr u64 gdt_bytes = 0x28;
  static constexpr u64 boot_info_bytes = 2 * page_size;
  static constexpr u64 page_table_bytes = 6 * page_size;  // identity map of 4 GiB by 2-MiB pages
};

struct BootEnvironment {
  BootLayout layout;
  std::span<const MemoryMapEntry> memory_map;
  GuestPhysical acpi_rsdp;  // 0: none
};

struct BootFiles {
  std::string kernel;  // path
  std::string initrd;  // path; empty: none
  std::string command_line;
};

// Reads the files and loads them. Also at every reset of the guest: all that the entry needs is written again.
Result<x86::X86State> boot_kernel(Dma& memory, const BootFiles& files, const BootEnvironment& environment);

// The same from bytes already in memory. Errors name the images by NamedBytes::name.
Result<x86::X86State> load_boot_image(Dma& memory, NamedBytes kernel, NamedBytes initrd, std::string_view command_line,
                                      const BootEnvironment& environment);

}  // namespace doppel::firmware
