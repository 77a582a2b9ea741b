// What the integer handlers share: fast memory paths for plain 64-bit operands, modification at a linear address, and the
// choice of a handler by width and operand kinds.
//
// A hot instruction has two handlers per memory form. The fast one serves a plain operand that hits the TLB in a flag-free
// page, and tail-calls the other (`…_any`) for everything else; that one makes calls, so only it saves registers.
#pragma once

#include <utility>

#include "engine/interpreter/bind.h"
#include "engine/interpreter/cpu.h"
#include "engine/interpreter/memory_access.h"

namespace doppel::interpreter {

// ---- memory ----

[[gnu::always_inline]] inline u64 plain_linear(const Cpu& cpu, const Op* op) {
  return cpu.gpr[op->base] + (cpu.gpr[op->index] << op->scale) + static_cast<u64>(static_cast<i64>(op->displacement));
}

// Like modify_operand, at a linear address that is known already.
template <class T, class F>
[[gnu::always_inline]] inline Loaded<T> modify_at(Cpu& cpu, const Op* op, u64 linear, F compute) {
  const bool locked = op->flags & op_flag::lock;
  if (u8* host = store_target<T>(cpu, linear)) [[likely]] {
    T old = get<T>(host);
    if (!locked) {
      put<T>(host, compute(old));
    } else {
      while (!__atomic_compare_exchange_n(reinterpret_cast<T*>(host), &old, compute(old), false, __ATOMIC_SEQ_CST,
                                          __ATOMIC_SEQ_CST)) {
      }
    }
    return {old, true};
  }
  return modify_slow<T>(cpu, linear, static_cast<x86::Segment>(op->segment), locked, compute);
}

// Read-modify-write of the memory operand; see modify_operand, whose locked accesses always take the slow path.
template <class T, class F>
[[gnu::always_inline]] inline Loaded<T> modify(Cpu& cpu, const Op* op, F compute) {
  const Linear linear = operand_linear(cpu, op, sizeof(T), AccessKind::write);
  if (!linear.ok) [[unlikely]]
    return {0, false};
  return modify_at<T>(cpu, op, linear.address, compute);
}

// The memory source of a handler that is instantiated for plain operands, too. Those do not record a fault: the handler then
// tail-calls its other instance.
template <class T, bool plain>
[[gnu::always_inline]] inline Loaded<T> fetch_operand(Cpu& cpu, const Op* op) {
  if constexpr (!plain) return load_operand<T>(cpu, op);
  const u8* host = load_target<T>(cpu, plain_linear(cpu, op));
  if (!host) [[unlikely]]
    return {0, false};
  return {get<T>(host), true};
}

// The r/m source of a handler that is instantiated for both kinds.
template <class T, bool memory>
[[gnu::always_inline]] inline Loaded<T> source(Cpu& cpu, const Op* op, u8 register_offset) {
  if constexpr (memory)
    return load_operand<T>(cpu, op);
  else
    return {cpu.reg<T>(register_offset), true};
}

// ---- binding ----

inline bool is_register(const x86::Operand& operand) {
  return operand.kind == x86::OperandKind::gpr || operand.kind == x86::OperandKind::gpr_high;
}
inline bool is_memory(const x86::Operand& operand) { return operand.kind == x86::OperandKind::memory; }
inline bool is_immediate(const x86::Operand& operand) { return operand.kind == x86::OperandKind::immediate; }
// A plain memory operand without LOCK: the fast handlers' precondition.
inline bool is_fast(const Op& op) { return (op.flags & (op_flag::plain | op_flag::lock)) == op_flag::plain; }

enum class Form : u8 { reg_reg, reg_imm, reg_mem, mem_reg, mem_imm, other };

inline Form form_of(const x86::Instruction& instruction) {
  const auto& [to, from, third, fourth] = instruction.operands;
  if (is_register(to)) {
    if (is_register(from)) return Form::reg_reg;
    if (is_immediate(from)) return Form::reg_imm;
    if (is_memory(from)) return Form::reg_mem;
  } else if (is_memory(to)) {
    if (is_register(from)) return Form::mem_reg;
    if (is_immediate(from)) return Form::mem_imm;
  }
  return Form::other;
}

// by_width(4, []<class T>() -> Handler { return add<T>; })
template <class Pick>
Handler by_width(unsigned bytes, Pick pick) {
  switch (bytes) {
    case 1: return pick.template operator()<u8>();
    case 2: return pick.template operator()<u16>();
    case 4: return pick.template operator()<u32>();
    case 8: return pick.template operator()<u64>();
    default: return nullptr;
  }
}
// Without the byte forms.
template <class Pick>
Handler by_word_width(unsigned bytes, Pick pick) {
  switch (bytes) {
    case 2: return pick.template operator()<u16>();
    case 4: return pick.template operator()<u32>();
    case 8: return pick.template operator()<u64>();
    default: return nullptr;
  }
}

// by_condition(4, []<unsigned code>() -> Handler { return set<code>; })
template <class Pick, unsigned... codes>
Handler by_condition(unsigned code, Pick pick, std::integer_sequence<unsigned, codes...>) {
  Handler handler = nullptr;
  ((code == codes ? (handler = pick.template operator()<codes>(), 0) : 0), ...);
  return handler;
}
template <class Pick>
Handler by_condition(unsigned code, Pick pick) {
  return by_condition(code, pick, std::make_integer_sequence<unsigned, 16>{});
}

// ---- flags ----

// CF alone; the flip keeps OF, which is the difference of the two top bits.
[[gnu::always_inline]] inline void replace_cf(LazyFlags& flags, bool cf) {
  const u64 flip = (flags.carries >> 63) ^ u64 { cf };
  flags.carries ^= flip << 63 | flip << 62;
}
// ZF, SF, PF of `value` and the other three as given.
template <class T>
[[gnu::always_inline]] inline void set_status(LazyFlags& flags, T value, bool cf, bool of, bool af = false) {
  flags.set_result(value);
  flags.set_carries(cf, of, af);
}

}  // namespace doppel::interpreter
