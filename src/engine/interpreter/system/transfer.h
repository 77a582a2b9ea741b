// What far control transfers share: code-segment checks, entering code, leaving the handler chain afterwards.
#pragma once

#include "engine/interpreter/system.h"
#include "engine/interpreter/system/deliver.h"
#include "engine/interpreter/system/segments.h"

namespace doppel::interpreter {

// CS.L, which only means something in IA-32e mode.
inline bool is_code64(const Cpu& cpu, const x86::SegmentRegister& code) {
  return cpu.s.long_mode() && (code.attributes & x86::access_rights::long_mode);
}
// The target of a transfer: within the limit, or canonical for 64-bit code; else #GP(0).
bool check_target(Cpu& cpu, const x86::SegmentRegister& code, u64 rip);
// Loads CS at privilege `cpl`; the caller calls update_mode() when SS is right, too.
inline void set_code_segment(Cpu& cpu, const x86::SegmentRegister& code, unsigned cpl) {
  cpu.s.segments[x86::cs] = code;
  cpu.s.segments[x86::cs].selector = static_cast<u16>((code.selector & ~3u) | cpl);
}
// In IA-32e mode a code segment is 64-bit or has a default size, never both: #GP(selector).
inline bool has_valid_size(const Cpu& cpu, u16 rights) {
  constexpr u16 both = x86::access_rights::long_mode | x86::access_rights::big;
  return !cpu.s.long_mode() || (rights & both) != both;
}

// JMP and CALL far, any mode. `bytes`: operand size; `next_rip`: what a CALL saves. False: a fault is recorded.
bool far_jump(Cpu& cpu, u16 selector, u64 offset, u64 next_rip);
bool far_call(Cpu& cpu, u16 selector, u64 offset, unsigned bytes, u64 next_rip);
bool jump_through_gate(Cpu& cpu, u16 selector, const TableEntry& entry);
bool call_through_gate(Cpu& cpu, u16 selector, const TableEntry& entry, u64 next_rip);
// JMP or CALL to a TSS or task gate.
bool transfer_to_task(Cpu& cpu, u16 selector, const TableEntry& entry, bool call, u64 next_rip);
bool far_return(Cpu& cpu, unsigned bytes, u16 release);
bool interrupt_return(Cpu& cpu, unsigned bytes, u64 next_rip);
bool interrupt_return64(Cpu& cpu);  // IRETQ in 64-bit mode

// Ends a handler that called deliver().
inline void leave_delivered(Cpu& cpu, const Op* op) {
  const Leave why = cpu.leave;
  leave_after(cpu, op);
  if (why == Leave::triple_fault) cpu.leave = Leave::triple_fault;
}
// Ends a handler whose transfer set cpu.rip, or failed: in the old task (`old_task` is TR before it), where the instruction has not
// happened, or in a new one, whose fault it is.
inline void conclude(Cpu& cpu, const Op* op, bool ok, u16 old_task) {
  if (cpu.s.tr.selector == old_task) [[likely]]
    return ok ? leave_after(cpu, op) : faulted(cpu, op);
  cpu.leave = Leave::next_block;
  if (ok)
    deliver_task_trap(cpu);
  else
    deliver(cpu, EventKind::exception, cpu.fault);
  return leave_delivered(cpu, op);
}

}  // namespace doppel::interpreter
