// The raw layout of an instruction: enough to write it again with other registers and another memory operand. What the translator
// consumes beside Instruction.
#pragma once

#include <array>
#include <span>

#include "base/types.h"
#include "isa/x86/instruction.h"

namespace doppel::x86 {

// What a register field of an encoding names.
enum class FieldKind : u8 {
  none,      // the field is absent, or part of the opcode
  gpr,       // a general register; low byte, word, doubleword or quadword of it
  gpr_high,  // AH, CH, DH, BH
  other,     // a register of another file (XMM, MMX, x87 …)
  memory,    // ModRM.rm only
};

struct RegisterField {
  FieldKind kind = FieldKind::none;
  u8 number = 0;  // 0–15; 4–7 for AH, CH, DH, BH as they are encoded
  u8 bytes = 0;   // width of the operand
  bool read = false, written = false;
};

struct Encoding {
  u8 length = 0;
  u8 operand_prefix = 0;  // 66, or 0
  u8 repeat_prefix = 0;   // F2 or F3, or 0: it may be part of the opcode
  bool lock = false;
  bool vex = false;
  bool rex = false;            // there was one: SPL, BPL, SIL, DIL rather than AH …
  bool wide = false;           // REX.W or VEX.W
  u8 vex_bits = 0;             // map (bits 0–4)
  u8 vex_last = 0;             // L (bit 2) and pp (bits 0–1)
  std::array<u8, 3> opcode{};  // escape bytes (not of VEX) and opcode
  u8 opcode_count = 0;
  bool has_modrm = false;
  u8 extension = 0;  // ModRM.reg where no register is named by it, with REX.R
  u8 rm_bits = 0;    // ModRM.rm of a register form that names none, as in 0F AE
  std::array<u8, 8> immediate{};
  u8 immediate_count = 0;

  RegisterField reg;         // ModRM.reg
  RegisterField rm;          // ModRM.rm
  RegisterField vvvv;        // VEX.vvvv
  RegisterField opcode_reg;  // low three bits of the opcode
  u32 gprs_read = 0;         // all general registers read, also to form addresses and the hidden ones: bit n
  u32 gprs_written = 0;
  u32 hidden_gprs = 0;         // of these, what no field names
  u32 flags_read = 0;          // status flags
  u32 flags_written = 0;       // set, cleared, computed or left undefined
  bool vector = false;         // names or implies an XMM or YMM register, or MXCSR
  bool fpu = false;            // x87 or MMX state
  bool hidden_memory = false;  // memory that ModRM does not name (stack, string, XLAT, moffs)
  u8 memory_bytes = 0;
};

}  // namespace doppel::x86
