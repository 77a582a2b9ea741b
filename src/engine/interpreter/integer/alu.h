// The two-operand arithmetic and logic forms, as templates over an operation:
//   struct Operation {
//     static constexpr bool writes;                       // false: CMP, TEST
//     T compute(const LazyFlags&, T a, T b);              // pure; a locked form may compute several times
//     void flags(LazyFlags&, T a, T b, T value);
//   };
#pragma once

#include "engine/interpreter/integer/operands.h"

namespace doppel::interpreter {

template <class Operation, class T>
[[gnu::always_inline]] inline T calculate(Cpu& cpu, T a, T b) {
  const T value = Operation::template compute<T>(cpu.flags, a, b);
  Operation::template flags<T>(cpu.flags, a, b, value);
  return value;
}

template <class Operation, class T>
void alu_reg_reg(Cpu& cpu, const Op* op) {
  const T value = calculate<Operation, T>(cpu, cpu.reg<T>(op->a), cpu.reg<T>(op->b));
  if constexpr (Operation::writes) cpu.set_reg<T>(op->a, value);
  return next(cpu, op);
}

template <class Operation, class T>
void alu_reg_imm(Cpu& cpu, const Op* op) {
  const T value = calculate<Operation, T>(cpu, cpu.reg<T>(op->a), static_cast<T>(op->immediate));
  if constexpr (Operation::writes) cpu.set_reg<T>(op->a, value);
  return next(cpu, op);
}

template <class Operation, class T>
[[gnu::noinline]] void alu_reg_mem_any(Cpu& cpu, const Op* op) {
  const Loaded<T> b = load_operand<T>(cpu, op);
  if (!b.ok) [[unlikely]]
    return faulted(cpu, op);
  const T value = calculate<Operation, T>(cpu, cpu.reg<T>(op->a), b.value);
  if constexpr (Operation::writes) cpu.set_reg<T>(op->a, value);
  return next(cpu, op);
}

template <class Operation, class T>
void alu_reg_mem(Cpu& cpu, const Op* op) {
  const u8* host = load_target<T>(cpu, plain_linear(cpu, op));
  if (!host) [[unlikely]]
    return alu_reg_mem_any<Operation, T>(cpu, op);
  const T value = calculate<Operation, T>(cpu, cpu.reg<T>(op->a), get<T>(host));
  if constexpr (Operation::writes) cpu.set_reg<T>(op->a, value);
  return next(cpu, op);
}

// The second operand of the forms that write memory: op->b, or the immediate.
template <class T, bool immediate>
[[gnu::always_inline]] inline T second(Cpu& cpu, const Op* op) {
  if constexpr (immediate)
    return static_cast<T>(op->immediate);
  else
    return cpu.reg<T>(op->b);
}

template <class Operation, class T, bool immediate>
[[gnu::noinline]] void alu_mem_any(Cpu& cpu, const Op* op) {
  const T b = second<T, immediate>(cpu, op);
  if constexpr (Operation::writes) {
    const Loaded<T> a = modify<T>(
        cpu, op, [flags = &cpu.flags, b](T old) { return Operation::template compute<T>(*flags, old, b); });
    if (!a.ok) [[unlikely]]
      return faulted(cpu, op);
    calculate<Operation, T>(cpu, a.value, b);
  } else {
    const Loaded<T> a = load_operand<T>(cpu, op);
    if (!a.ok) [[unlikely]]
      return faulted(cpu, op);
    calculate<Operation, T>(cpu, a.value, b);
  }
  return next(cpu, op);
}

template <class Operation, class T, bool immediate>
void alu_mem(Cpu& cpu, const Op* op) {
  const u64 linear = plain_linear(cpu, op);
  if constexpr (Operation::writes) {
    u8* host = store_target<T>(cpu, linear);
    if (!host) [[unlikely]]
      return alu_mem_any<Operation, T, immediate>(cpu, op);
    put<T>(host, calculate<Operation, T>(cpu, get<T>(host), second<T, immediate>(cpu, op)));
  } else {
    const u8* host = load_target<T>(cpu, linear);
    if (!host) [[unlikely]]
      return alu_mem_any<Operation, T, immediate>(cpu, op);
    calculate<Operation, T>(cpu, get<T>(host), second<T, immediate>(cpu, op));
  }
  return next(cpu, op);
}

template <class Operation>
Binding bind_alu(const x86::Instruction& instruction, Op& op) {
  const unsigned bytes = instruction.operands[0].bytes;
  const bool fast = is_fast(op);
  return {by_width(bytes, [&]<class T>() -> Handler {
    switch (form_of(instruction)) {
      case Form::reg_reg: return alu_reg_reg<Operation, T>;
      case Form::reg_imm: return alu_reg_imm<Operation, T>;
      case Form::reg_mem: return fast ? alu_reg_mem<Operation, T> : alu_reg_mem_any<Operation, T>;
      case Form::mem_reg: return fast ? alu_mem<Operation, T, false> : alu_mem_any<Operation, T, false>;
      case Form::mem_imm: return fast ? alu_mem<Operation, T, true> : alu_mem_any<Operation, T, true>;
      default: return nullptr;
    }
  })};
}

// ---- one operand: INC, DEC, NEG, NOT; the operation has compute(flags, a) and flags(flags, a, value) ----

template <class Operation, class T>
void unary_reg(Cpu& cpu, const Op* op) {
  const T a = cpu.reg<T>(op->a);
  const T value = Operation::template compute<T>(a);
  Operation::template flags<T>(cpu.flags, a, value);
  cpu.set_reg<T>(op->a, value);
  return next(cpu, op);
}

template <class Operation, class T>
[[gnu::noinline]] void unary_mem_any(Cpu& cpu, const Op* op) {
  const Loaded<T> a = modify<T>(cpu, op, [](T old) { return Operation::template compute<T>(old); });
  if (!a.ok) [[unlikely]]
    return faulted(cpu, op);
  Operation::template flags<T>(cpu.flags, a.value, Operation::template compute<T>(a.value));
  return next(cpu, op);
}

template <class Operation, class T>
void unary_mem(Cpu& cpu, const Op* op) {
  u8* host = store_target<T>(cpu, plain_linear(cpu, op));
  if (!host) [[unlikely]]
    return unary_mem_any<Operation, T>(cpu, op);
  const T a = get<T>(host);
  const T value = Operation::template compute<T>(a);
  put<T>(host, value);
  Operation::template flags<T>(cpu.flags, a, value);
  return next(cpu, op);
}

template <class Operation>
Binding bind_unary(const x86::Instruction& instruction, Op& op) {
  const x86::Operand& operand = instruction.operands[0];
  return {by_width(operand.bytes, [&]<class T>() -> Handler {
    if (!is_memory(operand)) return unary_reg<Operation, T>;
    return is_fast(op) ? unary_mem<Operation, T> : unary_mem_any<Operation, T>;
  })};
}

}  // namespace doppel::interpreter
