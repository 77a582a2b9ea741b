// Small things that the privileged handlers share. Internal to system/.
#pragma once

#include "engine/interpreter/bind.h"
#include "engine/interpreter/memory_access.h"
#include "engine/interpreter/system.h"
#include "engine/interpreter/system/segments.h"

namespace doppel::interpreter {

// After an instruction that other parts of the machine may have answered with an event: let it be seen now.
[[gnu::always_inline]] inline void next_or_attend(Cpu& cpu, const Op* op) {
  if (cpu.attention.load(std::memory_order_relaxed)) [[unlikely]] {
    cpu.rip = cpu.next_rip(op);
    return leave_after(cpu, op);
  }
  return next(cpu, op);
}
// After an instruction that changed the mode or what code is seen where: the following instruction is looked up afresh.
[[gnu::always_inline]] inline void go_on_after(Cpu& cpu, const Op* op) {
  cpu.rip = cpu.next_rip(op);
  return leave_after(cpu, op);
}

// Runs `body(cpu, op)` (any C++; false: a fault is recorded) as an instruction. For what need not be fast. Out of line: what it keeps
// on the stack would turn the handler's tail call into a nested one.
template <bool (*body)(Cpu&, const Op*)>
[[gnu::noinline]] bool run_apart(Cpu& cpu, const Op* op) {
  return body(cpu, op);
}
template <bool (*body)(Cpu&, const Op*)>
void execute(Cpu& cpu, const Op* op) {
  if (!run_apart<body>(cpu, op)) return faulted(cpu, op);
  return next(cpu, op);
}
template <bool (*body)(Cpu&, const Op*)>
void execute_then_leave(Cpu& cpu, const Op* op) {
  if (!run_apart<body>(cpu, op)) return faulted(cpu, op);
  return go_on_after(cpu, op);
}

// #GP(0) unless CPL is 0.
[[gnu::always_inline]] inline bool privileged(Cpu& cpu) {
  return cpu.cpl() == 0 || refuse(cpu, x86::general_protection, 0);
}

// RFLAGS when the caller is about to call update_mode(): TF, VM and AC take effect there.
inline void put_other_flags(Cpu& cpu, u64 value) {
  const bool enables = value & ~cpu.other_flags & x86::rflags::if_;
  cpu.other_flags = (value & ~x86::rflags::status) | x86::rflags::fixed;
  if (!(cpu.s.dr[7] & 0xff)) cpu.other_flags &= ~x86::rflags::rf;  // as Cpu::set_rflags does
  if (enables && cpu.events.load(std::memory_order_relaxed)) cpu.request_attention();
}
inline void put_rflags(Cpu& cpu, u64 value) {
  cpu.flags.unpack(value);
  put_other_flags(cpu, value);
}

inline void set_zero_flag(Cpu& cpu, bool zf) {
  const u64 flags = cpu.flags.pack();
  cpu.flags.unpack(zf ? flags | x86::rflags::zf : flags & ~x86::rflags::zf);
}

// A register operand of 2, 4 or 8 bytes.
inline void write_register(Cpu& cpu, u8 byte_offset, u64 value, unsigned bytes) {
  switch (bytes) {
    case 2: return cpu.set_reg<u16>(byte_offset, static_cast<u16>(value));
    case 4: return cpu.set_reg<u32>(byte_offset, static_cast<u32>(value));
    default: return cpu.set_reg<u64>(byte_offset, value);
  }
}

// Operands that are r/m: binders set op->c for memory.
inline bool in_memory(const Op* op) { return op->c != 0; }
// The r/m16 operand of the descriptor instructions.
struct Word {
  u16 value;
  bool ok;
};
inline Word read_word_operand(Cpu& cpu, const Op* op, u8 register_offset) {
  if (!in_memory(op)) return {cpu.reg<u16>(register_offset), true};
  const Loaded<u16> loaded = load_operand<u16>(cpu, op);
  return {loaded.value, loaded.ok};
}
// Destination r/m of SLDT, STR, SMSW: a register takes the operand size, memory 16 bits.
inline bool write_status_operand(Cpu& cpu, const Op* op, u64 value) {
  if (in_memory(op)) return store_operand<u16>(cpu, op, static_cast<u16>(value));
  write_register(cpu, op->a, value, op->bytes);
  return true;
}

// What binders do with operands. Registers: byte offset into Cpu::gpr.
inline u8 gpr_offset(const x86::Operand& operand) { return static_cast<u8>(operand.index * 8); }
inline bool is_memory(const x86::Operand& operand) { return operand.kind == x86::OperandKind::memory; }
inline void prepare_word_operand(const x86::Operand& operand, u8& register_offset, Op& op) {
  op.c = is_memory(operand);
  if (!op.c) register_offset = gpr_offset(operand);
}

// ---- binders, by file ----
#define DOPPEL_BINDER(name) Binding name(const x86::Instruction& instruction, Op& op)
// segment_instructions.cc
DOPPEL_BINDER(bind_mov_system);  // MOV with a segment, control or debug register; nullptr for other forms
DOPPEL_BINDER(bind_push_segment);
DOPPEL_BINDER(bind_pop_segment);
DOPPEL_BINDER(bind_load_far_pointer);
DOPPEL_BINDER(bind_fsgsbase);
DOPPEL_BINDER(bind_swapgs);
// control_registers.cc, debug_registers.cc
DOPPEL_BINDER(bind_mov_control);
DOPPEL_BINDER(bind_mov_debug);
DOPPEL_BINDER(bind_machine_status);
DOPPEL_BINDER(bind_cache_and_tlb);
// descriptor_instructions.cc
DOPPEL_BINDER(bind_descriptor_table);
DOPPEL_BINDER(bind_task_and_ldt);
DOPPEL_BINDER(bind_verify);
DOPPEL_BINDER(bind_arpl);
// flags_instructions.cc
DOPPEL_BINDER(bind_interrupt_flag);
DOPPEL_BINDER(bind_pushf);
DOPPEL_BINDER(bind_popf);
DOPPEL_BINDER(bind_access_check);
DOPPEL_BINDER(bind_halt);
// msr_access.cc, processor_information.cc
DOPPEL_BINDER(bind_msr);
DOPPEL_BINDER(bind_information);
// port_io.cc, port_strings.cc
DOPPEL_BINDER(bind_in);
DOPPEL_BINDER(bind_out);
DOPPEL_BINDER(bind_ins);
DOPPEL_BINDER(bind_outs);
// control_instructions.cc, syscall.cc
DOPPEL_BINDER(bind_far_jump);
DOPPEL_BINDER(bind_far_call);
DOPPEL_BINDER(bind_far_return);
DOPPEL_BINDER(bind_iret);
DOPPEL_BINDER(bind_software_interrupt);
DOPPEL_BINDER(bind_bound);
DOPPEL_BINDER(bind_syscall);
DOPPEL_BINDER(bind_sysenter);
#undef DOPPEL_BINDER

}  // namespace doppel::interpreter
