// Bit fields named once: `using Present = Bits<0>; if (Present::get(entry)) …`
#pragma once

#include "base/types.h"

namespace doppel {

// The field of `Width` bits that starts at bit `Shift` of a 64-bit word.
template <unsigned Shift, unsigned Width = 1>
struct Bits {
  static_assert(Width >= 1 && Shift + Width <= 64);
  static constexpr u64 low_mask = Width == 64 ? ~u64{0} : (u64{1} << Width) - 1;
  static constexpr u64 mask = low_mask << Shift;
  static constexpr unsigned shift = Shift;

  static constexpr u64 get(u64 word) { return (word >> Shift) & low_mask; }
  static constexpr u64 set(u64 word, u64 value) { return (word & ~mask) | ((value & low_mask) << Shift); }
  static constexpr u64 of(u64 value) { return (value & low_mask) << Shift; }
};

constexpr u64 align_down(u64 value, u64 alignment) { return value & ~(alignment - 1); }
constexpr u64 align_up(u64 value, u64 alignment) { return (value + alignment - 1) & ~(alignment - 1); }
constexpr u64 low_bits(unsigned width) { return width >= 64 ? ~u64{0} : (u64{1} << width) - 1; }
constexpr u64 sign_extend(u64 value, unsigned width) {
  const u64 sign = u64{1} << (width - 1);
  return ((value & low_bits(width)) ^ sign) - sign;
}

}  // namespace doppel
