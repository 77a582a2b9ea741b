// Processor states that boot protocols ask for, with the tables in guest memory that they stand on.
#pragma once

#include "firmware/boot.h"

namespace doppel::firmware {

// Selectors of the GDT that is written: the Linux boot protocol's __BOOT_CS and __BOOT_DS, and a TSS for PVH.
constexpr u16 boot_code_selector = 0x10, boot_data_selector = 0x18, boot_tss_selector = 0x20;

// 64-bit mode, interrupts off, the first 4 GiB identity-mapped. Writes GDT and page tables.
x86::X86State enter_long_mode(Dma& memory, const BootLayout& layout, u64 rip);
// 32-bit protected mode, flat segments, paging and interrupts off. Writes the GDT.
x86::X86State enter_protected_mode(Dma& memory, const BootLayout& layout, u32 eip);

}  // namespace doppel::firmware
