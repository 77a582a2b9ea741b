// Near control transfers: JMP, Jcc, JCXZ, LOOPcc, CALL, RET. Intel SDM vol. 2.
//
// Operand size 64 occurs in 64-bit mode only; there a target must be canonical. Otherwise it is truncated to the operand size and
// must lie within the limit of CS. A refused target is #GP(0) of the branch itself, with nothing pushed or popped.
//
// A direct branch holds in op->immediate its target and in op->displacement the address of the following instruction, both
// relative to the block's start.
#include "engine/interpreter/integer/binders.h"
#include "engine/interpreter/integer/operands.h"

namespace doppel::interpreter {
namespace {

using x86::rcx;
using x86::rsp;

bool target_allowed(const Cpu& cpu, u64 target) {
  if (cpu.long64) return x86::is_canonical(target);
  return target <= cpu.s.segments[x86::cs].limit;
}

// Out of the jump cache's reach: checks the target and goes back to the run loop.
[[gnu::noinline]] void transfer_slow(Cpu& cpu, const Op* op, u64 target) {
  if (!target_allowed(cpu, target)) return raise(cpu, op, x86::general_protection, 0);
  cpu.rip = target;
  cpu.leave = Leave::next_block;
  cpu.leave_op = op;
  cpu.next_op = nullptr;
}

// Goes to `target`. What the jump cache knows was fetched from before and needs no check.
[[gnu::always_inline]] inline void transfer(Cpu& cpu, const Op* op, u64 target) {
  const JumpCacheEntry& entry = cpu.jumps[BlockCache::jump_slot(target)];
  if (entry.rip == target && entry.context == cpu.code_context && !cpu.attention.load(std::memory_order_relaxed)) [[likely]] {
    const Block* block = entry.block;
    if (block->valid() && cpu.remaining >= block->count) [[likely]] {
      cpu.remaining -= block->count;
      return enter(cpu, block, target);
    }
  }
  return transfer_slow(cpu, op, target);
}

template <class T>
[[gnu::always_inline]] inline u64 branch_target(const Cpu& cpu, const Op* op) {
  return static_cast<T>(cpu.gpr[slot_rip] + op->immediate);
}
// The following instruction's address; it need not be truncated to the operand size but to that of the code.
[[gnu::always_inline]] inline u64 fall_through(const Cpu& cpu, const Op* op) {
  return cpu.gpr[slot_rip] + static_cast<u64>(static_cast<i64>(op->displacement));
}
template <class T>
[[gnu::always_inline]] inline void not_taken(Cpu& cpu, const Op* op) {
  const u64 rip = fall_through(cpu, op);
  return jump(cpu, sizeof(T) == 8 ? rip : cpu.wrap_rip(rip));
}

template <class T>
void jmp_direct(Cpu& cpu, const Op* op) {
  return transfer(cpu, op, branch_target<T>(cpu, op));
}

template <unsigned code, class T>
void jcc(Cpu& cpu, const Op* op) {
  if (condition<code>(cpu.flags)) return transfer(cpu, op, branch_target<T>(cpu, op));
  return not_taken<T>(cpu, op);
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

template <class T>
void jmp_mem(Cpu& cpu, const Op* op) {
  const Loaded<T> target = load_operand<T>(cpu, op);
  if (!target.ok) [[unlikely]]
    return faulted(cpu, op);
  return transfer(cpu, op, target.value);
}

// ---- CALL: the target is checked before anything is pushed ----

template <class T>
[[gnu::always_inline]] inline void call_to(Cpu& cpu, const Op* op, u64 target) {
  if (!target_allowed(cpu, target)) [[unlikely]]
    return raise(cpu, op, x86::general_protection, 0);
  if (!push<T>(cpu, static_cast<T>(fall_through(cpu, op)))) [[unlikely]]
    return faulted(cpu, op);
  return jump(cpu, target);
}

template <class T>
void call_direct_any(Cpu& cpu, const Op* op) {
  return call_to<T>(cpu, op, branch_target<T>(cpu, op));
}

template <class T>
void call_reg_any(Cpu& cpu, const Op* op) {
  return call_to<T>(cpu, op, cpu.reg<T>(op->a));
}

// Its memory operand needs op->displacement; the return address is computed the long way.
template <class T>
void call_mem(Cpu& cpu, const Op* op) {
  const Loaded<T> target = load_operand<T>(cpu, op);
  if (!target.ok) [[unlikely]]
    return faulted(cpu, op);
  if (!target_allowed(cpu, target.value)) [[unlikely]]
    return raise(cpu, op, x86::general_protection, 0);
  if (!push<T>(cpu, static_cast<T>(cpu.op_rip(op) + op->length))) [[unlikely]]
    return faulted(cpu, op);
  return jump(cpu, target.value);
}

[[gnu::always_inline]] inline bool canonical(u64 target) {
  return static_cast<u64>(static_cast<i64>(target << 16) >> 16) == target;
}

void call_direct64(Cpu& cpu, const Op* op) {
  const u64 target = cpu.gpr[slot_rip] + op->immediate, to = cpu.gpr[rsp] - 8;
  u8* host = store_target<u64>(cpu, to);
  if (!host || !canonical(target)) [[unlikely]]
    return call_direct_any<u64>(cpu, op);
  put<u64>(host, fall_through(cpu, op));
  cpu.gpr[rsp] = to;
  return jump(cpu, target);
}

void call_reg64(Cpu& cpu, const Op* op) {
  const u64 target = cpu.reg<u64>(op->a), to = cpu.gpr[rsp] - 8;
  u8* host = store_target<u64>(cpu, to);
  if (!host || !canonical(target)) [[unlikely]]
    return call_reg_any<u64>(cpu, op);
  put<u64>(host, fall_through(cpu, op));
  cpu.gpr[rsp] = to;
  return jump(cpu, target);
}

// ---- RET; op->immediate: bytes of arguments to drop ----

template <class T>
void ret_any(Cpu& cpu, const Op* op) {
  const Loaded<T> target = pop<T>(cpu);
  if (!target.ok) [[unlikely]]
    return faulted(cpu, op);
  if (!target_allowed(cpu, target.value)) [[unlikely]]
    return raise(cpu, op, x86::general_protection, 0);
  set_stack_pointer(cpu, cpu.gpr[rsp] + sizeof(T) + op->immediate);
  return jump(cpu, target.value);
}

void ret64(Cpu& cpu, const Op* op) {
  const u64 from = cpu.gpr[rsp];
  const u8* host = load_target<u64>(cpu, from);
  if (!host) [[unlikely]]
    return ret_any<u64>(cpu, op);
  const u64 target = get<u64>(host);
  if (!canonical(target)) [[unlikely]]
    return ret_any<u64>(cpu, op);
  cpu.gpr[rsp] = from + 8 + op->immediate;
  return jump(cpu, target);
}

// ---- binding ----

void make_relative(Op& op) {
  op.displacement = op.offset + op.length;
  op.immediate += static_cast<u64>(op.displacement);
}

bool is_near(const x86::Instruction& instruction, u8 far_extension) {
  const auto& target = instruction.operands[0];
  if (target.kind == x86::OperandKind::far_pointer) return false;
  return !(instruction.opcode == 0xff && (instruction.modrm >> 3 & 7) == far_extension);
}

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
  make_relative(op);
  return {by_condition(instruction.opcode & 15, [&]<unsigned code>() -> Handler {
            return by_word_width(instruction.operand_bytes, []<class T>() -> Handler { return jcc<code, T>; });
          }),
          true};
}

Binding bind_jcxz(const x86::Instruction& instruction, Op& op) {
  make_relative(op);
  return {by_word_width(instruction.operand_bytes, [&]<class T>() -> Handler {
            return by_word_width(instruction.address_bytes, []<class Count>() -> Handler { return jump_if_zero<T, Count>; });
          }),
          true};
}

Binding bind_loop(const x86::Instruction& instruction, Op& op) { return bind_loop_kind<LoopKind::always>(instruction, op); }
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
  return {by_word_width(instruction.operand_bytes, [&]<class T>() -> Handler {
            if (is_immediate(target)) return jmp_direct<T>;
            return is_memory(target) ? jmp_mem<T> : jmp_reg<T>;
          }),
          true};
}

Binding bind_call(const x86::Instruction& instruction, Op& op) {
  if (!is_near(instruction, 3)) return {};
  const auto& target = instruction.operands[0];
  if (!is_memory(target)) make_relative(op);
  return {by_word_width(instruction.operand_bytes, [&]<class T>() -> Handler {
            if (is_memory(target)) return call_mem<T>;
            if (sizeof(T) == 8) return is_immediate(target) ? call_direct64 : call_reg64;
            return is_immediate(target) ? call_direct_any<T> : call_reg_any<T>;
          }),
          true};
}

Binding bind_ret(const x86::Instruction& instruction, Op& op) {
  if (instruction.opcode != 0xc3 && instruction.opcode != 0xc2) return {};
  op.immediate &= 0xffff;
  if (instruction.opcode == 0xc3) op.immediate = 0;
  return {instruction.operand_bytes == 8 ? ret64
                                         : by_word_width(instruction.operand_bytes, []<class T>() -> Handler { return ret_any<T>; }),
          true};
}

}  // namespace doppel::interpreter
