// An instruction bound to the function that executes it, and the threaded dispatch between them.
//
// A handler executes its instruction and ends with one of
//   return next(cpu, op);            fall through to the following Op
//   return jump(cpu, op, rip);       control transfer (run.h): the Op is retired
//   return leave_after(cpu, op);     retired, cpu.rip set: back to the run loop (mode changed, interrupt flag set …)
//   return raise(cpu, op, …);        a fault: the Op is not retired, nothing of it has happened
//   return faulted(cpu, op);         the same, when a memory access has already recorded the fault
// In optimized builds these are tail calls: handlers must not keep locals whose address escapes, and no objects with destructors.
#pragma once

#include "base/types.h"

namespace doppel::interpreter {

struct Cpu;
struct Op;

using Handler = void (*)(Cpu& cpu, const Op* op);

// Register operands are named by byte offset into Cpu::gpr (so AH is rax * 8 + 1); other register files by index.
struct Op {
  Handler handler;
  u64 immediate;     // first immediate, sign-extended to 64 bits; branches: displacement
  i32 displacement;  // of the memory operand; RIP-relative: from the block's start
  u16 offset;        // of this instruction from the block's start, bytes
  u8 length;
  u8 bytes;        // effective operand size (1, 2, 4, 8); what a binder makes of it for others
  u8 base, index;  // slots in Cpu::gpr: 0–15, slot_rip, slot_zero
  u8 scale;        // log2
  u8 segment;      // x86::Segment of the memory operand
  u8 flags;        // op_flag
  u8 a, b, c;      // operands 0–2 if they are registers, else 0; a binder may reuse them
};
static_assert(sizeof(Op) == 32);

namespace op_flag {
constexpr u8 plain = 1;  // 64-bit mode, no segment base, 64-bit address: linear = base + (index << scale) + displacement
constexpr u8 address32 = 2;  // effective address truncated to 32 bits
constexpr u8 address16 = 4;
constexpr u8
    rip_exact = 8;  // RIP-relative whose displacement does not fit Op::displacement: it is from the next instruction
constexpr u8 lock = 16;
constexpr u8 rep = 32;  // REP or REPE
constexpr u8 repne = 64;
constexpr u8 wide = 128;  // the address is `immediate` (MOV with a 64-bit offset)
}  // namespace op_flag

constexpr u8 slot_rip = 16;   // linear … RIP (offset in CS) of the current block's start
constexpr u8 slot_zero = 17;  // always 0

}  // namespace doppel::interpreter
