// Near JMP, Jcc, JCXZ, LOOPcc. Intel SDM vol. 2. What they share with CALL and RET: near_transfer.h.
#include "engine/interpreter/integer/binders.h"
#include "engine/interpreter/integer/near_transfer.h"

namespace doppel::interpreter {
namespace {

using x86::rcx;

template <class T>
void jmp_direct(Cpu& cpu, const Op* op) {
  return transfer(cpu, op, branch_target<T>(cpu, op));
}

template <unsigned code, class T>
void jcc(Cpu& cpu, const Op* op) {
  if (condition<code>(cpu.flags)) return transfer(cpu, op, branch_target<T>(cpu, op));
  return not_taken<T>(cpu, op);
}

// A forward branch is more often not taken: its block goes on behind it.
template <unsigned code, class T>
void jcc_forward(Cpu& cpu, const Op* op) {
  if (condition<code>(cpu.flags)) return transfer_early(cpu, op, branch_target<T>(cpu, op));
  return next(cpu, op);
}

// JCXZ, JECXZ, JRCXZ
template <class T, class Count>
void jump_if_zero(Cpu& cpu, const Op* op) {
  if (cpu.reg<Count>(rcx * 8) == 0) return transfer(cpu, op, branch_target<T>(cpu, op));
  return not_taken<T>(cpu, op);
}

enum class LoopKind : u8 { always, while_zero, while_not_zero };

// RCX must stay as it was if the target is refused.
template <class T, class Count, LoopKind kind>
void loop(Cpu& cpu, const Op* op) {
  const auto count = static_cast<Count>(cpu.reg<Count>(rcx * 8) - 1);
  bool taken = count != 0;
  if constexpr (kind == LoopKind::while_zero) taken = taken && cpu.flags.zf();
  if constexpr (kind == LoopKind::while_not_zero) taken = taken && !cpu.flags.zf();
  if (taken) {
    const u64 target = branch_target<T>(cpu, op);
    if (!target_allowed(cpu, target)) [[unlikely]]
      return raise(cpu, op, x86::general_protection, 0);
    cpu.set_reg<Count>(rcx * 8, count);
    return jump(cpu, target);
  }
  cpu.set_reg<Count>(rcx * 8, count);
  return not_taken<T>(cpu, op);
}

// ---- through a register or memory ----

template <class T>
void jmp_reg(Cpu& cpu, const Op* op) {
  return transfer(cpu, op, cpu.reg<T>(op->a));
}

template <class T, bool plain>
void jmp_mem(Cpu& cpu, const Op* op) {
  const Loaded<T> target = fetch_operand<T, plain>(cpu, op);
  if (!target.ok) [[unlikely]] {
    if constexpr (plain) return jmp_mem<T, false>(cpu, op);
    return faulted(cpu, op);
  }
  return transfer(cpu, op, target.value);
}

// ---- binding ----

template <class T, LoopKind kind>
Handler loop_by_count(unsigned address_bytes) {
  return by_word_width(address_bytes, []<class Count>() -> Handler { return loop<T, Count, kind>; });
}

template <LoopKind kind>
Binding bind_loop_kind(const x86::Instruction& instruction, Op& op) {
  make_relative(op);
  return {by_word_width(instruction.operand_bytes,
                        [&]<class T>() -> Handler { return loop_by_count<T, kind>(instruction.address_bytes); }),
          true};
}

}  // namespace

Binding bind_jcc(const x86::Instruction& instruction, Op& op) {
  const bool forward = static_cast<i64>(op.immediate) >= 0;
  make_relative(op);
  return {by_condition(instruction.opcode & 15,
                       [&]<unsigned code>() -> Handler {
                         return by_word_width(instruction.operand_bytes, [&]<class T>() -> Handler {
                           return forward ? jcc_forward<code, T> : jcc<code, T>;
                         });
                       }),
          !forward};
}

Binding bind_jcxz(const x86::Instruction& instruction, Op& op) {
  make_relative(op);
  return {by_word_width(instruction.operand_bytes,
                        [&]<class T>() -> Handler {
                          return by_word_width(instruction.address_bytes,
                                               []<class Count>() -> Handler { return jump_if_zero<T, Count>; });
                        }),
          true};
}

Binding bind_loop(const x86::Instruction& instruction, Op& op) {
  return bind_loop_kind<LoopKind::always>(instruction, op);
}
Binding bind_loope(const x86::Instruction& instruction, Op& op) {
  return bind_loop_kind<LoopKind::while_zero>(instruction, op);
}
Binding bind_loopne(const x86::Instruction& instruction, Op& op) {
  return bind_loop_kind<LoopKind::while_not_zero>(instruction, op);
}

Binding bind_jmp(const x86::Instruction& instruction, Op& op) {
  if (!is_near(instruction, 5)) return {};
  const auto& target = instruction.operands[0];
  if (is_immediate(target)) make_relative(op);
  return {by_word_width(instruction.operand_bytes,
                        [&]<class T>() -> Handler {
                          if (is_immediate(target)) return jmp_direct<T>;
                          if (!is_memory(target)) return jmp_reg<T>;
                          return is_fast(op) ? jmp_mem<T, true> : jmp_mem<T, false>;
                        }),
          true};
}

}  // namespace doppel::interpreter
