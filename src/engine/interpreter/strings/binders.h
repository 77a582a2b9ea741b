// The binders of the string instructions: move.cc, compare.cc.
#pragma once

#include "engine/interpreter/bind.h"

namespace doppel::interpreter {

Binding bind_movsb(const x86::Instruction& instruction, Op& op);
Binding bind_movsw(const x86::Instruction& instruction, Op& op);
Binding bind_movsd(const x86::Instruction& instruction, Op& op);
Binding bind_movsq(const x86::Instruction& instruction, Op& op);
Binding bind_stosb(const x86::Instruction& instruction, Op& op);
Binding bind_stosw(const x86::Instruction& instruction, Op& op);
Binding bind_stosd(const x86::Instruction& instruction, Op& op);
Binding bind_stosq(const x86::Instruction& instruction, Op& op);
Binding bind_lodsb(const x86::Instruction& instruction, Op& op);
Binding bind_lodsw(const x86::Instruction& instruction, Op& op);
Binding bind_lodsd(const x86::Instruction& instruction, Op& op);
Binding bind_lodsq(const x86::Instruction& instruction, Op& op);
Binding bind_scasb(const x86::Instruction& instruction, Op& op);
Binding bind_scasw(const x86::Instruction& instruction, Op& op);
Binding bind_scasd(const x86::Instruction& instruction, Op& op);
Binding bind_scasq(const x86::Instruction& instruction, Op& op);
Binding bind_cmpsb(const x86::Instruction& instruction, Op& op);
Binding bind_cmpsw(const x86::Instruction& instruction, Op& op);
Binding bind_cmpsd(const x86::Instruction& instruction, Op& op);
Binding bind_cmpsq(const x86::Instruction& instruction, Op& op);

}  // namespace doppel::interpreter
