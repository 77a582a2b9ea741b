// What the VEX handlers share: availability, and memory operands whose size is known when the instruction is bound.
#pragma once

#include "engine/interpreter/sse/vector.h"

namespace doppel::interpreter {

// CR4.OSXSAVE, XCR0, CR0.TS
#define DOPPEL_CHECK_AVX(cpu, op)   \
  if ((cpu).avx_fault) [[unlikely]] \
  return raise((cpu), (op), (cpu).avx_fault)

namespace op_flag {
constexpr u8 aligned = lock;  // the memory operand must be aligned to its size; VEX instructions take no LOCK
}

// The address of the memory operand of op->bytes bytes; not ok: fault recorded.
[[gnu::always_inline]] inline Linear vex_linear(Cpu& cpu, const Op* op, AccessKind kind) {
  const Linear linear = operand_linear(cpu, op, op->bytes, kind);
  if (!linear.ok) [[unlikely]]
    return linear;
  if ((op->flags & op_flag::aligned) && (linear.address & (op->bytes - 1u))) [[unlikely]] {
    set_fault(cpu, x86::general_protection, 0);
    return {0, false};
  }
  return linear;
}

// Host address of `bytes` bytes of RAM within one page, or nullptr: take the slow path. For stores, RAM that no one watches.
[[gnu::always_inline]] inline u8* vex_readable(Cpu& cpu, u64 linear, unsigned bytes) {
  const TlbEntry& entry = cpu.tlb[(linear >> 12) & cpu.tlb_mask];
  if (entry.read_tag != (((linear + bytes - 1) & ~u64{0xfff}) | cpu.asid)) return nullptr;
  return reinterpret_cast<u8*>(linear + entry.addend);
}
[[gnu::always_inline]] inline u8* vex_writable(Cpu& cpu, u64 linear, unsigned bytes) {
  const TlbEntry& entry = cpu.tlb[(linear >> 12) & cpu.tlb_mask];
  if (entry.write_tag != (((linear + bytes - 1) & ~u64{0xfff}) | cpu.asid)) return nullptr;
  u8* host = reinterpret_cast<u8*>(linear + entry.addend);
  return cpu.page_flags[static_cast<u64>(host - cpu.ram) >> page_shift].load(std::memory_order_relaxed) ? nullptr
                                                                                                        : host;
}

// The operand's bytes, in RAM or in cpu.scratch; nullptr: fault recorded.
[[gnu::always_inline]] inline u8* vex_source(Cpu& cpu, const Op* op) {
  const Linear linear = vex_linear(cpu, op, AccessKind::read);
  if (!linear.ok) [[unlikely]]
    return nullptr;
  if (u8* host = vex_readable(cpu, linear.address, op->bytes)) [[likely]]
    return host;
  const auto segment = static_cast<x86::Segment>(op->segment);
  return load_bytes(cpu, linear.address, cpu.scratch, op->bytes, segment) ? cpu.scratch : nullptr;
}

// Those with a binder of their own; the others are bound by bind_vex.
std::span<const BindRow> avx_frequent_rows();
std::span<const BindRow> avx_memory_rows();
std::span<const BindRow> avx_control_rows();
// Any other VEX instruction that is not of the general registers.
Binding bind_vex(const x86::Instruction& instruction, Op& op);

}  // namespace doppel::interpreter
