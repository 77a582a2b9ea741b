// Binding: which handler executes a decoded instruction. Each family of instructions has a table of rows, one per mnemonic; a
// binder looks at the operand kinds and sizes and picks the handler, specialized or generic.
#pragma once

#include <span>

#include "engine/interpreter/op.h"
#include "isa/x86/instruction.h"

namespace doppel::interpreter {

struct Binding {
  Handler handler = nullptr;  // nullptr: no such form: invalid opcode
  bool ends_block = false;  // control transfers, and whatever may change how the next instruction is decoded or executed
};

// `op` already holds what bind() fills in from the instruction: immediate, memory operand, length, bytes, prefixes, and register
// operands in a, b, c. The binder may change any of it, unless it refuses the form.
using Binder = Binding (*)(const x86::Instruction& instruction, Op& op);

struct BindRow {
  x86::Mnemonic mnemonic;
  Binder binder;
};

// One table per family; their folder holds the handlers.
std::span<const BindRow> integer_rows();
std::span<const BindRow> string_rows();
std::span<const BindRow> control_rows();
std::span<const BindRow> system_rows();
std::span<const BindRow> x87_rows();
std::span<const BindRow> vector_rows();  // MMX, SSE, some of AVX; MOVSD and CMPSD are names of string instructions, too

// Fills `op` and returns its binding; an instruction without a row gets the invalid-opcode handler.
Binding bind(const x86::Instruction& instruction, Op& op);

void execute_invalid_opcode(Cpu& cpu, const Op* op);
void execute_end_of_block(Cpu& cpu, const Op* op);  // the marker after a block's last instruction
void execute_resync(Cpu& cpu, const Op* op);  // replaces the Ops of a block whose code was overwritten while it runs

}  // namespace doppel::interpreter
