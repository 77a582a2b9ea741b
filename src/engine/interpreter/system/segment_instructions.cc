// MOV, PUSH and POP of segment registers, LDS … LSS, FS and GS base access. Intel SDM vol. 2.
#include "engine/interpreter/system/handlers.h"
#include "isa/x86/paging.h"

namespace doppel::interpreter {

using namespace x86;

namespace {

// MOV and POP to SS hold off interrupts and debug traps for one instruction.
void go_on_in_shadow(Cpu& cpu, const Op* op) {
  cpu.s.mov_ss_shadow = true;
  cpu.update_mode();
  return go_on_after(cpu, op);
}

template <bool memory>
void execute_mov_to_segment(Cpu& cpu, const Op* op) {
  u16 selector;
  if constexpr (memory) {
    const Loaded<u16> loaded = load_operand<u16>(cpu, op);
    if (!loaded.ok) return faulted(cpu, op);
    selector = loaded.value;
  } else {
    selector = cpu.reg<u16>(op->b);
  }
  if (!load_segment(cpu, static_cast<Segment>(op->a), selector)) return faulted(cpu, op);
  if (op->a == ss) return go_on_in_shadow(cpu, op);
  return next(cpu, op);
}

bool mov_from_segment(Cpu& cpu, const Op* op) {
  const u16 selector = cpu.s.segments[op->b].selector;
  if (in_memory(op)) return store_operand<u16>(cpu, op, selector);
  write_register(cpu, op->a, selector, op->bytes);
  return true;
}

// Zero-extended to the slot; with 32 bits a processor may also write only the low 16 (SDM vol. 2, PUSH).
bool push_segment(Cpu& cpu, const Op* op) {
  const u16 selector = cpu.s.segments[op->a].selector;
  switch (op->bytes) {
    case 2: return push<u16>(cpu, selector);
    case 4: return push<u32>(cpu, selector);
    default: return push<u64>(cpu, selector);
  }
}

void execute_pop_segment(Cpu& cpu, const Op* op) {
  const u64 from = cpu.gpr[rsp];
  const Loaded<u64> value = cpu.long64 ? load_slow(cpu, from, op->bytes, ss)
                                       : stack_load_slow(cpu, from & stack_mask(cpu), op->bytes);
  if (!value.ok) return faulted(cpu, op);
  const u64 mask = stack_mask(cpu);  // of the old SS
  if (!load_segment(cpu, static_cast<Segment>(op->a), static_cast<u16>(value.value))) return faulted(cpu, op);
  cpu.gpr[rsp] = (from & ~mask) | ((from + op->bytes) & mask);
  if (op->a == ss) return go_on_in_shadow(cpu, op);
  return next(cpu, op);
}

bool load_far_pointer(Cpu& cpu, const Op* op) {
  const Linear linear = operand_linear(cpu, op, op->bytes + 2u, AccessKind::read);
  if (!linear.ok) return false;
  const auto segment = static_cast<Segment>(op->segment);
  const Loaded<u64> offset = load_slow(cpu, linear.address, op->bytes, segment);
  if (!offset.ok) return false;
  const Loaded<u64> selector = load_slow(cpu, linear.address + op->bytes, 2, segment);
  if (!selector.ok || !load_segment(cpu, static_cast<Segment>(op->b), static_cast<u16>(selector.value))) return false;
  write_register(cpu, op->a, offset.value, op->bytes);
  return true;
}

// ---- FS and GS bases ----

template <Segment segment, class T>
void execute_read_base(Cpu& cpu, const Op* op) {
  if (!(cpu.s.cr4 & cr4::fsgsbase)) return raise(cpu, op, invalid_opcode);
  cpu.set_reg<T>(op->a, static_cast<T>(cpu.s.segments[segment].base));
  return next(cpu, op);
}

template <Segment segment, class T>
void execute_write_base(Cpu& cpu, const Op* op) {
  if (!(cpu.s.cr4 & cr4::fsgsbase)) return raise(cpu, op, invalid_opcode);
  const u64 base = cpu.reg<T>(op->a);
  if (!is_canonical(base)) return raise(cpu, op, general_protection, 0);
  cpu.s.segments[segment].base = base;
  return next(cpu, op);
}

void execute_swapgs(Cpu& cpu, const Op* op) {
  if (cpu.s.cpl() != 0) [[unlikely]]
    return raise(cpu, op, general_protection, 0);
  const u64 base = cpu.s.segments[gs].base;
  cpu.s.segments[gs].base = cpu.s.kernel_gs_base;
  cpu.s.kernel_gs_base = base;
  return next(cpu, op);
}

template <class T>
Handler base_handler(Mnemonic mnemonic) {
  switch (mnemonic) {
    case ZYDIS_MNEMONIC_RDFSBASE: return execute_read_base<fs, T>;
    case ZYDIS_MNEMONIC_RDGSBASE: return execute_read_base<gs, T>;
    case ZYDIS_MNEMONIC_WRFSBASE: return execute_write_base<fs, T>;
    default: return execute_write_base<gs, T>;
  }
}

bool is_segment_form(const Instruction& instruction) {
  return instruction.operand_count == 1 && instruction.operands[0].kind == OperandKind::segment;
}

}  // namespace

Binding bind_mov_system(const Instruction& instruction, Op& op) {
  const Operand& to = instruction.operands[0];
  const Operand& from = instruction.operands[1];
  if (to.kind == OperandKind::control || from.kind == OperandKind::control) return bind_mov_control(instruction, op);
  if (to.kind == OperandKind::debug || from.kind == OperandKind::debug) return bind_mov_debug(instruction, op);
  if (to.kind == OperandKind::segment) {
    if (to.index == cs || to.index > gs) return {execute_invalid_opcode, true};
    op.a = to.index;
    if (is_memory(from)) return {execute_mov_to_segment<true>, to.index == ss};
    op.b = gpr_offset(from);
    return {execute_mov_to_segment<false>, to.index == ss};
  }
  if (from.kind != OperandKind::segment) return {};
  op.b = from.index;
  prepare_word_operand(to, op.a, op);
  op.bytes = to.bytes;
  return {execute<mov_from_segment>, false};
}

Binding bind_push_segment(const Instruction& instruction, Op& op) {
  if (!is_segment_form(instruction)) return {};
  op.a = instruction.operands[0].index;
  op.bytes = instruction.operand_bytes;
  return {execute<push_segment>, false};
}

Binding bind_pop_segment(const Instruction& instruction, Op& op) {
  if (!is_segment_form(instruction)) return {};
  op.a = instruction.operands[0].index;
  op.bytes = instruction.operand_bytes;
  return {execute_pop_segment, op.a == ss};
}

Binding bind_load_far_pointer(const Instruction& instruction, Op& op) {
  op.a = gpr_offset(instruction.operands[0]);
  op.bytes = instruction.operand_bytes;
  switch (instruction.mnemonic) {
    case ZYDIS_MNEMONIC_LDS: op.b = ds; break;
    case ZYDIS_MNEMONIC_LES: op.b = es; break;
    case ZYDIS_MNEMONIC_LFS: op.b = fs; break;
    case ZYDIS_MNEMONIC_LGS: op.b = gs; break;
    default: op.b = ss; break;
  }
  // Another SS may change the width of the stack pointer.
  return op.b == ss ? Binding{execute_then_leave<load_far_pointer>, true} : Binding{execute<load_far_pointer>, false};
}

Binding bind_fsgsbase(const Instruction& instruction, Op& op) {
  op.a = gpr_offset(instruction.operands[0]);
  return {instruction.operand_bytes == 8 ? base_handler<u64>(instruction.mnemonic)
                                         : base_handler<u32>(instruction.mnemonic),
          false};
}

Binding bind_swapgs(const Instruction&, Op&) { return {execute_swapgs, false}; }

}  // namespace doppel::interpreter
