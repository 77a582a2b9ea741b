// PUSH, POP, PUSHA, POPA, ENTER, LEAVE. Intel SDM vol. 2; segment registers and flags are pushed and popped in system/.
#include "engine/interpreter/integer/binders.h"
#include "engine/interpreter/integer/operands.h"

namespace doppel::interpreter {
namespace {

using x86::rbp;
using x86::rsp;

// ---- PUSH ----

template <class T>
[[gnu::noinline]] void push_reg_any(Cpu& cpu, const Op* op) {
  if (!push<T>(cpu, cpu.reg<T>(op->a))) [[unlikely]]
    return faulted(cpu, op);
  return next(cpu, op);
}

void push_reg64(Cpu& cpu, const Op* op) {
  const u64 to = cpu.gpr[rsp] - 8;
  u8* host = store_target<u64>(cpu, to);
  if (!host) [[unlikely]]
    return push_reg_any<u64>(cpu, op);
  put<u64>(host, cpu.reg<u64>(op->a));  // PUSH RSP: the old value
  cpu.gpr[rsp] = to;
  return next(cpu, op);
}

template <class T>
[[gnu::noinline]] void push_imm_any(Cpu& cpu, const Op* op) {
  if (!push<T>(cpu, static_cast<T>(op->immediate))) [[unlikely]]
    return faulted(cpu, op);
  return next(cpu, op);
}

void push_imm64(Cpu& cpu, const Op* op) {
  const u64 to = cpu.gpr[rsp] - 8;
  u8* host = store_target<u64>(cpu, to);
  if (!host) [[unlikely]]
    return push_imm_any<u64>(cpu, op);
  put<u64>(host, op->immediate);
  cpu.gpr[rsp] = to;
  return next(cpu, op);
}

template <class T>
[[gnu::noinline]] void push_mem_any(Cpu& cpu, const Op* op) {
  const Loaded<T> value = load_operand<T>(cpu, op);
  if (!value.ok || !push<T>(cpu, value.value)) [[unlikely]]
    return faulted(cpu, op);
  return next(cpu, op);
}

void push_mem64(Cpu& cpu, const Op* op) {
  const u64 to = cpu.gpr[rsp] - 8;
  const u8* from = load_target<u64>(cpu, plain_linear(cpu, op));
  u8* host = store_target<u64>(cpu, to);
  if (!from || !host) [[unlikely]]
    return push_mem_any<u64>(cpu, op);
  put<u64>(host, get<u64>(from));
  cpu.gpr[rsp] = to;
  return next(cpu, op);
}

// ---- POP ----

template <class T>
[[gnu::noinline]] void pop_reg_any(Cpu& cpu, const Op* op) {
  const Loaded<T> value = pop<T>(cpu);
  if (!value.ok) [[unlikely]]
    return faulted(cpu, op);
  set_stack_pointer(cpu, cpu.gpr[rsp] + sizeof(T));
  cpu.set_reg<T>(op->a, value.value);  // POP RSP: the value that was read
  return next(cpu, op);
}

void pop_reg64(Cpu& cpu, const Op* op) {
  const u64 from = cpu.gpr[rsp];
  const u8* host = load_target<u64>(cpu, from);
  if (!host) [[unlikely]]
    return pop_reg_any<u64>(cpu, op);
  cpu.gpr[rsp] = from + 8;
  cpu.reg<u64>(op->a) = get<u64>(host);
  return next(cpu, op);
}

// The operand's address is computed with RSP already moved.
template <class T>
void pop_mem(Cpu& cpu, const Op* op) {
  const Loaded<T> value = pop<T>(cpu);
  if (!value.ok) [[unlikely]]
    return faulted(cpu, op);
  const u64 before = cpu.gpr[rsp];
  set_stack_pointer(cpu, before + sizeof(T));
  if (!store_operand<T>(cpu, op, value.value)) [[unlikely]] {
    cpu.gpr[rsp] = before;
    return faulted(cpu, op);
  }
  return next(cpu, op);
}

// ---- PUSHA, POPA: legacy modes only; DI is at the lowest address ----

template <class T>
void push_all(Cpu& cpu, const Op* op) {
  const u64 mask = stack_mask(cpu);
  u64 to = cpu.gpr[rsp];
  for (unsigned i = 0; i < 8; ++i) {
    to -= sizeof(T);
    if (!stack_store_slow(cpu, to & mask, cpu.reg<T>(static_cast<u8>(i * 8)), sizeof(T))) return faulted(cpu, op);
  }
  set_stack_pointer(cpu, to);
  return next(cpu, op);
}

// Two passes: the registers change only when all of the stack could be read.
template <class T>
void pop_all(Cpu& cpu, const Op* op) {
  const u64 mask = stack_mask(cpu);
  const u64 from = cpu.gpr[rsp];
  for (unsigned i = 0; i < 8; ++i)
    if (!stack_load_slow(cpu, (from + i * sizeof(T)) & mask, sizeof(T)).ok) return faulted(cpu, op);
  for (unsigned i = 0; i < 8; ++i) {
    const unsigned reg = 7 - i;
    if (reg == rsp) continue;
    const u64 value = stack_load_slow(cpu, (from + i * sizeof(T)) & mask, sizeof(T)).value;
    cpu.set_reg<T>(static_cast<u8>(reg * 8), static_cast<T>(value));
  }
  set_stack_pointer(cpu, from + 8 * sizeof(T));
  return next(cpu, op);
}

// ---- ENTER, LEAVE ----

// op->immediate: bytes of locals; op->c: nesting level, 0–31. RSP and RBP change only when nothing can fault any more.
template <class T>
void enter(Cpu& cpu, const Op* op) {
  const u64 mask = stack_mask(cpu);
  u64 to = cpu.gpr[rsp] - sizeof(T);
  if (!stack_store_slow(cpu, to & mask, cpu.reg<T>(rbp * 8), sizeof(T))) return faulted(cpu, op);
  const u64 frame = to;
  u64 from = cpu.gpr[rbp];
  for (unsigned level = 1; level < op->c; ++level) {
    from -= sizeof(T);
    to -= sizeof(T);
    const Loaded<u64> pointer = stack_load_slow(cpu, from & mask, sizeof(T));
    if (!pointer.ok || !stack_store_slow(cpu, to & mask, pointer.value, sizeof(T))) return faulted(cpu, op);
  }
  if (op->c > 0) {
    to -= sizeof(T);
    if (!stack_store_slow(cpu, to & mask, static_cast<T>(frame), sizeof(T))) return faulted(cpu, op);
  }
  to -= static_cast<u16>(op->immediate);
  const Linear end = segment_linear(cpu, x86::ss, to & mask, sizeof(T), AccessKind::write);
  if (!end.ok || !probe_write(cpu, end.address, sizeof(T), x86::ss)) return faulted(cpu, op);
  cpu.set_reg<T>(rbp * 8, static_cast<T>(frame));
  set_stack_pointer(cpu, to);
  return next(cpu, op);
}

template <class T>
[[gnu::noinline]] void leave_any(Cpu& cpu, const Op* op) {
  const u64 from = cpu.gpr[rbp];
  const Loaded<u64> value = stack_load_slow(cpu, from & stack_mask(cpu), sizeof(T));
  if (!value.ok) [[unlikely]]
    return faulted(cpu, op);
  set_stack_pointer(cpu, from + sizeof(T));
  cpu.set_reg<T>(rbp * 8, static_cast<T>(value.value));
  return next(cpu, op);
}

void leave64(Cpu& cpu, const Op* op) {
  const u64 from = cpu.gpr[rbp];
  const u8* host = load_target<u64>(cpu, from);
  if (!host) [[unlikely]]
    return leave_any<u64>(cpu, op);
  cpu.gpr[rsp] = from + 8;
  cpu.gpr[rbp] = get<u64>(host);
  return next(cpu, op);
}

}  // namespace

Binding bind_push(const x86::Instruction& instruction, Op& op) {
  const auto& from = instruction.operands[0];
  const unsigned bytes = instruction.operand_bytes;
  const bool wide = bytes == 8;  // in 64-bit mode, that is
  if (is_register(from))
    return {wide ? push_reg64 : by_word_width(bytes, []<class T>() -> Handler { return push_reg_any<T>; })};
  if (is_immediate(from))
    return {wide ? push_imm64 : by_word_width(bytes, []<class T>() -> Handler { return push_imm_any<T>; })};
  if (!is_memory(from)) return {};
  return {wide && is_fast(op) ? push_mem64 : by_word_width(bytes, []<class T>() -> Handler { return push_mem_any<T>; })};
}

Binding bind_pop(const x86::Instruction& instruction, Op&) {
  const auto& to = instruction.operands[0];
  const unsigned bytes = instruction.operand_bytes;
  if (is_register(to))
    return {bytes == 8 ? pop_reg64 : by_word_width(bytes, []<class T>() -> Handler { return pop_reg_any<T>; })};
  if (is_memory(to)) return {by_word_width(bytes, []<class T>() -> Handler { return pop_mem<T>; })};
  return {};
}

Binding bind_pusha(const x86::Instruction&, Op&) { return {push_all<u16>}; }
Binding bind_pushad(const x86::Instruction&, Op&) { return {push_all<u32>}; }
Binding bind_popa(const x86::Instruction&, Op&) { return {pop_all<u16>}; }
Binding bind_popad(const x86::Instruction&, Op&) { return {pop_all<u32>}; }

Binding bind_enter(const x86::Instruction& instruction, Op& op) {
  op.c = instruction.immediate2 & 31;
  return {by_word_width(instruction.operand_bytes, []<class T>() -> Handler { return enter<T>; })};
}

Binding bind_leave(const x86::Instruction& instruction, Op&) {
  if (instruction.operand_bytes == 8) return {leave64};
  return {by_word_width(instruction.operand_bytes, []<class T>() -> Handler { return leave_any<T>; })};
}

}  // namespace doppel::interpreter
