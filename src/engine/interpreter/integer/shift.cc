// SHL, SHR, SAR, ROL, ROR, RCL, RCR, SHLD, SHRD. Intel SDM vol. 2.
//
// The count is taken modulo 32 (64 for 64-bit operands); a count of zero leaves all flags alone. Rotates change CF and OF only.
// OF is defined for a count of 1; for others the same formula is used. CF after SHL and SHR by more than the width is 0.
#include "engine/interpreter/integer/binders.h"
#include "engine/interpreter/integer/operands.h"

namespace doppel::interpreter {
namespace {

template <class T>
constexpr unsigned width = 8 * sizeof(T);
template <class T>
constexpr unsigned count_mask = sizeof(T) == 8 ? 63 : 31;
template <class T>
constexpr bool top(T value) {
  return value >> (width<T> - 1);
}

// A shift by a count that may reach the width of the operand, which C++ does not define. 32- and 64-bit counts never do.
template <class T>
[[gnu::always_inline]] inline T left(T a, unsigned count) {
  if (sizeof(T) < 4 && count >= width<T>) return 0;
  return static_cast<T>(a << count);
}
template <class T>
[[gnu::always_inline]] inline T right(T a, unsigned count) {
  if (sizeof(T) < 4 && count >= width<T>) return 0;
  return static_cast<T>(a >> count);
}
template <class T>
[[gnu::always_inline]] inline T right_signed(T a, unsigned count) {
  if (sizeof(T) < 4 && count >= width<T>) count = width<T> - 1;
  return static_cast<T>(static_cast<std::make_signed_t<T>>(a) >> count);
}

// LazyFlags::carries from bit 0 of two words: CF, and CF ^ OF. Without branches: shifted-out bits cannot be predicted.
[[gnu::always_inline]] inline u64 carries_of(u64 cf, u64 cf_xor_of) { return cf << 63 | (cf_xor_of & 1) << 62; }
template <class T>
[[gnu::always_inline]] inline u64 top_two(T value) {
  return u64{value} << (64 - width<T>)&u64{3} << 62;
}
template <class T>
[[gnu::always_inline]] inline void set_shifted(LazyFlags& flags, T value, u64 carries) {
  flags.set_result(value);
  flags.carries = carries;
}
// Rotates keep AF, besides ZF, SF and PF.
[[gnu::always_inline]] inline void set_rotated(LazyFlags& flags, u64 carries) {
  flags.carries = carries | (flags.carries & 8);
}

// Each operation: compute(flags, a, count) and set(flags, a, value, count), with 1 <= count <= count_mask.

struct Shl {  // OF = CF ^ top bit
  template <class T>
  static T compute(const LazyFlags&, T a, unsigned count) {
    return left(a, count);
  }
  template <class T>
  static void set(LazyFlags& flags, T a, T value, unsigned count) {
    set_shifted(flags, value, top_two(left(a, count - 1)));
  }
};

struct Shr {  // OF = top bit before the last step
  template <class T>
  static T compute(const LazyFlags&, T a, unsigned count) {
    return right(a, count);
  }
  template <class T>
  static void set(LazyFlags& flags, T a, T value, unsigned count) {
    const T last = right(a, count - 1);
    set_shifted(flags, value, carries_of(last, last ^ last >> (width<T> - 1)));
  }
};

struct Sar {  // OF = 0
  template <class T>
  static T compute(const LazyFlags&, T a, unsigned count) {
    return right_signed(a, count);
  }
  template <class T>
  static void set(LazyFlags& flags, T a, T value, unsigned count) {
    const T last = right_signed(a, count - 1);
    set_shifted(flags, value, carries_of(last, last));
  }
};

struct Rol {  // CF = low bit, OF = CF ^ top bit
  template <class T>
  static T compute(const LazyFlags&, T a, unsigned count) {
    count &= width<T> - 1;
    return static_cast<T>(a << count | a >> (-count & (width<T> - 1)));
  }
  template <class T>
  static void set(LazyFlags& flags, T, T value, unsigned) {
    set_rotated(flags, carries_of(value, value >> (width<T> - 1)));
  }
};

struct Ror {  // CF = top bit, OF = CF ^ the bit below
  template <class T>
  static T compute(const LazyFlags&, T a, unsigned count) {
    count &= width<T> - 1;
    return static_cast<T>(a >> count | a << (-count & (width<T> - 1)));
  }
  template <class T>
  static void set(LazyFlags& flags, T, T value, unsigned) {
    set_rotated(flags, top_two(value));
  }
};

// Through the carry: a rotation of width + 1 bits. A count that is a multiple of that changes nothing.
struct Rcl {  // OF = CF ^ top bit
  template <class T>
  static T compute(const LazyFlags& flags, T a, unsigned count) {
    count %= width<T> + 1;
    if (count == 0) return a;
    const T through = static_cast<T>(T{flags.cf()} << (count - 1));
    const T low = count == 1 ? T{0} : static_cast<T>(a >> (width<T> + 1 - count));
    return static_cast<T>((count == width<T> ? T{0} : static_cast<T>(a << count)) | through | low);
  }
  template <class T>
  static void set(LazyFlags& flags, T a, T value, unsigned count) {
    count %= width<T> + 1;
    if (count == 0) return;
    set_rotated(flags, carries_of(a >> (width<T> - count), value >> (width<T> - 1)));
  }
};

struct Rcr {  // OF = the two top bits differ
  template <class T>
  static T compute(const LazyFlags& flags, T a, unsigned count) {
    count %= width<T> + 1;
    if (count == 0) return a;
    const T through = static_cast<T>(T{flags.cf()} << (width<T> - count));
    const T high = count == 1 ? T{0} : static_cast<T>(a << (width<T> + 1 - count));
    return static_cast<T>((count == width<T> ? T{0} : static_cast<T>(a >> count)) | through | high);
  }
  template <class T>
  static void set(LazyFlags& flags, T a, T value, unsigned count) {
    count %= width<T> + 1;
    if (count == 0) return;
    const u64 cf = a >> (count - 1);
    set_rotated(flags, carries_of(cf, cf ^ value >> (width<T> - 1) ^ value >> (width<T> - 2)));
  }
};

// ---- forms ----

// By an immediate count, already masked and not zero.
template <class Operation, class T>
void shift_reg_imm(Cpu& cpu, const Op* op) {
  const auto count = static_cast<unsigned>(op->immediate);
  const T a = cpu.reg<T>(op->a);
  const T value = Operation::template compute<T>(cpu.flags, a, count);
  Operation::template set<T>(cpu.flags, a, value, count);
  cpu.set_reg<T>(op->a, value);
  return next(cpu, op);
}

template <class Operation, class T>
void shift_reg_cl(Cpu& cpu, const Op* op) {
  const unsigned count = cpu.reg<u8>(x86::rcx * 8) & count_mask<T>;
  const T a = cpu.reg<T>(op->a);
  if (count == 0) {
    cpu.set_reg<T>(op->a, a);  // a 32-bit register is zero-extended even so
    return next(cpu, op);
  }
  const T value = Operation::template compute<T>(cpu.flags, a, count);
  Operation::template set<T>(cpu.flags, a, value, count);
  cpu.set_reg<T>(op->a, value);
  return next(cpu, op);
}

// A count of zero still reads and writes memory.
template <class Operation, class T, bool immediate>
void shift_mem(Cpu& cpu, const Op* op) {
  const unsigned count = immediate ? static_cast<unsigned>(op->immediate) : cpu.reg<u8>(x86::rcx * 8) & count_mask<T>;
  const Loaded<T> a = modify<T>(cpu, op, [flags = &cpu.flags, count](T old) {
    return count == 0 ? old : Operation::template compute<T>(*flags, old, count);
  });
  if (!a.ok) [[unlikely]]
    return faulted(cpu, op);
  if (count != 0)
    Operation::template set<T>(cpu.flags, a.value, Operation::template compute<T>(cpu.flags, a.value, count), count);
  return next(cpu, op);
}

// SHL/SHR/… r, 0: nothing but the zero-extension.
template <class T>
void shift_reg_zero(Cpu& cpu, const Op* op) {
  cpu.set_reg<T>(op->a, cpu.reg<T>(op->a));
  return next(cpu, op);
}

template <class Operation>
Binding bind_shift(const x86::Instruction& instruction, Op& op) {
  const auto& [to, count, third, fourth] = instruction.operands;
  const bool immediate = is_immediate(count);
  return {by_width(to.bytes, [&]<class T>() -> Handler {
    if (immediate) op.immediate &= count_mask<T>;
    if (is_memory(to)) return immediate ? shift_mem<Operation, T, true> : shift_mem<Operation, T, false>;
    if (!immediate) return shift_reg_cl<Operation, T>;
    return op.immediate == 0 ? shift_reg_zero<T> : shift_reg_imm<Operation, T>;
  })};
}

// ---- SHLD, SHRD ----

// A 16-bit shift by more than 16 is undefined; this gives what a 48-bit register a:b:a would.
template <class T, bool to_left>
[[gnu::always_inline]] inline T double_shift(T a, T b, unsigned count) {
  if constexpr (sizeof(T) == 2) {
    const u64 joined = u64{a} << 32 | u64{b} << 16 | a;
    return static_cast<T>(to_left ? joined << count >> 32 : joined >> count);
  } else {
    return static_cast<T>(to_left ? a << count | b >> (width<T> - count) : a >> count | b << (width<T> - count));
  }
}

template <class T, bool to_left>
[[gnu::always_inline]] inline void set_double_shift_flags(LazyFlags& flags, T a, T b, T value, unsigned count) {
  bool cf;
  if (count <= width<T>)
    cf = (to_left ? a >> (width<T> - count) : a >> (count - 1)) & 1;
  else
    cf = (to_left ? b >> (2 * width<T> - count) : b >> (count - width<T> - 1)) & 1;
  set_status(flags, value, cf, top(value) != top(a));
}

// op->b: the register that is shifted in; op->c: CL, or 0 if the count is the immediate.
template <class T, bool to_left, bool memory>
void shift_double(Cpu& cpu, const Op* op) {
  const unsigned count = (op->c ? cpu.reg<u8>(op->c) : static_cast<unsigned>(op->immediate)) & count_mask<T>;
  const T b = cpu.reg<T>(op->b);
  T a;
  if constexpr (memory) {
    const Loaded<T> old = modify<T>(
        cpu, op, [b, count](T from) { return count == 0 ? from : double_shift<T, to_left>(from, b, count); });
    if (!old.ok) [[unlikely]]
      return faulted(cpu, op);
    a = old.value;
  } else {
    a = cpu.reg<T>(op->a);
    cpu.set_reg<T>(op->a, count == 0 ? a : double_shift<T, to_left>(a, b, count));
  }
  if (count != 0) set_double_shift_flags<T, to_left>(cpu.flags, a, b, double_shift<T, to_left>(a, b, count), count);
  return next(cpu, op);
}

template <bool to_left>
Binding bind_double(const x86::Instruction& instruction, Op&) {
  const auto& to = instruction.operands[0];
  return {by_word_width(to.bytes, [&]<class T>() -> Handler {
    return is_memory(to) ? shift_double<T, to_left, true> : shift_double<T, to_left, false>;
  })};
}

}  // namespace

Binding bind_shl(const x86::Instruction& instruction, Op& op) { return bind_shift<Shl>(instruction, op); }
Binding bind_shr(const x86::Instruction& instruction, Op& op) { return bind_shift<Shr>(instruction, op); }
Binding bind_sar(const x86::Instruction& instruction, Op& op) { return bind_shift<Sar>(instruction, op); }
Binding bind_rol(const x86::Instruction& instruction, Op& op) { return bind_shift<Rol>(instruction, op); }
Binding bind_ror(const x86::Instruction& instruction, Op& op) { return bind_shift<Ror>(instruction, op); }
Binding bind_rcl(const x86::Instruction& instruction, Op& op) { return bind_shift<Rcl>(instruction, op); }
Binding bind_rcr(const x86::Instruction& instruction, Op& op) { return bind_shift<Rcr>(instruction, op); }
Binding bind_shld(const x86::Instruction& instruction, Op& op) { return bind_double<true>(instruction, op); }
Binding bind_shrd(const x86::Instruction& instruction, Op& op) { return bind_double<false>(instruction, op); }

}  // namespace doppel::interpreter
