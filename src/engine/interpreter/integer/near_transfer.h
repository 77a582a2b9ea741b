// Near control transfers. Intel SDM vol. 2.
//
// Operand size 64 occurs in 64-bit mode only; there a target must be canonical. Otherwise it is truncated to the operand size and
// must lie within the limit of CS. A refused target is #GP(0) of the branch itself, with nothing pushed or popped.
//
// A direct branch holds in op->immediate its target and in op->displacement the address of the following instruction, both
// relative to the block's start.
#pragma once

#include "engine/interpreter/integer/operands.h"

namespace doppel::interpreter {

inline bool target_allowed(const Cpu& cpu, u64 target) {
  if (cpu.long64) return x86::is_canonical(target);
  return target <= cpu.s.segments[x86::cs].limit;
}

// Out of the jump cache's reach: checks the target and goes back to the run loop.
[[gnu::noinline]] inline void transfer_slow(Cpu& cpu, const Op* op, u64 target) {
  if (!target_allowed(cpu, target)) return raise(cpu, op, x86::general_protection, 0);
  cpu.rip = target;
  cpu.leave = Leave::next_block;
  cpu.leave_op = op;
  cpu.next_op = nullptr;
}

// Goes to `target`. What the jump cache knows was fetched from before and needs no check.
[[gnu::always_inline]] inline void transfer(Cpu& cpu, const Op* op, u64 target) {
  const JumpCacheEntry& entry = cpu.jumps[BlockCache::jump_slot(target)];
  if (entry.rip == target && entry.context == cpu.code_context && !cpu.attention.load(std::memory_order_relaxed))
      [[likely]] {
    const Block* block = entry.block;
    if (block->valid() && cpu.remaining >= block->count) [[likely]] {
      cpu.remaining -= block->count;
      return enter(cpu, block, target);
    }
  }
  return transfer_slow(cpu, op, target);
}

// The same from the middle of a block: what was charged for the rest of it is given back.
inline i64 rest_of_block(const Cpu& cpu, const Op* op) { return cpu.block->count - (op - cpu.block->ops) - 1; }

[[gnu::noinline]] inline void transfer_early_slow(Cpu& cpu, const Op* op, u64 target) {
  if (!target_allowed(cpu, target)) return raise(cpu, op, x86::general_protection, 0);
  cpu.remaining += rest_of_block(cpu, op);
  return transfer_slow(cpu, op, target);
}

[[gnu::always_inline]] inline void transfer_early(Cpu& cpu, const Op* op, u64 target) {
  const JumpCacheEntry& entry = cpu.jumps[BlockCache::jump_slot(target)];
  if (entry.rip == target && entry.context == cpu.code_context && !cpu.attention.load(std::memory_order_relaxed))
      [[likely]] {
    const Block* block = entry.block;
    const i64 remaining = cpu.remaining + rest_of_block(cpu, op) - block->count;
    if (block->valid() && remaining >= 0) [[likely]] {
      cpu.remaining = remaining;
      return enter(cpu, block, target);
    }
  }
  return transfer_early_slow(cpu, op, target);
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

// Binding: a direct branch (or CALL through a register) takes the form above.
inline void make_relative(Op& op) {
  op.displacement = op.offset + op.length;
  op.immediate += static_cast<u64>(op.displacement);
}

// JMP and CALL have far forms, too: an immediate pointer, and FF with this opcode extension.
inline bool is_near(const x86::Instruction& instruction, u8 far_extension) {
  const auto& target = instruction.operands[0];
  if (target.kind == x86::OperandKind::far_pointer) return false;
  return !(instruction.opcode == 0xff && (instruction.modrm >> 3 & 7) == far_extension);
}

}  // namespace doppel::interpreter
