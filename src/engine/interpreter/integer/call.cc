// Near CALL and RET. Intel SDM vol. 2.
#include "engine/interpreter/integer/binders.h"
#include "engine/interpreter/integer/near_transfer.h"

namespace doppel::interpreter {
namespace {

using x86::rsp;

// ---- CALL: the target is checked before anything is pushed ----

template <class T>
[[gnu::always_inline]] inline void call_to(Cpu& cpu, const Op* op, u64 target) {
  if (!target_allowed(cpu, target)) [[unlikely]]
    return raise(cpu, op, x86::general_protection, 0);
  if (!push<T>(cpu, static_cast<T>(fall_through(cpu, op)))) [[unlikely]]
    return faulted(cpu, op);
  return jump(cpu, target);
}

template <class T>
[[gnu::noinline]] void call_direct_any(Cpu& cpu, const Op* op) {
  return call_to<T>(cpu, op, branch_target<T>(cpu, op));
}

template <class T>
[[gnu::noinline]] void call_reg_any(Cpu& cpu, const Op* op) {
  return call_to<T>(cpu, op, cpu.reg<T>(op->a));
}

// Its memory operand needs op->displacement; the return address is computed the long way.
template <class T>
[[gnu::noinline]] void call_mem_any(Cpu& cpu, const Op* op) {
  const Loaded<T> target = load_operand<T>(cpu, op);
  if (!target.ok) [[unlikely]]
    return faulted(cpu, op);
  if (!target_allowed(cpu, target.value)) [[unlikely]]
    return raise(cpu, op, x86::general_protection, 0);
  if (!push<T>(cpu, static_cast<T>(cpu.op_rip(op) + op->length))) [[unlikely]]
    return faulted(cpu, op);
  return jump(cpu, target.value);
}

[[gnu::always_inline]] inline bool canonical(u64 target) {
  return static_cast<u64>(static_cast<i64>(target << 16) >> 16) == target;
}

void call_direct64(Cpu& cpu, const Op* op) {
  const u64 target = cpu.gpr[slot_rip] + op->immediate, to = cpu.gpr[rsp] - 8;
  u8* host = store_target<u64>(cpu, to);
  if (!host || !canonical(target)) [[unlikely]]
    return call_direct_any<u64>(cpu, op);
  put<u64>(host, fall_through(cpu, op));
  cpu.gpr[rsp] = to;
  return jump(cpu, target);
}

void call_reg64(Cpu& cpu, const Op* op) {
  const u64 target = cpu.reg<u64>(op->a), to = cpu.gpr[rsp] - 8;
  u8* host = store_target<u64>(cpu, to);
  if (!host || !canonical(target)) [[unlikely]]
    return call_reg_any<u64>(cpu, op);
  put<u64>(host, fall_through(cpu, op));
  cpu.gpr[rsp] = to;
  return jump(cpu, target);
}

void call_mem64(Cpu& cpu, const Op* op) {
  const u8* from = load_target<u64>(cpu, plain_linear(cpu, op));
  const u64 to = cpu.gpr[rsp] - 8;
  u8* host = store_target<u64>(cpu, to);
  if (!from || !host) [[unlikely]]
    return call_mem_any<u64>(cpu, op);
  const u64 target = get<u64>(from);
  if (!canonical(target)) [[unlikely]]
    return call_mem_any<u64>(cpu, op);
  put<u64>(host, cpu.op_rip(op) + op->length);
  cpu.gpr[rsp] = to;
  return jump(cpu, target);
}

// ---- RET; op->immediate: bytes of arguments to drop ----

template <class T>
[[gnu::noinline]] void ret_any(Cpu& cpu, const Op* op) {
  const Loaded<T> target = pop<T>(cpu);
  if (!target.ok) [[unlikely]]
    return faulted(cpu, op);
  if (!target_allowed(cpu, target.value)) [[unlikely]]
    return raise(cpu, op, x86::general_protection, 0);
  set_stack_pointer(cpu, cpu.gpr[rsp] + sizeof(T) + op->immediate);
  return jump(cpu, target.value);
}

void ret64(Cpu& cpu, const Op* op) {
  const u64 from = cpu.gpr[rsp];
  const u8* host = load_target<u64>(cpu, from);
  if (!host) [[unlikely]]
    return ret_any<u64>(cpu, op);
  const u64 target = get<u64>(host);
  if (!canonical(target)) [[unlikely]]
    return ret_any<u64>(cpu, op);
  cpu.gpr[rsp] = from + 8 + op->immediate;
  return jump(cpu, target);
}

}  // namespace

Binding bind_call(const x86::Instruction& instruction, Op& op) {
  if (!is_near(instruction, 3)) return {};
  const auto& target = instruction.operands[0];
  if (!is_memory(target)) make_relative(op);
  return {by_word_width(instruction.operand_bytes,
                        [&]<class T>() -> Handler {
                          if (is_memory(target)) return sizeof(T) == 8 && is_fast(op) ? call_mem64 : call_mem_any<T>;
                          if (sizeof(T) == 8) return is_immediate(target) ? call_direct64 : call_reg64;
                          return is_immediate(target) ? call_direct_any<T> : call_reg_any<T>;
                        }),
          true};
}

Binding bind_ret(const x86::Instruction& instruction, Op& op) {
  if (instruction.opcode != 0xc3 && instruction.opcode != 0xc2) return {};
  op.immediate &= 0xffff;
  if (instruction.opcode == 0xc3) op.immediate = 0;
  return {instruction.operand_bytes == 8
              ? ret64
              : by_word_width(instruction.operand_bytes, []<class T>() -> Handler { return ret_any<T>; }),
          true};
}

}  // namespace doppel::interpreter
