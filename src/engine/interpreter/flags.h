// Lazy status flags. Arithmetic stores its result and carry-out vector; each flag is then a few bit operations, with no
// record of which operation it was:
//   ZF = result == 0          SF = bit 63 of result ^ adjust       PF = even parity of the low byte of result ^ adjust
//   CF = carries[63]          OF = carries[63] ^ carries[62]       AF = carries[3]
// `result` is sign-extended from the operand size; `carries` is shifted so that the carry out of the sign bit is bit 63.
// `adjust` (normally 0) makes the combinations expressible that no result has, e.g. ZF and SF together after POPF.
#pragma once

#include <type_traits>

#include "base/types.h"
#include "isa/x86/registers.h"

namespace doppel::interpreter {

template <class T>
constexpr u64 sign_extended(T value) {
  return static_cast<u64>(static_cast<i64>(static_cast<std::make_signed_t<T>>(value)));
}

struct LazyFlags {
  u64 result = 1;
  u64 carries = 0;
  u64 adjust = 0;

  bool zf() const { return result == 0; }
  bool sf() const { return (result ^ adjust) >> 63; }
  bool pf() const {
    const u64 low = result ^ adjust;
    return (0x9669 >> ((low ^ low >> 4) & 15)) & 1;  // bit n: whether n has an even number of ones
  }
  bool cf() const { return carries >> 63; }
  bool of() const { return (carries ^ (carries << 1)) >> 63; }
  bool af() const { return (carries >> 3) & 1; }
  bool less() const { return ((result ^ adjust) ^ carries ^ (carries << 1)) >> 63; }  // SF != OF

  u64 pack() const {  // the six status flags, in place
    using namespace x86;
    return (cf() ? rflags::cf : 0) | (pf() ? rflags::pf : 0) | (af() ? rflags::af : 0) | (zf() ? rflags::zf : 0) |
           (sf() ? rflags::sf : 0) | (of() ? rflags::of : 0);
  }
  void unpack(u64 flags) {
    using namespace x86;
    const bool zero = flags & rflags::zf;
    result = zero ? 0 : u64{1} << 32;  // low byte zero: parity even
    adjust = (flags & rflags::sf ? u64{1} << 63 : 0) | (flags & rflags::pf ? 0 : 1);
    set_carries(flags & rflags::cf, flags & rflags::of, flags & rflags::af);
  }
  void set_carries(bool cf, bool of, bool af) { carries = u64{cf} << 63 | u64{cf != of} << 62 | u64{af} << 3; }
  void set_cf(bool cf) { set_carries(cf, of(), af()); }

  template <class T>
  void set_result(T value) {
    result = sign_extended(value);
    adjust = 0;
  }
  // After result = a + b (+ carry in); any carry in is already in `value`.
  template <class T>
  void set_add(T a, T b, T value) {
    set_result(value);
    carries = place<T>(static_cast<T>((a & b) | ((a | b) & ~value)));
  }
  // After value = a - b (- borrow in).
  template <class T>
  void set_sub(T a, T b, T value) {
    set_result(value);
    carries = place<T>(static_cast<T>((~a & b) | ((~a | b) & value)));
  }
  template <class T>
  void set_logic(T value) {
    set_result(value);
    carries = 0;
  }

  template <class T>
  static u64 place(T vector) {
    if constexpr (sizeof(T) == 8) return vector;
    return (u64{vector} << (64 - 8 * sizeof(T))) | (vector & 8);
  }
};

// Condition codes as opcodes number them (0 = O … 15 = NLE), Intel SDM vol. 1 appendix B.
template <unsigned code>
inline bool condition(const LazyFlags& flags) {
  bool value;
  if constexpr ((code >> 1) == 0) value = flags.of();
  if constexpr ((code >> 1) == 1) value = flags.cf();
  if constexpr ((code >> 1) == 2) value = flags.zf();
  if constexpr ((code >> 1) == 3) value = flags.cf() || flags.zf();
  if constexpr ((code >> 1) == 4) value = flags.sf();
  if constexpr ((code >> 1) == 5) value = flags.pf();
  if constexpr ((code >> 1) == 6) value = flags.less();
  if constexpr ((code >> 1) == 7) value = flags.less() || flags.zf();
  return value != static_cast<bool>(code & 1);
}

}  // namespace doppel::interpreter
