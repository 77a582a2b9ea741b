// Segment descriptors, gates and selectors, Intel SDM vol. 3 §3.4, §5.8.3, §6.11, §7.2 (edition 085). Pure definitions.
//
//   63…56        55 54 53 52  51…48       47 46–45 44 43…40  39…16       15…0
//   base 31–24   G  DB L  AVL limit 19–16 P  DPL   S  type   base 23–0   limit 15–0
#pragma once

#include "base/bits.h"
#include "isa/x86/registers.h"

namespace doppel::x86 {

namespace selector {
using Rpl = Bits<0, 2>;
using Local = Bits<2>;  // TI: in the LDT
constexpr bool is_null(u16 value) { return (value & 0xfffc) == 0; }
constexpr u32 offset(u16 value) { return value & 0xfff8; }  // in its table
constexpr u32 error_code(u16 value) { return value & 0xfffc; }
constexpr unsigned rpl(u16 value) { return value & 3; }
}  // namespace selector

// Error codes that name a gate, SDM vol. 3 §6.13.
namespace selector_error {
constexpr u32 ext = 1 << 0, idt = 1 << 1;
}

// Types with S = 0, SDM vol. 3 table 3-2.
enum class SystemType : u8 {
  tss16_available = 1,
  ldt = 2,
  tss16_busy = 3,
  call_gate16 = 4,
  task_gate = 5,
  interrupt_gate16 = 6,
  trap_gate16 = 7,
  tss_available = 9,  // 32-bit; 64-bit in long mode, like the gates below
  tss_busy = 11,
  call_gate = 12,
  interrupt_gate = 14,
  trap_gate = 15,
};
constexpr u64 tss_busy_bit = 2;  // in the type field

// The attributes word of SegmentRegister: what a type means.
namespace access_rights {
constexpr u16 accessed = 1, writable = 2, expand_down = 4;  // data
constexpr u16 readable = 2, conforming = 4, code = 8;       // code
constexpr u16 code_or_data = 1 << 4, present = 1 << 7;
constexpr u16 long_mode = 1 << 13, big = 1 << 14, granular = 1 << 15;
constexpr u16 of_dpl(unsigned dpl) { return static_cast<u16>(dpl << 5); }
constexpr u16 flat_code = present | code_or_data | code | readable | accessed;
constexpr u16 flat_data = present | code_or_data | writable | accessed;

constexpr unsigned type(u16 rights) { return rights & 0xf; }
constexpr unsigned dpl(u16 rights) { return (rights >> 5) & 3; }
constexpr bool is_code_or_data(u16 rights) { return rights & code_or_data; }
constexpr bool is_code(u16 rights) { return (rights & (code_or_data | code)) == (code_or_data | code); }
constexpr bool is_data(u16 rights) { return (rights & (code_or_data | code)) == code_or_data; }
constexpr bool is_conforming_code(u16 rights) { return is_code(rights) && (rights & conforming); }
constexpr bool is_writable_data(u16 rights) { return is_data(rights) && (rights & writable); }
constexpr bool is_readable(u16 rights) { return is_data(rights) || (is_code(rights) && (rights & readable)); }
constexpr bool is_expand_down(u16 rights) { return is_data(rights) && (rights & expand_down); }
}  // namespace access_rights

// A segment descriptor, or the low half of a 16-byte system descriptor.
struct Descriptor {
  u64 raw = 0;

  constexpr u16 rights() const { return static_cast<u16>((raw >> 40) & 0xf0ff); }
  constexpr bool present() const { return raw >> 47 & 1; }
  constexpr bool is_system() const { return !(raw >> 44 & 1); }
  constexpr unsigned dpl() const { return static_cast<unsigned>(raw >> 45 & 3); }
  constexpr SystemType system_type() const { return static_cast<SystemType>(raw >> 40 & 0xf); }
  constexpr bool is_system(SystemType type) const { return is_system() && system_type() == type; }

  constexpr u32 base() const { return static_cast<u32>((raw >> 16 & 0xff'ffff) | (raw >> 56 & 0xff) << 24); }
  constexpr u32 limit() const {  // in bytes
    const auto units = static_cast<u32>((raw & 0xffff) | (raw >> 32 & 0xf'0000));
    return rights() & access_rights::granular ? units << 12 | 0xfff : units;
  }
  constexpr SegmentRegister to_register(u16 chosen_by) const {
    return {.base = base(), .limit = limit(), .selector = chosen_by, .attributes = rights()};
  }

  // What an assembler's table would hold; for tests and for the boot protocol.
  static constexpr Descriptor make(u32 base, u32 limit_units, u16 rights) {
    return {u64{limit_units & 0xffff} | u64{base & 0xff'ffff} << 16 | u64{rights} << 40 |
            u64{(limit_units >> 16) & 0xf} << 48 | u64{base >> 24} << 56};
  }
};

// A call, interrupt, trap or task gate; `high` is the second half in long mode, else 0.
struct Gate {
  u64 raw = 0;
  u64 high = 0;

  constexpr u16 target_selector() const { return static_cast<u16>(raw >> 16); }
  constexpr u64 offset() const { return (raw & 0xffff) | (raw >> 32 & 0xffff'0000) | (high & 0xffff'ffff) << 32; }
  constexpr unsigned parameter_count() const { return static_cast<unsigned>(raw >> 32 & 0x1f); }
  constexpr unsigned stack_table_index() const { return static_cast<unsigned>(raw >> 32 & 7); }  // IST
  constexpr unsigned dpl() const { return static_cast<unsigned>(raw >> 45 & 3); }
  constexpr bool present() const { return raw >> 47 & 1; }
  constexpr SystemType type() const { return static_cast<SystemType>(raw >> 40 & 0xf); }
  constexpr bool is_system() const { return !(raw >> 44 & 1); }
  constexpr bool wide() const { return static_cast<unsigned>(type()) & 8; }  // not a 16-bit one
};

// Layout of task-state segments: byte offsets. SDM vol. 3 §7.2.1 (32-bit), §7.6 (16-bit), §7.7 (64-bit).
namespace tss32 {
constexpr u32 link = 0, stacks = 4, cr3 = 28, eip = 32, eflags = 36, registers = 40, segments = 72, ldt = 96,
              trap = 100, io_map_base = 102, minimum_limit = 103;
}
namespace tss16 {
constexpr u32 link = 0, stacks = 2, ip = 14, flags = 16, registers = 18, segments = 34, ldt = 42, minimum_limit = 43;
}
namespace tss64 {
constexpr u32 stacks = 4, interrupt_stacks = 36, io_map_base = 102;
}

}  // namespace doppel::x86
