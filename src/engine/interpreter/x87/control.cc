// Control of the x87 unit: FINIT, FCLEX, FLDCW, FSTCW, FSTSW, FWAIT, FNOP, FINCSTP, FDECSTP, FFREE, FFREEP, and the 8087 and 80287
// instructions that do nothing any more. Intel SDM vol. 2 (edition 085).
#include "engine/interpreter/x87/environment.h"
#include "engine/interpreter/x87/native.h"
#include "engine/interpreter/x87/rows.h"

namespace doppel::interpreter {

void initialize(Fpu& f) {
  const auto registers = f.registers;
  f = {};
  f.registers = registers;
  forget_host_flags();
}

void set_control(Fpu& f, u16 value) {
  f.control = static_cast<u16>((value & fcw::writable) | fcw::fixed);
  update_summary(f);
}

void set_status(Fpu& f, u16 value) {
  f.status = value;
  update_summary(f);
  forget_host_flags();
}

namespace {

bool fninit(Cpu& cpu, const Op*) {
  initialize(cpu.s.fpu);
  return true;
}

bool fnclex(Cpu& cpu, const Op*) {
  Fpu& f = cpu.s.fpu;
  f.status &= static_cast<u16>(~(fsw::exceptions | fsw::sf | fsw::es | fsw::busy));
  forget_host_flags();
  return true;
}

bool fldcw(Cpu& cpu, const Op* op) {
  const auto operand = load_operand<u16>(cpu, op);
  if (!operand.ok) return false;
  set_control(cpu.s.fpu, operand.value);
  return true;
}

bool fnstcw(Cpu& cpu, const Op* op) { return store_operand<u16>(cpu, op, cpu.s.fpu.control); }
bool fnstsw_memory(Cpu& cpu, const Op* op) { return store_operand<u16>(cpu, op, cpu.s.fpu.status); }
bool fnstsw_ax(Cpu& cpu, const Op*) {
  cpu.set_reg<u16>(x86::rax * 8, cpu.s.fpu.status);
  return true;
}

bool nothing(Cpu&, const Op*) { return true; }

template <unsigned by>
bool rotate(Cpu& cpu, const Op*) {
  move_top(cpu.s.fpu, by);
  set_conditions(cpu.s.fpu, fsw::c1, 0);
  return true;
}

template <bool pops>
bool free_register(Cpu& cpu, const Op* op) {
  mark_empty(cpu.s.fpu, op->a);
  set_conditions(cpu.s.fpu, fsw::c1, 0);
  if (pops) pop(cpu.s.fpu);
  return true;
}

// Its own rule for #NM: CR0.TS counts only with CR0.MP, CR0.EM not at all (SDM vol. 3 §2.5).
void fwait(Cpu& cpu, const Op* op) {
  constexpr u64 monitor = x86::cr0::mp | x86::cr0::ts;
  if ((cpu.s.cr0 & monitor) == monitor) [[unlikely]]
    return raise(cpu, op, x86::device_not_available);
  if ((cpu.s.fpu.status & fsw::es) && (cpu.s.cr0 & x86::cr0::ne)) [[unlikely]]
    return raise(cpu, op, x86::x87_error);
  return next(cpu, op);
}

Binding bind_fwait(const x86::Instruction&, Op&) { return {fwait}; }

Binding bind_fnstsw(const x86::Instruction& instruction, Op& op) {
  return instruction.has_memory() ? bind_no_wait<fnstsw_memory>(instruction, op)
                                  : bind_no_wait<fnstsw_ax>(instruction, op);
}

constexpr BindRow rows[] = {
    {ZYDIS_MNEMONIC_FNINIT, bind_no_wait<fninit>},
    {ZYDIS_MNEMONIC_FNCLEX, bind_no_wait<fnclex>},
    {ZYDIS_MNEMONIC_FLDCW, bind_control<fldcw>},
    {ZYDIS_MNEMONIC_FNSTCW, bind_no_wait<fnstcw>},
    {ZYDIS_MNEMONIC_FNSTSW, bind_fnstsw},
    {ZYDIS_MNEMONIC_FENI8087_NOP, bind_no_wait<nothing>},
    {ZYDIS_MNEMONIC_FDISI8087_NOP, bind_no_wait<nothing>},
    {ZYDIS_MNEMONIC_FSETPM287_NOP, bind_no_wait<nothing>},
    {ZYDIS_MNEMONIC_FNOP, bind_numeric<nothing>},
    {ZYDIS_MNEMONIC_FINCSTP, bind_numeric<rotate<1>>},
    {ZYDIS_MNEMONIC_FDECSTP, bind_numeric<rotate<7>>},
    {ZYDIS_MNEMONIC_FFREE, bind_numeric<free_register<false>>},
    {ZYDIS_MNEMONIC_FFREEP, bind_numeric<free_register<true>>},
    {ZYDIS_MNEMONIC_FWAIT, bind_fwait},
};

}  // namespace

std::span<const BindRow> x87_control_rows() { return rows; }

}  // namespace doppel::interpreter
