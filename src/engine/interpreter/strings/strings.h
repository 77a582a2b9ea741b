// What the string instructions share: index registers by address size, runs of elements within one page, and repetition.
//
// A repeated instruction works in runs: as many elements as lie, for each operand, in one page of RAM that the TLB knows. Whatever
// prevents that (TLB miss, page crossing, memory-mapped I/O, segment limit, breakpoints) makes it do one element by itself,
// through the ordinary access functions, which also raise the faults. Registers always show exactly the elements that are done.
#pragma once

#include <algorithm>

#include "engine/interpreter/bind.h"
#include "engine/interpreter/cpu.h"
#include "engine/interpreter/memory_access.h"

namespace doppel::interpreter {

// Op::c holds the address size in bytes, Op::segment that of the source.
inline u64 address_mask(const Op* op) { return low_bits(8 * op->c); }
inline u64 read_index(const Cpu& cpu, const Op* op, x86::Gpr reg) { return cpu.gpr[reg] & address_mask(op); }

// As the address size says: 16 bits merge, 32 bits clear the upper half.
inline void write_index(Cpu& cpu, const Op* op, x86::Gpr reg, u64 value) {
  switch (op->c) {
    case 2: return cpu.set_reg<u16>(static_cast<u8>(reg * 8), static_cast<u16>(value));
    case 4: return cpu.set_reg<u32>(static_cast<u8>(reg * 8), static_cast<u32>(value));
    default: cpu.gpr[reg] = value;
  }
}

inline bool backward(const Cpu& cpu) { return cpu.other_flags & x86::rflags::df; }

// Moves an index register over `count` elements.
template <class T>
void advance(Cpu& cpu, const Op* op, x86::Gpr reg, u64 count) {
  const u64 distance = count * sizeof(T);
  write_index(cpu, op, reg, backward(cpu) ? cpu.gpr[reg] - distance : cpu.gpr[reg] + distance);
}

// The element at DS:rSI (or an override) and that at ES:rDI.
template <class T>
Loaded<T> load_element(Cpu& cpu, const Op* op, x86::Segment segment, x86::Gpr reg) {
  const Linear linear = segment_linear(cpu, segment, read_index(cpu, op, reg), sizeof(T), AccessKind::read);
  if (!linear.ok) return {0, false};
  return load<T>(cpu, linear.address, segment);
}
template <class T>
Loaded<T> load_source(Cpu& cpu, const Op* op) {
  return load_element<T>(cpu, op, static_cast<x86::Segment>(op->segment), x86::rsi);
}
template <class T>
bool store_destination(Cpu& cpu, const Op* op, T value) {
  const Linear linear = segment_linear(cpu, x86::es, read_index(cpu, op, x86::rdi), sizeof(T), AccessKind::write);
  return linear.ok && store<T>(cpu, linear.address, value, x86::es);
}

// How many of the elements that begin with the one at the index register lie in its page, without wrapping around.
template <class T>
u64 run_length(const Cpu& cpu, const Op* op, x86::Segment segment, x86::Gpr reg) {
  const u64 offset = read_index(cpu, op, reg), mask = address_mask(op);
  const u64 base = cpu.long64 && segment < x86::fs ? 0 : cpu.s.segments[segment].base;
  const u64 in_page = (base + offset) & (page_size - 1);
  if (in_page + sizeof(T) > page_size || offset > mask - (sizeof(T) - 1)) return 0;
  if (backward(cpu)) return std::min(in_page, offset) / sizeof(T) + 1;
  return std::min(page_size - in_page, mask - offset < page_size ? mask - offset + 1 : page_size) / sizeof(T);
}

// Host address of the lowest byte of such a run, or nullptr.
template <class T>
u8* run_host(Cpu& cpu, const Op* op, x86::Segment segment, x86::Gpr reg, u64 count, AccessKind kind) {
  const u64 first = read_index(cpu, op, reg), bytes = count * sizeof(T);
  const u64 lowest = backward(cpu) ? first - (bytes - sizeof(T)) : first;
  const Linear linear = segment_linear(cpu, segment, lowest, static_cast<unsigned>(bytes), kind);
  if (!linear.ok) return nullptr;
  return kind == AccessKind::write ? writable_at(*cpu.tlb, linear.address, 1)
                                   : readable_at(*cpu.tlb, linear.address, 1);
}

// An instruction's semantics:
//   struct Operation {
//     static constexpr bool compares;                    // REPE and REPNE look at ZF; otherwise both are REP
//     bool one<T>(Cpu&, const Op*);                      // one element, index registers moved; false: fault recorded
//     u64 run<T>(Cpu&, const Op*, u64 count);            // up to `count` elements at once; 0: not possible now. One that
//   };                                                   // compares stops after the element that ends the repetition.
template <class Operation, class T>
void string_once(Cpu& cpu, const Op* op) {
  if (!Operation::template one<T>(cpu, op)) [[unlikely]]
    return faulted(cpu, op);
  return next(cpu, op);
}

enum class Progress : u8 { done, interrupted, stepped, fault };

inline bool repetition_ends(const Cpu& cpu, const Op* op) {
  return cpu.flags.zf() != static_cast<bool>(op->flags & op_flag::rep);
}

template <class Operation, class T>
[[gnu::noinline]] Progress repeat(Cpu& cpu, const Op* op) {
  const bool stepping = cpu.other_flags & x86::rflags::tf;
  for (;;) {
    const u64 left = read_index(cpu, op, x86::rcx);
    if (left == 0) return Progress::done;
    u64 done = Operation::template run<T>(cpu, op, stepping ? 1 : left);
    if (done == 0) {
      if (!Operation::template one<T>(cpu, op)) return Progress::fault;
      done = 1;
    }
    write_index(cpu, op, x86::rcx, left - done);
    if (done == left) return Progress::done;
    if constexpr (Operation::compares)
      if (repetition_ends(cpu, op)) return Progress::done;
    if (stepping || cpu.pending_debug) return Progress::stepped;
    if (cpu.attention.load(std::memory_order_relaxed) && cpu.events.load(std::memory_order_relaxed))
      return Progress::interrupted;
  }
}

template <class Operation, class T>
void string_repeated(Cpu& cpu, const Op* op) {
  switch (repeat<Operation, T>(cpu, op)) {
    case Progress::done: return next(cpu, op);
    case Progress::interrupted: return leave_before(cpu, op, Leave::restart);
    case Progress::stepped:  // a debug trap after each element: as an instruction that jumps to itself
      cpu.rip = cpu.op_rip(op);
      return leave_after(cpu, op);
    case Progress::fault: return faulted(cpu, op);
  }
}

template <class Operation, class T>
Binding bind_string(const x86::Instruction& instruction, Op& op) {
  op.c = instruction.address_bytes;
  op.segment = instruction.memory.segment;
  if (instruction.rep || instruction.repne) return {string_repeated<Operation, T>};
  return {string_once<Operation, T>};
}

}  // namespace doppel::interpreter
