// CLC, STC, CMC, CLD, STD, LAHF, SAHF, SETcc, SALC. Intel SDM vol. 2. PUSHF, POPF, CLI and STI are in system/.
#include "engine/interpreter/integer/binders.h"
#include "engine/interpreter/integer/operands.h"

namespace doppel::interpreter {
namespace {

namespace rflags = x86::rflags;

constexpr u8 al = x86::rax * 8, ah = al + 1;
constexpr u64 low_flags = rflags::sf | rflags::zf | rflags::af | rflags::pf | rflags::cf;  // what AH exchanges

void clc(Cpu& cpu, const Op* op) {
  replace_cf(cpu.flags, false);
  return next(cpu, op);
}

void stc(Cpu& cpu, const Op* op) {
  replace_cf(cpu.flags, true);
  return next(cpu, op);
}

void cmc(Cpu& cpu, const Op* op) {
  replace_cf(cpu.flags, !cpu.flags.cf());
  return next(cpu, op);
}

void cld(Cpu& cpu, const Op* op) {
  cpu.other_flags &= ~rflags::df;
  return next(cpu, op);
}

void std_(Cpu& cpu, const Op* op) {
  cpu.other_flags |= rflags::df;
  return next(cpu, op);
}

void lahf(Cpu& cpu, const Op* op) {
  cpu.reg<u8>(ah) = static_cast<u8>((cpu.flags.pack() & low_flags) | rflags::fixed);
  return next(cpu, op);
}

void sahf(Cpu& cpu, const Op* op) {
  cpu.flags.unpack((cpu.reg<u8>(ah) & low_flags) | (cpu.flags.pack() & rflags::of));
  return next(cpu, op);
}

template <unsigned code>
void set_reg8(Cpu& cpu, const Op* op) {
  cpu.reg<u8>(op->a) = condition<code>(cpu.flags);
  return next(cpu, op);
}

template <unsigned code>
[[gnu::noinline]] void set_mem8_any(Cpu& cpu, const Op* op) {
  if (!store_operand<u8>(cpu, op, condition<code>(cpu.flags))) [[unlikely]]
    return faulted(cpu, op);
  return next(cpu, op);
}

template <unsigned code>
void set_mem8(Cpu& cpu, const Op* op) {
  u8* host = store_target<u8>(cpu, plain_linear(cpu, op));
  if (!host) [[unlikely]]
    return set_mem8_any<code>(cpu, op);
  *host = condition<code>(cpu.flags);
  return next(cpu, op);
}

void salc(Cpu& cpu, const Op* op) {
  cpu.reg<u8>(al) = cpu.flags.cf() ? 0xff : 0;
  return next(cpu, op);
}

}  // namespace

Binding bind_clc(const x86::Instruction&, Op&) { return {clc}; }
Binding bind_stc(const x86::Instruction&, Op&) { return {stc}; }
Binding bind_cmc(const x86::Instruction&, Op&) { return {cmc}; }
Binding bind_cld(const x86::Instruction&, Op&) { return {cld}; }
Binding bind_std(const x86::Instruction&, Op&) { return {std_}; }
Binding bind_lahf(const x86::Instruction&, Op&) { return {lahf}; }
Binding bind_sahf(const x86::Instruction&, Op&) { return {sahf}; }
Binding bind_salc(const x86::Instruction&, Op&) { return {salc}; }

Binding bind_setcc(const x86::Instruction& instruction, Op& op) {
  const bool memory = is_memory(instruction.operands[0]), fast = is_fast(op);
  return {by_condition(instruction.opcode & 15, [&]<unsigned code>() -> Handler {
    if (!memory) return set_reg8<code>;
    return fast ? set_mem8<code> : set_mem8_any<code>;
  })};
}

}  // namespace doppel::interpreter
