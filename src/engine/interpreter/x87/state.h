// The x87 unit as its handlers see it: register stack, tags, status word, stack faults and the frame around every instruction.
// Intel SDM vol. 1 §8 (edition 085).
//
// Numeric errors are deferred: an instruction that raises an unmasked exception sets ES, and the next waiting instruction gets #MF.
// With CR0.NE = 0 a PC would raise IRQ 13 through FERR#; that line is absent here, so errors are then ignored, as with IGNNE#
// asserted. FIP and FCS are recorded by every instruction that is not a control instruction; FOP, FDP and FDS only by one that leaves an
// unmasked exception, as CPUID says (FDP_EXCPTN_ONLY; SDM vol. 1 §8.1.8 and §8.1.9).
#pragma once

#include "engine/interpreter/bind.h"
#include "engine/interpreter/memory_access.h"

namespace doppel::interpreter {

namespace fsw {
constexpr u16 ie = 1 << 0, de = 1 << 1, ze = 1 << 2, oe = 1 << 3, ue = 1 << 4, pe = 1 << 5, sf = 1 << 6, es = 1 << 7,
              c0 = 1 << 8, c1 = 1 << 9, c2 = 1 << 10, c3 = 1 << 14, busy = 1 << 15;
constexpr u16 exceptions = 0x3f, conditions = c0 | c1 | c2 | c3;
using Top = Bits<11, 3>;
}  // namespace fsw

namespace fcw {
constexpr u16 masks = 0x3f, initial = 0x037f, writable = 0x1f3f, fixed = 0x40;
}

constexpr x86::Float80 indefinite{0xc000'0000'0000'0000, 0xffff};

// ---- the stack ----

using Fpu = x86::FpuState;

inline unsigned top(const Fpu& f) { return (f.status >> 11) & 7; }
inline unsigned physical(const Fpu& f, unsigned i) { return (top(f) + i) & 7; }
inline x86::Float80& st(Fpu& f, unsigned i) { return f.registers[physical(f, i)]; }
inline bool empty(const Fpu& f, unsigned i) { return !(f.valid >> physical(f, i) & 1); }
inline void mark_valid(Fpu& f, unsigned i) { f.valid |= static_cast<u8>(1 << physical(f, i)); }
inline void mark_empty(Fpu& f, unsigned i) { f.valid &= static_cast<u8>(~(1 << physical(f, i))); }
// Member by member: a 16-byte copy would wait for the narrower stores that made the value.
inline void copy(x86::Float80& to, const x86::Float80& from) {
  to.significand = from.significand;
  to.sign_exponent = from.sign_exponent;
}
inline void move_top(Fpu& f, unsigned by) {
  f.status = static_cast<u16>((f.status & ~0x3800) | (((f.status >> 11) + by) & 7) << 11);
}
inline void pop(Fpu& f) {
  mark_empty(f, 0);
  move_top(f, 1);
}
inline void push(Fpu& f, const x86::Float80& value) {
  move_top(f, 7);
  st(f, 0) = value;
  mark_valid(f, 0);
}

// ---- the status word ----

inline void update_summary(Fpu& f) {
  const bool pending = f.status & ~f.control & fsw::exceptions;
  f.status = static_cast<u16>((f.status & ~(fsw::es | fsw::busy)) | (pending ? fsw::es | fsw::busy : 0));
}
inline void set_conditions(Fpu& f, u16 changed, u16 value) {
  const unsigned flipped = (f.status ^ value) & changed;
  if (flipped) f.status = static_cast<u16>(f.status ^ flipped);
}
// Takes over what an operation reported: its exceptions, and those condition codes that it defines. Mostly nothing changes: the
// branch keeps the next operand's address, which depends on TOP, from waiting for the host's status word.
inline void commit(Fpu& f, u16 reported, u16 conditions = fsw::c1) {
  const unsigned changed = ((f.status ^ reported) & conditions) | (reported & ~f.status & fsw::exceptions);
  if (changed) f.status = static_cast<u16>(f.status ^ changed);
  if ((f.control & fcw::masks) != fcw::masks) [[unlikely]]
    update_summary(f);
}
// An operation that reported an unmasked invalid operand, denormal or zero divide did not happen: operands and stack stay.
inline bool suppressed(const Fpu& f, u16 reported) { return reported & ~f.control & (fsw::ie | fsw::de | fsw::ze); }
// A store to memory does not happen on unmasked overflow and underflow, either.
inline bool store_suppressed(const Fpu& f, u16 reported) {
  return reported & ~f.control & (fsw::exceptions & ~fsw::pe);
}

// Records a stack fault; true if it is masked, so that the indefinite value stands in.
[[gnu::noinline, gnu::cold]] inline bool stack_fault(Fpu& f, bool overflow) {
  f.status |= fsw::ie | fsw::sf;
  set_conditions(f, fsw::c1, overflow ? fsw::c1 : 0);
  update_summary(f);
  return f.control & fsw::ie;
}
[[gnu::noinline, gnu::cold]] inline void push_overflow(Fpu& f) {
  if (stack_fault(f, true)) push(f, indefinite);
}

// A store that an unmasked exception suppresses still has its address checked; false: fault recorded.
[[gnu::noinline, gnu::cold]] inline bool check_store_address(Cpu& cpu, const Op* op, unsigned bytes) {
  const Linear linear = operand_linear(cpu, op, bytes, AccessKind::write);
  return linear.ok && probe_write(cpu, linear.address, bytes, static_cast<x86::Segment>(op->segment));
}

// After the guest's exception flags were cleared or replaced: see native.h.
inline void forget_host_flags() { asm volatile("fnclex"); }

// ---- frames of handlers ----

// 0, or the exception that keeps an x87 instruction from executing.
inline u8 x87_fault(const Cpu& cpu) {
  if (cpu.s.cr0 & (x86::cr0::em | x86::cr0::ts)) return x86::device_not_available;
  if ((cpu.s.fpu.status & fsw::es) && (cpu.s.cr0 & x86::cr0::ne)) return x86::x87_error;
  return 0;
}

// The work of an instruction; false: a fault is recorded and nothing has changed.
using X87Body = bool (*)(Cpu& cpu, const Op* op);

template <X87Body body, bool memory>
void x87_numeric(Cpu& cpu, const Op* op) {
  if (const u8 vector = x87_fault(cpu)) [[unlikely]]
    return raise(cpu, op, vector);
  if (!body(cpu, op)) [[unlikely]]
    return faulted(cpu, op);
  Fpu& f = cpu.s.fpu;
  f.instruction_pointer = cpu.op_rip(op);
  f.instruction_selector = cpu.s.segments[x86::cs].selector;
  if (!(f.status & fsw::es)) [[likely]]
    return next(cpu, op);
  f.opcode = static_cast<u16>(op->immediate);
  if constexpr (memory) {
    f.data_pointer = effective_address(cpu, op);
    f.data_selector = cpu.s.segments[op->segment].selector;
  }
  return next(cpu, op);
}

template <X87Body body>
void x87_control(Cpu& cpu, const Op* op) {
  if (const u8 vector = x87_fault(cpu)) [[unlikely]]
    return raise(cpu, op, vector);
  if (!body(cpu, op)) [[unlikely]]
    return faulted(cpu, op);
  return next(cpu, op);
}

// The FN… instructions, which do not wait.
template <X87Body body>
void x87_no_wait(Cpu& cpu, const Op* op) {
  if (cpu.s.cr0 & (x86::cr0::em | x86::cr0::ts)) [[unlikely]]
    return raise(cpu, op, x86::device_not_available);
  if (!body(cpu, op)) [[unlikely]]
    return faulted(cpu, op);
  return next(cpu, op);
}

// ---- binding ----

// Op::a becomes i of ST(i), Op::immediate the opcode as FOP holds it.
inline void x87_prepare(const x86::Instruction& instruction, Op& op) {
  op.a = instruction.modrm & 7;
  op.immediate = static_cast<u64>((instruction.opcode & 7) << 8 | instruction.modrm);
}
template <X87Body body>
Binding bind_numeric(const x86::Instruction& instruction, Op& op) {
  x87_prepare(instruction, op);
  return {x87_numeric<body, false>};
}
template <X87Body body>
Binding bind_numeric_memory(const x86::Instruction& instruction, Op& op) {
  x87_prepare(instruction, op);
  return {x87_numeric<body, true>};
}
template <X87Body body>
Binding bind_control(const x86::Instruction& instruction, Op& op) {
  x87_prepare(instruction, op);
  return {x87_control<body>};
}
template <X87Body body>
Binding bind_no_wait(const x86::Instruction& instruction, Op& op) {
  x87_prepare(instruction, op);
  return {x87_no_wait<body>};
}

}  // namespace doppel::interpreter
