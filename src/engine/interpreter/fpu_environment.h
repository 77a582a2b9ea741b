// While a vCPU runs, the host's MXCSR is the guest's with every exception masked: SSE instructions then execute on the host's own
// units with the guest's rounding and denormal modes, and the sticky flags collect there until the guest asks for them.
#pragma once

#include <xmmintrin.h>

#include "engine/interpreter/cpu.h"

namespace doppel::interpreter {

constexpr u32 mxcsr_masks = 0x1f80;
constexpr u32 mxcsr_flags = 0x003f;

// Guest → host: after s.mxcsr was written.
inline void apply_mxcsr(const Cpu& cpu) { _mm_setcsr(cpu.s.mxcsr | mxcsr_masks); }
// Host → guest: before s.mxcsr is read. Flags only ever accumulate.
inline void collect_mxcsr(Cpu& cpu) { cpu.s.mxcsr |= _mm_getcsr() & mxcsr_flags; }

// Around run(): the guest's modes inside, the host's own outside. The x87 unit keeps its default control word; only its sticky flags
// are cleared, which x87/native.h relies on.
class HostFpuScope {
 public:
  explicit HostFpuScope(Cpu& cpu) : cpu_(cpu), saved_(_mm_getcsr()) {
    apply_mxcsr(cpu);
    asm volatile("fnclex");
  }
  ~HostFpuScope() {
    collect_mxcsr(cpu_);
    _mm_setcsr(saved_);
  }
  HostFpuScope(const HostFpuScope&) = delete;
  HostFpuScope& operator=(const HostFpuScope&) = delete;

 private:
  Cpu& cpu_;
  const u32 saved_;
};

}  // namespace doppel::interpreter
