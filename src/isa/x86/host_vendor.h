// Whose processor the host has. Intel's and AMD's manuals differ in places, and what does as the host does, or is compared with it, must
// know which of the two it has in front of it. All other vendors count as AMD: they leave fewer differences to allow.
#pragma once

#include <cpuid.h>

namespace doppel::x86 {

inline bool host_is_intel() {
  static const bool is = [] {
    unsigned eax, ebx, ecx, edx;
    return __get_cpuid(0, &eax, &ebx, &ecx, &edx) && ebx == signature_INTEL_ebx && ecx == signature_INTEL_ecx &&
           edx == signature_INTEL_edx;
  }();
  return is;
}

}  // namespace doppel::x86
