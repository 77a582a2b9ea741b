// VZEROUPPER, VZEROALL, VLDMXCSR, VSTMXCSR. Intel SDM vol. 2.
#include "engine/interpreter/avx/vex.h"

namespace doppel::interpreter {
namespace {

constexpr u32 mxcsr_reserved = 0xffff'0000;

// Outside of 64-bit mode there are eight registers, and the others stay.
template <bool all>
void zero(Cpu& cpu, const Op* op) {
  DOPPEL_CHECK_AVX(cpu, op);
  const unsigned count = cpu.long64 ? 16 : 8;
  for (unsigned i = 0; i < count; ++i) {
    auto& words = cpu.s.vectors[i].words;
    if constexpr (all) words[0] = words[1] = 0;
    words[2] = words[3] = 0;
  }
  return next(cpu, op);
}

void vldmxcsr(Cpu& cpu, const Op* op) {
  DOPPEL_CHECK_AVX(cpu, op);
  const Loaded<u32> value = load_operand<u32>(cpu, op);
  if (!value.ok) return faulted(cpu, op);
  if (value.value & mxcsr_reserved) return raise(cpu, op, x86::general_protection, 0);
  cpu.s.mxcsr = value.value;
  apply_mxcsr(cpu);
  return next(cpu, op);
}

void vstmxcsr(Cpu& cpu, const Op* op) {
  DOPPEL_CHECK_AVX(cpu, op);
  collect_mxcsr(cpu);
  if (!store_operand<u32>(cpu, op, cpu.s.mxcsr)) return faulted(cpu, op);
  return next(cpu, op);
}

Binding bind_zeroupper(const x86::Instruction&, Op&) { return {zero<false>}; }
Binding bind_zeroall(const x86::Instruction&, Op&) { return {zero<true>}; }
Binding bind_vldmxcsr(const x86::Instruction&, Op&) { return {vldmxcsr}; }
Binding bind_vstmxcsr(const x86::Instruction&, Op&) { return {vstmxcsr}; }

constexpr BindRow rows[] = {
    {ZYDIS_MNEMONIC_VZEROUPPER, bind_zeroupper},
    {ZYDIS_MNEMONIC_VZEROALL, bind_zeroall},
    {ZYDIS_MNEMONIC_VLDMXCSR, bind_vldmxcsr},
    {ZYDIS_MNEMONIC_VSTMXCSR, bind_vstmxcsr},
};

}  // namespace

std::span<const BindRow> avx_control_rows() { return rows; }

}  // namespace doppel::interpreter
