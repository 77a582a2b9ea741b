// A decoded instruction, compact and free of the decoder's types: what the engines and the tests consume.
// Operands are the visible ones, in Intel order (destination first); hidden ones (RAX of MUL, RSI of MOVS) follow from
// the mnemonic and `operand_bytes`.
#pragma once

#include <array>

#include "base/types.h"
#include "isa/x86/mnemonic.h"
#include "isa/x86/registers.h"

namespace doppel::x86 {

enum class OperandKind : u8 {
  none,
  gpr,       // index 0–15 (AL, AX, EAX, RAX … by `bytes`)
  gpr_high,  // AH, CH, DH, BH: index 0–3, bytes 1
  x87,       // ST(index)
  mmx,       // MM0–7
  vector,    // XMM or YMM by `bytes`
  segment,   // Segment
  control,   // CR0–15
  debug,     // DR0–15
  memory,    // Instruction::memory
  immediate,  // Instruction::immediate (the first), immediate2 (the second, as in ENTER); branch displacements too, sign-extended
  far_pointer,  // immediate = offset, immediate2 = selector
};

// The part of a VEX encoding that names an operand; legacy encodings leave it `none`.
enum class VexField : u8 {
  none,
  reg /* ModRM.reg */,
  rm /* ModRM.rm, register or memory */,
  vvvv,
  is4 /* immediate bits 4–7 */
};

struct Operand {
  OperandKind kind = OperandKind::none;
  u8 index = 0;
  u8 bytes = 0;  // width of this operand; 10 for 80-bit memory
  VexField field = VexField::none;
  bool read = false, written = false;  // perhaps only under a condition
};

struct MemoryOperand {
  static constexpr u8 none = 0xff;
  static constexpr u8 rip = 0xfe;  // displacement is from the end of the instruction

  u8 base = none;   // GPR number, rip or none
  u8 index = none;  // GPR number or none; of a gather (VSIB) the vector register's
  u8 scale = 0;     // log2: 0–3
  Segment segment = ds;
  u8 address_bytes = 8;  // effective address size: 2, 4 or 8
  i64 displacement = 0;
};

// What a VEX prefix says besides naming registers.
struct VexPrefix {
  bool present = false;
  bool w = false;
  bool l = false;  // 256 bits
  u8 pp = 0;       // implied prefix: none, 66, F3, F2
};

struct Instruction {
  Mnemonic mnemonic = ZYDIS_MNEMONIC_INVALID;
  u8 length = 0;
  u8 operand_bytes = 0;  // effective operand size; 1 for byte forms
  u8 address_bytes = 0;
  u8 stack_bytes = 0;  // width of a push or pop
  bool lock = false;  // LOCK prefix on an instruction that takes it (XCHG with memory is always locked and has this set, too)
  bool rep = false;             // F3 on a string instruction (REP, REPE)
  bool repne = false;           // F2 on a string instruction
  bool operand_prefix = false;  // a 66 prefix was there
  u8 operand_count = 0;
  std::array<Operand, 4> operands{};
  MemoryOperand memory{};  // of a hidden operand (MOVS, XLAT …) only the segment, with any override, and address_bytes
  u64 immediate = 0;
  u64 immediate2 = 0;
  u8 opcode_map = 0;  // 0: one byte, 1: 0F, 2: 0F38, 3: 0F3A
  u8 opcode = 0;
  u8 modrm = 0;
  VexPrefix vex{};

  bool has_memory() const {
    for (const Operand& operand : operands)
      if (operand.kind == OperandKind::memory) return true;
    return false;
  }
};

// How code is decoded: CS.L and CS.D, and whether long mode is active around them.
enum class CodeMode : u8 { real16, legacy16, legacy32, compat16, compat32, long64 };

}  // namespace doppel::x86
