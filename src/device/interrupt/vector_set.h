// A set of the 256 interrupt vectors, as IRR, ISR and TMR are.
#pragma once

#include <array>
#include <bit>

#include "base/types.h"

namespace doppel {

class VectorSet {
 public:
  void set(u8 vector) { words_[vector / 64] |= bit(vector); }
  void clear(u8 vector) { words_[vector / 64] &= ~bit(vector); }
  void assign(u8 vector, bool value) { value ? set(vector) : clear(vector); }
  bool test(u8 vector) const { return words_[vector / 64] & bit(vector); }

  // The highest vector in the set; -1 if there is none.
  int highest() const {
    for (int i = 3; i >= 0; --i)
      if (words_[i]) return i * 64 + 63 - std::countl_zero(words_[i]);
    return -1;
  }

  // Vectors 32·index to 32·index+31, as the APIC's registers show them.
  u32 word(unsigned index) const { return static_cast<u32>(words_[index / 2] >> (32 * (index % 2))); }

  std::array<u64, 4>& words() { return words_; }
  const std::array<u64, 4>& words() const { return words_; }

 private:
  static constexpr u64 bit(u8 vector) { return u64{1} << (vector % 64); }
  std::array<u64, 4> words_{};
};

}  // namespace doppel
