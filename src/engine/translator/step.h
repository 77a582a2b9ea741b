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
  load_control,  // FLDCW
};

// What an instruction has to do with the x87 unit.
enum class X87 : u8 { none, used, numeric /* FIP tells where it is */ };

// What can be computed again from registers alone.
enum class Recipe : u8 { none, repeat /* CMP, TEST */, test /* AND, OR, XOR, TEST of the result */, add, sub };

struct Step {
  StepKind kind = StepKind::outline;
  x86::Instruction in;
  x86::Encoding enc;
  u16 offset = 0;      // from the block's start
  bool traps = false;  // can fault on the host where the guest's would
  bool shift_by_cl = false;
  X87 x87 = X87::none;
  Recipe recipe = Recipe::none;

  bool has_memory() const {
    return enc.rm.kind == x86::FieldKind::memory && kind != StepKind::lea && kind != StepKind::nothing;
  }
  bool stack() const {
    return kind == StepKind::push || kind == StepKind::pop || kind == StepKind::call || kind == StepKind::ret;
  }
  bool touches_memory() const { return has_memory() || stack() || kind == StepKind::leave; }
  u16 end() const { return static_cast<u16>(offset + in.length); }
};

// Decodes and classifies; an instruction that is not understood is left to the interpreter.
Step make_step(const x86::Decoder& decoder, std::span<const u8> bytes, u16 offset);

}  // namespace doppel::translator
