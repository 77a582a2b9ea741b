// Page-table entries and page-fault error codes, Intel SDM vol. 3 §4 (edition 085). Pure definitions.
//
//   63 62….52 51…12        11…9 8 7  6 5 4   3   2   1   0
//   XD ignored physical    avl  G PS D A PCD PWT U/S R/W P
#pragma once

#include "base/bits.h"

namespace doppel::x86 {

namespace pte {
using Present = Bits<0>;
using Writable = Bits<1>;
using User = Bits<2>;
using Accessed = Bits<5>;
using Dirty = Bits<6>;
using PageSize = Bits<7>;  // in a directory or directory-pointer entry
using Global = Bits<8>;
using ExecuteDisable = Bits<63>;
}  // namespace pte

namespace page_fault_code {
constexpr u32 present = 1 << 0, write = 1 << 1, user = 1 << 2, reserved = 1 << 3, fetch = 1 << 4;
}

constexpr unsigned physical_address_bits = 40;  // CPUID 80000008H
constexpr unsigned linear_address_bits = 48;
constexpr u64 physical_mask = (u64{1} << physical_address_bits) - 1;

constexpr bool is_canonical(u64 linear) { return sign_extend(linear, linear_address_bits) == linear; }

}  // namespace doppel::x86
