// Linux, Documentation/arch/x86/boot.rst, "32-bit Boot Protocol" and "64-bit Boot Protocol"; Intel SDM vol. 3 §3.4.5
// (descriptors), §4.5 (4-level paging), §9.8.5 (what long mode needs).
#include "firmware/entry_state.h"

#include <array>

#include "base/units.h"
#include "isa/x86/paging.h"

namespace doppel::firmware {

namespace {

using x86::SegmentRegister;

constexpr u16 make_attributes(u16 type, bool code_or_data, bool is_long, bool big) {
  return static_cast<u16>(SegmentRegister::Type::of(type) | SegmentRegister::CodeOrData::of(code_or_data) |
                          SegmentRegister::Present::of(1) | SegmentRegister::Long::of(is_long) |
                          SegmentRegister::Big::of(big) | SegmentRegister::Granular::of(code_or_data));
}

constexpr u16 type_code = 0xb, type_data = 0x3, type_busy_tss = 0xb;
constexpr u32 flat_limit = 0xffff'ffff;

constexpr SegmentRegister code_64{0, flat_limit, boot_code_selector, make_attributes(type_code, true, true, false)};
constexpr SegmentRegister code_32{0, flat_limit, boot_code_selector, make_attributes(type_code, true, false, true)};
constexpr SegmentRegister data{0, flat_limit, boot_data_selector, make_attributes(type_data, true, false, true)};
constexpr SegmentRegister tss{0, 0x67, boot_tss_selector, make_attributes(type_busy_tss, false, false, false)};

// The descriptor that would load the register as it is.
u64 descriptor(const SegmentRegister& segment) {
  const u64 attributes = segment.attributes;
  const u64 limit = SegmentRegister::Granular::get(attributes) ? segment.limit >> 12 : segment.limit;
  return (limit & 0xffff) | (segment.base & 0xff'ffff) << 16 | (attributes & 0xff) << 40 | (limit >> 16 & 0xf) << 48 |
         (attributes >> 12) << 52 | (segment.base >> 24 & 0xff) << 56;
}

x86::X86State with_segments(Dma& memory, const BootLayout& layout, const SegmentRegister& code) {
  const std::array<u64, 5> gdt{0, 0, descriptor(code), descriptor(data), descriptor(tss)};
  static_assert(sizeof gdt == BootLayout::gdt_bytes);
  memory.write(layout.gdt, gdt);

  x86::X86State state;
  x86::reset(state);
  state.segments.fill(data);
  state.segments[x86::cs] = code;
  state.tr = tss;
  state.gdtr = {.base = layout.gdt, .limit = sizeof gdt - 1};
  state.idtr = {.base = 0, .limit = 0};
  state.gpr[x86::rsp] = layout.stack_end;
  return state;
}

// One PML4, one page-directory-pointer table, four page directories of 2-MiB pages.
void write_identity_map(Dma& memory, GuestPhysical tables) {
  constexpr unsigned directories = 4;
  constexpr u64 table_flags = x86::pte::Present::of(1) | x86::pte::Writable::of(1);
  std::array<u64, page_size / sizeof(u64)> table{};
  table[0] = (tables + page_size) | table_flags;
  memory.write(tables, table);
  table.fill(0);
  for (unsigned i = 0; i < directories; ++i) table[i] = (tables + (2 + i) * page_size) | table_flags;
  memory.write(tables + page_size, table);
  for (unsigned i = 0; i < directories; ++i) {
    for (u64 j = 0; j < table.size(); ++j) table[j] = (i * GiB + j * 2 * MiB) | table_flags | x86::pte::PageSize::of(1);
    memory.write(tables + (2 + i) * page_size, table);
  }
}

}  // namespace

x86::X86State enter_long_mode(Dma& memory, const BootLayout& layout, u64 rip) {
  x86::X86State state = with_segments(memory, layout, code_64);
  write_identity_map(memory, layout.page_tables);
  state.cr0 = x86::cr0::pg | x86::cr0::et | x86::cr0::pe;
  state.cr3 = layout.page_tables;
  state.cr4 = x86::cr4::pae;
  state.efer = x86::efer::lme | x86::efer::lma;
  state.rip = rip;
  return state;
}

x86::X86State enter_protected_mode(Dma& memory, const BootLayout& layout, u32 eip) {
  x86::X86State state = with_segments(memory, layout, code_32);
  state.cr0 = x86::cr0::et | x86::cr0::pe;
  state.rip = eip;
  return state;
}

}  // namespace doppel::firmware
