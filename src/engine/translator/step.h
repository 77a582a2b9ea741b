// One instruction of a block, as the translator looks at it.
#pragma once

#include "engine/interpreter/op.h"
#include "isa/x86/encoding.h"
#include "isa/x86/instruction.h"

namespace doppel::x86 {
class Decoder;
}

namespace doppel::translator {

enum class StepKind : u8 {
  outline,  // left to the interpreter
  nothing,  // NOP, prefetch
  copy,     // its own encoding, with registers renamed and the memory operand replaced
  lea,
  push,
  pop,
  leave,
  jump,           // direct
  branch,         // conditional
  call,           // direct
  jump_indirect,  // by register or memory
  call_indirect,
  ret,
  push_memory,
  push_flags,
  cli,
  sti,
  swapgs,
  pause,
  load_control,  // FLDCW
  read_segment,  // MOV from a segment register to a general one
  cld,
  std,
  stac,
  clac,
  rdtsc,
  syscall,
  sysret,
  bit_string,  // BT and its kin with an offset in a register
  rep_stos,
  rep_movs,
};

// What an instruction has to do with the x87 unit.
enum class X87 : u8 { none, used, numeric /* FIP tells where it is */ };

// How status flags can be computed again: from registers that still hold what they are of, or from one value that was kept aside
// (NativeState::kept) because it would be gone.
enum class Recipe : u8 {
  none,
  repeat,  // CMP, TEST of registers and constants
  test,    // AND, OR, XOR: TEST of the result
  add,     // ADD, SUB: from the result, by the inverse operation
  sub,
  negate,          // NEG: twice, of the result
  compare_memory,  // CMP, TEST: of memory, which is kept
  add_memory,      // ADD, SUB to a register: of memory, which is kept
  sub_memory,
  shift,           // by a constant: of the operand, which is kept
  test_of_memory,  // AND, OR, XOR to memory: the result is kept
  add_of_memory,   // ADD, SUB to memory: the result is kept
  sub_of_memory,
};

// Whether the recipe is good only if a value was kept.
constexpr bool keeps(Recipe recipe) { return recipe >= Recipe::compare_memory; }

struct Step {
  StepKind kind = StepKind::outline;
  x86::Instruction in;
  x86::Encoding enc;
  u16 offset = 0;      // from the block's start
  u8 word = 8;         // bytes of addresses and of what the stack holds
  bool traps = false;  // can fault on the host where the guest's would
  bool shift_by_cl = false;
  X87 x87 = X87::none;
  Recipe recipe = Recipe::none;

  // The register that an arithmetic instruction writes; RAX where the opcode implies it.
  x86::RegisterField destination() const;
  x86::RegisterField source() const;  // the other operand, if it is a register
  bool has_memory() const {
    return enc.rm.kind == x86::FieldKind::memory && kind != StepKind::lea && kind != StepKind::nothing;
  }
  bool stack() const {
    return kind == StepKind::push || kind == StepKind::pop || kind == StepKind::call || kind == StepKind::ret;
  }
  bool touches_memory() const { return has_memory() || stack() || kind == StepKind::leave; }
  u16 end() const { return static_cast<u16>(offset + in.length); }
};

// Gives each general register that the step names by a field or in an address another name, and so the recipe.
void rename(Step& step, const std::array<u8, 16>& names);

// Decodes and classifies code of 64 or 32 bits; an instruction that is not understood is left to the interpreter.
Step make_step(const x86::Decoder& decoder, x86::CodeMode mode, std::span<const u8> bytes, u16 offset);

}  // namespace doppel::translator
