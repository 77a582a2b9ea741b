// DAA, DAS, AAA, AAS, AAM, AAD: decimal adjustment, legacy modes only. Intel SDM vol. 2.
// Flags that are undefined become 0.
#include "engine/interpreter/integer/binders.h"
#include "engine/interpreter/integer/operands.h"

namespace doppel::interpreter {
namespace {

constexpr u8 al = x86::rax * 8, ah = al + 1;

// Packed, after an addition or a subtraction.
template <bool subtraction>
void adjust_packed(Cpu& cpu, const Op* op) {
  const u8 old = cpu.reg<u8>(al);
  const bool old_cf = cpu.flags.cf();
  const bool af = (old & 15) > 9 || cpu.flags.af();
  const bool high = old > 0x99 || old_cf;
  const u8 amount = static_cast<u8>((af ? 6 : 0) + (high ? 0x60 : 0));
  const u8 value = static_cast<u8>(subtraction ? old - amount : old + amount);
  // DAS also reports the borrow of its low digit.
  const bool cf = high || (subtraction && af && old < 6);
  cpu.reg<u8>(al) = value;
  set_status(cpu.flags, value, cf, false, af);
  return next(cpu, op);
}

// Unpacked: AX changes as a whole, so that a carry out of AL reaches AH.
template <bool subtraction>
void adjust_unpacked(Cpu& cpu, const Op* op) {
  const bool adjust = (cpu.reg<u8>(al) & 15) > 9 || cpu.flags.af();
  if (adjust) {
    const u16 ax = cpu.reg<u16>(al);
    if constexpr (subtraction)
      cpu.reg<u16>(al) = static_cast<u16>(ax - 0x106);
    else
      cpu.reg<u16>(al) = static_cast<u16>(ax + 0x106);
  }
  const u8 value = cpu.reg<u8>(al) & 15;
  cpu.reg<u8>(al) = value;
  set_status(cpu.flags, value, adjust, false, adjust);
  return next(cpu, op);
}

void aam(Cpu& cpu, const Op* op) {
  const u8 base = static_cast<u8>(op->immediate), old = cpu.reg<u8>(al);
  if (base == 0) return raise(cpu, op, x86::divide_error);
  cpu.reg<u8>(ah) = old / base;
  cpu.reg<u8>(al) = old % base;
  set_status<u8>(cpu.flags, old % base, false, false);
  return next(cpu, op);
}

void aad(Cpu& cpu, const Op* op) {
  const u8 value = static_cast<u8>(cpu.reg<u8>(al) + cpu.reg<u8>(ah) * static_cast<u8>(op->immediate));
  cpu.reg<u16>(al) = value;
  set_status(cpu.flags, value, false, false);
  return next(cpu, op);
}

}  // namespace

Binding bind_daa(const x86::Instruction&, Op&) { return {adjust_packed<false>}; }
Binding bind_das(const x86::Instruction&, Op&) { return {adjust_packed<true>}; }
Binding bind_aaa(const x86::Instruction&, Op&) { return {adjust_unpacked<false>}; }
Binding bind_aas(const x86::Instruction&, Op&) { return {adjust_unpacked<true>}; }
Binding bind_aam(const x86::Instruction&, Op&) { return {aam}; }
Binding bind_aad(const x86::Instruction&, Op&) { return {aad}; }

}  // namespace doppel::interpreter
