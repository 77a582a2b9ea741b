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

// The operand's bytes, in RAM or in cpu.scratch; nullptr: fault recorded.
[[gnu::always_inline]] inline u8* vex_source(Cpu& cpu, const Op* op) {
  const Linear linear = vex_linear(cpu, op, AccessKind::read);
  if (!linear.ok) [[unlikely]]
    return nullptr;
  if (u8* host = load_target(cpu, linear.address, op->bytes)) [[likely]]
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
