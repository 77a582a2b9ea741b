// What CPUID answers: one table for the processor model "Doppel x86-64-v2". Intel SDM vol. 2 "CPUID", edition 085.
// A feature is listed here exactly when the engines execute it.
#pragma once

#include "base/types.h"

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
};

// A leaf beyond the last basic or extended one answers as the last basic leaf does.
CpuidResult cpuid(const CpuidInput& input, u32 leaf, u32 subleaf);

// Family 6, model 6AH (of the Ice Lake server line: no model-specific workaround of Linux 6.1 applies), stepping 15. EDX after RESET.
constexpr u32 processor_signature = 0x0006'06af;
constexpr u64 tsc_hertz = 1'000'000'000;     // leaf 15H: the crystal, and the ratio is 1
constexpr u64 apic_timer_hertz = tsc_hertz;  // the local APIC timer runs from the crystal
constexpr u64 supported_xcr0 = 3;            // x87, SSE

}  // namespace doppel::x86
