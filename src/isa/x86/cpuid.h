// What CPUID answers: one table, and the bits of the CPU model (cpu_model.h). Intel SDM vol. 2 "CPUID", edition 085.
// A feature is listed here exactly when the engines execute it.
#pragma once

#include "base/types.h"
#include "isa/x86/cpu_model.h"

namespace doppel::x86 {

struct CpuidResult {
  u32 eax = 0, ebx = 0, ecx = 0, edx = 0;
};

// What the answer depends on besides the leaf.
struct CpuidInput {
  unsigned index = 0;    // of this processor: its x2APIC ID
  unsigned count = 1;    // processors: the cores of one package, one thread each
  bool osxsave = false;  // CR4.OSXSAVE
  u64 xcr0 = 1;
  CpuModel model{};
};

// A leaf beyond the last basic or extended one answers as the last basic leaf does.
CpuidResult cpuid(const CpuidInput& input, u32 leaf, u32 subleaf);

// Family 6, model 6AH (of the Ice Lake server line: no model-specific workaround of Linux 6.1 applies), stepping 15. EDX after RESET.
constexpr u32 processor_signature = 0x0006'06af;
constexpr u64 tsc_hertz = 1'000'000'000;     // leaf 15H: the crystal, and the ratio is 1
constexpr u64 apic_timer_hertz = tsc_hertz;  // the local APIC timer runs from the crystal

// State components and the area that XSAVE gives them, Intel SDM vol. 1 §13.4.
namespace xcr0 {
constexpr u64 x87 = 1 << 0, sse = 1 << 1, avx = 1 << 2;
}
constexpr u32 avx_component_offset = 512 + 64, avx_component_bytes = 256;
constexpr u32 xsave_bytes(u64 components) {
  return avx_component_offset + (components & xcr0::avx ? avx_component_bytes : 0);
}

}  // namespace doppel::x86
