// SIMD floating-point exceptions while the guest has some unmasked, Intel SDM vol. 1 §11.5.
#include "engine/interpreter/sse/vector.h"

namespace doppel::interpreter {
namespace {

constexpr u32 before_computation = 0x07;  // IE, DE, ZE are found in the operands; OE, UE, PE in the result

}  // namespace

void begin_simd(Cpu& cpu) {
  collect_mxcsr(cpu);
  _mm_setcsr((cpu.s.mxcsr & ~mxcsr_flags) | mxcsr_masks);
}

bool end_simd(Cpu& cpu) {
  u32 flags = _mm_getcsr() & mxcsr_flags;
  const u32 unmasked = ~(cpu.s.mxcsr >> 7) & mxcsr_flags;
  if (flags & unmasked & before_computation) flags &= before_computation;  // then nothing was computed
  cpu.s.mxcsr |= flags;
  apply_mxcsr(cpu);
  return flags & unmasked;
}

}  // namespace doppel::interpreter
