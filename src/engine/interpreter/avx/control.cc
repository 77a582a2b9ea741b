// VZEROUPPER, VZEROALL. Intel SDM vol. 2.
#include "engine/interpreter/avx/vex.h"

namespace doppel::interpreter {
namespace {

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

Binding bind_zeroupper(const x86::Instruction&, Op&) { return {zero<false>}; }
Binding bind_zeroall(const x86::Instruction&, Op&) { return {zero<true>}; }

constexpr BindRow rows[] = {
    {ZYDIS_MNEMONIC_VZEROUPPER, bind_zeroupper},
    {ZYDIS_MNEMONIC_VZEROALL, bind_zeroall},
};

}  // namespace

std::span<const BindRow> avx_control_rows() { return rows; }

}  // namespace doppel::interpreter
