// The instructions of far control transfer; what they do is in far_transfer.cc, call_gate.cc, return.cc and deliver*.cc.
#include "engine/interpreter/system/deliver.h"
#include "engine/interpreter/system/handlers.h"
#include "engine/interpreter/system/transfer.h"

namespace doppel::interpreter {

using namespace x86;

namespace {

// ---- JMP and CALL far; direct operands are packed as offset | selector << 32 ----

struct FarPointer {
  u64 offset = 0;
  u16 selector = 0;
  bool ok = false;
};

FarPointer load_far_pointer(Cpu& cpu, const Op* op) {
  const Linear linear = operand_linear(cpu, op, op->bytes + 2u, AccessKind::read);
  if (!linear.ok) return {};
  const auto segment = static_cast<Segment>(op->segment);
  const Loaded<u64> offset = load_slow(cpu, linear.address, op->bytes, segment);
  if (!offset.ok) return {};
  const Loaded<u64> selector = load_slow(cpu, linear.address + op->bytes, 2, segment);
  return {offset.value, static_cast<u16>(selector.value), selector.ok};
}

FarPointer direct_far_pointer(const Op* op) {
  return {static_cast<u32>(op->immediate), static_cast<u16>(op->immediate >> 32), true};
}

template <bool call, bool direct>
void execute_far(Cpu& cpu, const Op* op) {
  const u16 task = cpu.s.tr.selector;
  const FarPointer target = direct ? direct_far_pointer(op) : load_far_pointer(cpu, op);
  bool ok = target.ok;
  if (ok && call) ok = far_call(cpu, target.selector, target.offset, op->bytes, cpu.next_rip(op));
  if (ok && !call) ok = far_jump(cpu, target.selector, target.offset, cpu.next_rip(op));
  return conclude(cpu, op, ok, task);
}

void execute_far_return(Cpu& cpu, const Op* op) {
  const bool ok = far_return(cpu, op->bytes, static_cast<u16>(op->immediate));
  return conclude(cpu, op, ok, cpu.s.tr.selector);
}

// ---- IRET ----

void execute_iret(Cpu& cpu, const Op* op) {
  const u16 task = cpu.s.tr.selector;
  const bool ok = interrupt_return(cpu, op->bytes, cpu.next_rip(op));
  return conclude(cpu, op, ok, task);
}

void execute_iret64(Cpu& cpu, const Op* op) {
  if (!interrupt_return64(cpu)) [[unlikely]]
    return faulted(cpu, op);
  return jump(cpu, cpu.rip);
}

// ---- INT, INT1, INT3, INTO ----

bool software_interrupt_allowed(Cpu& cpu) {
  // Without VME, INT n in virtual-8086 mode is the monitor's unless IOPL is 3.
  return !cpu.vm86() || cpu.iopl() == 3 || refuse(cpu, general_protection, 0);
}

[[gnu::noinline]] void interrupt(Cpu& cpu, const Op* op, EventKind kind, u8 vector) {
  const u16 task = cpu.s.tr.selector;
  cpu.rip = cpu.next_rip(op);
  cpu.step_trap_suppressed = true;
  if (cpu.trace && cpu.trace->interrupt) {
    cpu.store_state();
    cpu.trace->interrupt(vector, cpu.s);
  }
  return conclude(cpu, op, try_deliver(cpu, {.kind = kind, .vector = vector}), task);
}

void execute_int(Cpu& cpu, const Op* op) {
  if (!software_interrupt_allowed(cpu)) return faulted(cpu, op);
  return interrupt(cpu, op, EventKind::software_interrupt, static_cast<u8>(op->immediate));
}
void execute_int3(Cpu& cpu, const Op* op) { return interrupt(cpu, op, EventKind::software_exception, breakpoint); }
void execute_into(Cpu& cpu, const Op* op) {
  if (!cpu.flags.of()) return next(cpu, op);
  return interrupt(cpu, op, EventKind::software_exception, overflow);
}
void execute_int1(Cpu& cpu, const Op* op) { return interrupt(cpu, op, EventKind::icebp, debug); }

// ---- BOUND ----

template <class T>
bool bound(Cpu& cpu, const Op* op) {
  using Signed = std::make_signed_t<T>;
  const Linear linear = operand_linear(cpu, op, 2 * sizeof(T), AccessKind::read);
  if (!linear.ok) return false;
  const auto segment = static_cast<Segment>(op->segment);
  const Loaded<T> lower = load<T>(cpu, linear.address, segment);
  if (!lower.ok) return false;
  const Loaded<T> upper = load<T>(cpu, linear.address + sizeof(T), segment);
  if (!upper.ok) return false;
  const auto index = static_cast<Signed>(cpu.reg<T>(op->a));
  if (index >= static_cast<Signed>(lower.value) && index <= static_cast<Signed>(upper.value)) return true;
  return refuse(cpu, bound_range);
}

bool is_far(const Instruction& instruction, u8 direct_opcode, u8 group5_field) {
  if (instruction.opcode_map != 0) return false;
  if (instruction.opcode == direct_opcode) return true;
  return instruction.opcode == 0xff && ((instruction.modrm >> 3) & 7) == group5_field;
}

void prepare_far(const Instruction& instruction, Op& op) {
  op.bytes = instruction.operand_bytes;
  op.immediate = (instruction.immediate & 0xffff'ffff) | (instruction.immediate2 & 0xffff) << 32;
}

}  // namespace

Binding bind_far_jump(const Instruction& instruction, Op& op) {
  if (!is_far(instruction, 0xea, 5)) return {};
  prepare_far(instruction, op);
  return {instruction.has_memory() ? execute_far<false, false> : execute_far<false, true>, true};
}

Binding bind_far_call(const Instruction& instruction, Op& op) {
  if (!is_far(instruction, 0x9a, 3)) return {};
  prepare_far(instruction, op);
  return {instruction.has_memory() ? execute_far<true, false> : execute_far<true, true>, true};
}

Binding bind_far_return(const Instruction& instruction, Op& op) {
  if (instruction.opcode_map != 0 || (instruction.opcode != 0xca && instruction.opcode != 0xcb)) return {};
  op.bytes = instruction.operand_bytes;
  op.immediate = instruction.immediate & 0xffff;
  return {execute_far_return, true};
}

Binding bind_iret(const Instruction& instruction, Op& op) {
  op.bytes = instruction.operand_bytes;
  return {instruction.mnemonic == ZYDIS_MNEMONIC_IRETQ ? execute_iret64 : execute_iret, true};
}

Binding bind_software_interrupt(const Instruction& instruction, Op&) {
  switch (instruction.mnemonic) {
    case ZYDIS_MNEMONIC_INT3: return {execute_int3, true};
    case ZYDIS_MNEMONIC_INTO: return {execute_into, true};
    case ZYDIS_MNEMONIC_INT1: return {execute_int1, true};
    default: return {execute_int, true};
  }
}

Binding bind_bound(const Instruction& instruction, Op& op) {
  op.a = gpr_offset(instruction.operands[0]);
  return {instruction.operand_bytes == 2 ? execute<bound<u16>> : execute<bound<u32>>, false};
}

}  // namespace doppel::interpreter
