// Where a linear address leads to, as the page tables stand: for observers (traces, debuggers), who must change nothing. No
// rights are checked, no accessed or dirty bits set. Intel SDM vol. 3 §4.2–4.5: no paging, 32-bit with PSE, PAE, 4-level.
#pragma once

#include <functional>
#include <optional>

#include "isa/x86/registers.h"

namespace doppel::x86 {

// Reads `bytes` (4 or 8) of guest-physical memory; nothing where there is none.
using PhysicalReader = std::function<std::optional<u64>(u64 physical, unsigned bytes)>;

std::optional<u64> page_walk(const X86State& state, u64 linear, const PhysicalReader& read);

}  // namespace doppel::x86
