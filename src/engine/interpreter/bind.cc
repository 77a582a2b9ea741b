#include "engine/interpreter/bind.h"

#include <array>
#include <limits>

#include "base/check.h"
#include "engine/interpreter/avx/vex.h"
#include "engine/interpreter/cpu.h"

namespace doppel::interpreter {
namespace {

using namespace x86;

using BinderTable = std::array<Binder, ZYDIS_MNEMONIC_MAX_VALUE + 1>;

void add(BinderTable& table, BinderTable* more, std::span<const BindRow> rows) {
  for (const BindRow& row : rows) {
    BinderTable& free = more && table[row.mnemonic] ? *more : table;
    CHECK(!free[row.mnemonic]);
    free[row.mnemonic] = row.binder;
  }
}

// A mnemonic may have forms in two families (MOV, PUSH, JMP …): the second is asked when the first refuses.
struct Tables {
  BinderTable general{};
  BinderTable second{};
  BinderTable vector{};

  Tables() {
    for (auto rows : {integer_rows(), string_rows(), control_rows(), system_rows(), x87_rows()})
      add(general, &second, rows);
    add(vector, nullptr, vector_rows());
  }
};

const Tables& tables() {
  static const Tables all;
  return all;
}

bool has_vector_operand(const Instruction& instruction) {
  for (const Operand& operand : instruction.operands)
    if (operand.kind == OperandKind::vector || operand.kind == OperandKind::mmx) return true;
  return false;
}

Binder binder_for(const Instruction& instruction) {
  const Tables& all = tables();
  const Binder vector = all.vector[instruction.mnemonic];
  const Binder general = all.general[instruction.mnemonic];
  if (!general) return vector || !instruction.vex.present ? vector : bind_vex;
  return vector && has_vector_operand(instruction) ? vector : general;
}

bool fits_i32(i64 value) {
  return value >= std::numeric_limits<i32>::min() && value <= std::numeric_limits<i32>::max();
}

void fill_memory(const MemoryOperand& memory, u8 length, Op& op) {
  op.scale = memory.scale;
  op.segment = memory.segment;
  op.index = memory.index == MemoryOperand::none ? slot_zero : memory.index;
  op.base = memory.base == MemoryOperand::none ? slot_zero : memory.base;
  if (memory.address_bytes == 4) op.flags |= op_flag::address32;
  if (memory.address_bytes == 2) op.flags |= op_flag::address16;
  i64 displacement = memory.displacement;
  if (memory.base == MemoryOperand::rip) {
    op.base = slot_rip;
    if (fits_i32(displacement + op.offset + length)) {
      displacement += op.offset + length;
    } else {
      op.base = slot_zero;
      op.flags |= op_flag::rip_exact;
    }
  }
  op.displacement = static_cast<i32>(displacement);
  if (memory.address_bytes == 8 && !fits_i32(displacement)) {  // MOV with a 64-bit offset
    op.immediate = static_cast<u64>(displacement);
    op.displacement = 0;
    op.flags |= op_flag::wide;
    return;
  }
  if (memory.address_bytes == 8 && memory.segment < fs && !(op.flags & op_flag::rip_exact)) op.flags |= op_flag::plain;
}

u8 register_operand(const Operand& operand) {
  switch (operand.kind) {
    case OperandKind::gpr: return static_cast<u8>(operand.index * 8);
    case OperandKind::gpr_high: return static_cast<u8>(operand.index * 8 + 1);
    case OperandKind::x87:
    case OperandKind::mmx:
    case OperandKind::vector:
    case OperandKind::segment:
    case OperandKind::control:
    case OperandKind::debug: return operand.index;
    default: return 0;
  }
}

}  // namespace

Binding bind(const Instruction& instruction, Op& op) {
  const u16 offset = op.offset;
  op = {};
  op.offset = offset;
  op.length = instruction.length;
  op.bytes = instruction.operand_bytes;
  op.immediate = instruction.immediate;
  op.base = op.index = slot_zero;
  if (instruction.lock) op.flags |= op_flag::lock;
  if (instruction.rep) op.flags |= op_flag::rep;
  if (instruction.repne) op.flags |= op_flag::repne;
  op.a = register_operand(instruction.operands[0]);
  op.b = register_operand(instruction.operands[1]);
  op.c = register_operand(instruction.operands[2]);
  if (instruction.has_memory()) fill_memory(instruction.memory, instruction.length, op);

  Binding binding;
  if (const Binder binder = binder_for(instruction)) binding = binder(instruction, op);
  if (!binding.handler)
    if (const Binder binder = tables().second[instruction.mnemonic]) binding = binder(instruction, op);
  if (!binding.handler) binding = {execute_invalid_opcode, true};
  op.handler = binding.handler;
  return binding;
}

void execute_invalid_opcode(Cpu& cpu, const Op* op) { return raise(cpu, op, invalid_opcode); }

void execute_end_of_block(Cpu& cpu, const Op* op) { return jump(cpu, cpu.wrap_rip(cpu.gpr[slot_rip] + op->offset)); }

void execute_resync(Cpu& cpu, const Op* op) { return leave_before(cpu, op, Leave::restart); }

}  // namespace doppel::interpreter
