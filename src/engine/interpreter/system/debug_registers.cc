// MOV to and from debug registers. Intel SDM vol. 2 "MOV—Move to/from Debug Registers"; vol. 3 §18.2.
#include "engine/interpreter/system/handlers.h"

namespace doppel::interpreter {

using namespace x86;

namespace {

constexpr u64 dr6_ones = 0xffff'0ff0, dr6_writable = 0xe00f, dr6_general_detect = 1 << 13;
constexpr u64 dr7_ones = 0x400, dr7_writable = 0xffff'23ff, dr7_general_detect = 1 << 13;

// DR4 and DR5 are other names of DR6 and DR7 unless CR4.DE says that there are none.
bool resolve(Cpu& cpu, u64& number) {
  if (number != 4 && number != 5) return true;
  if (cpu.s.cr4 & cr4::de) return refuse(cpu, invalid_opcode);
  number += 2;
  return true;
}

bool may_access(Cpu& cpu, u64& number) {
  if (!resolve(cpu, number) || !privileged(cpu)) return false;
  if (!(cpu.s.dr[7] & dr7_general_detect)) return true;
  cpu.fault = {.vector = debug, .address = dr6_general_detect};
  return false;
}

bool mov_from_debug(Cpu& cpu, const Op* op) {
  u64 number = op->immediate;
  if (!may_access(cpu, number)) return false;
  write_register(cpu, op->a, cpu.s.dr[number], op->bytes);
  return true;
}

bool mov_to_debug(Cpu& cpu, const Op* op) {
  u64 number = op->immediate;
  if (!may_access(cpu, number)) return false;
  const u64 value = op->bytes == 4 ? cpu.reg<u32>(op->a) : cpu.reg<u64>(op->a);
  if (number >= 6 && value >> 32) return refuse(cpu, general_protection, 0);
  if (number == 6)
    cpu.s.dr[6] = (value & dr6_writable) | dr6_ones;
  else if (number == 7)
    cpu.s.dr[7] = (value & dr7_writable) | dr7_ones;
  else
    cpu.s.dr[number] = value;
  cpu.update_mode();
  return true;
}

}  // namespace

Binding bind_mov_debug(const Instruction& instruction, Op& op) {
  const bool write = instruction.operands[0].kind == OperandKind::debug;
  const Operand& debug_register = instruction.operands[write ? 0 : 1];
  const Operand& general = instruction.operands[write ? 1 : 0];
  if (debug_register.index > 7) return {execute_invalid_opcode, true};
  op.immediate = debug_register.index;
  op.a = gpr_offset(general);
  op.bytes = general.bytes;
  return write ? Binding{execute_then_leave<mov_to_debug>, true} : Binding{execute<mov_from_debug>, false};
}

}  // namespace doppel::interpreter
