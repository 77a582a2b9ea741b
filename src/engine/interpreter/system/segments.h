// Descriptor tables and segment registers: what far transfers, event delivery, task switches and segment loads share.
// Intel SDM vol. 3 §3.4, §5 (edition 085). Functions that return false (or ok = false) have recorded the fault.
#pragma once

#include "engine/interpreter/cpu.h"
#include "isa/x86/descriptor.h"

namespace doppel::interpreter {

[[gnu::cold, gnu::noinline]] inline bool refuse(Cpu& cpu, u8 vector, u32 error) {
  set_fault(cpu, vector, error);
  return false;
}
[[gnu::cold, gnu::noinline]] inline bool refuse(Cpu& cpu, u8 vector) {
  set_fault(cpu, vector);
  return false;
}

// How the checks of one loading operation report: which exception, and EXT.
struct Blame {
  u8 vector = x86::general_protection;
  u32 ext = 0;
};

struct TableEntry {
  x86::Descriptor descriptor;
  u64 address = 0;  // linear
  bool ok = false;
};
// The entry that a selector (not null) names; outside of its table: `blame`(selector).
TableEntry read_descriptor(Cpu& cpu, u16 selector, Blame blame);
// The upper half of a 16-byte system descriptor at `entry`.
struct UpperHalf {
  u64 value;
  bool ok;
};
UpperHalf read_upper_half(Cpu& cpu, const TableEntry& entry, u16 selector, Blame blame);
// Sets the accessed bit, in the table too. False: a page fault.
bool mark_accessed(Cpu& cpu, TableEntry& entry);
// Rewrites byte 5 (rights) of a descriptor in its table: busy bits.
bool write_rights_byte(Cpu& cpu, const TableEntry& entry, u8 rights);

struct CheckedSegment {
  x86::SegmentRegister value;
  bool ok = false;
};
// SS for a stack at privilege `cpl`: writable data, RPL = DPL = CPL, present (else #SS). `selector` is not null.
CheckedSegment check_stack_segment(Cpu& cpu, u16 selector, unsigned cpl, Blame blame);
// DS, ES, FS, GS in protected mode, null selectors included.
CheckedSegment check_data_segment(Cpu& cpu, u16 selector, unsigned cpl, Blame blame);

// What a null selector leaves in a segment register: nothing usable. SS keeps the privilege level (64-bit mode).
constexpr x86::SegmentRegister null_segment(u16 selector, unsigned dpl = 0) {
  return {.base = 0, .limit = 0, .selector = selector, .attributes = x86::access_rights::of_dpl(dpl)};
}
// Real mode keeps the limit of what was there; virtual-8086 mode fixes everything.
x86::SegmentRegister real_mode_segment(const x86::SegmentRegister& old, u16 selector);
constexpr x86::SegmentRegister vm86_segment(u16 selector) {
  return {.base = u64{selector} << 4,
          .limit = 0xffff,
          .selector = selector,
          .attributes = x86::access_rights::flat_data | x86::access_rights::of_dpl(3)};
}

// Whether [offset, offset + bytes) lies within a segment's limit, expand-down ones included.
bool within_limit(const x86::SegmentRegister& segment, u64 offset, unsigned bytes);

// A return to an outer privilege level takes away data segments that it may not use (SDM vol. 2, RET and IRET).
void drop_inner_segments(Cpu& cpu, unsigned new_cpl);

// A stack that the processor itself pushes to. Memory is written as it goes; no register changes until the caller takes pointer().
class PushStack {
 public:
  // `error`: of the #SS for what does not fit. `flat`: 64-bit, only canonical form counts.
  PushStack(Cpu& cpu, const x86::SegmentRegister& segment, u64 pointer, unsigned cpl, bool flat, u32 error);

  bool push(u64 value, unsigned bytes);
  u64 pointer() const { return pointer_; }

 private:
  Cpu& cpu_;
  const x86::SegmentRegister segment_;
  u64 pointer_;
  const u64 mask_;
  const bool supervisor_;
  const bool flat_;
  const u32 error_;
};

// The current stack, read without moving the stack pointer until the caller takes pointer().
class PopStack {
 public:
  explicit PopStack(Cpu& cpu);
  // ok = false: fault recorded.
  bool pop(unsigned bytes, u64& value);
  void skip(u64 bytes) { pointer_ = (pointer_ & ~mask_) | ((pointer_ + bytes) & mask_); }
  u64 pointer() const { return pointer_; }

 private:
  Cpu& cpu_;
  u64 pointer_;
  const u64 mask_;
};

}  // namespace doppel::interpreter
