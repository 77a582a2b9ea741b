// SHL, SHR, SAR, ROL, ROR, RCL, RCR, SHLD, SHRD. Intel SDM vol. 2.
//
// The count is taken modulo 32 (64 for 64-bit operands); a count of zero leaves all flags alone. Rotates change CF and OF only.
// OF is defined for a count of 1 only; host_flags.h says why the host shifts, too.
#include "engine/interpreter/integer/binders.h"
#include "engine/interpreter/integer/host_flags.h"
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

// CF and OF of a host instruction that shifts or rotates `value` by CL, and finds CF and OF as they were.
struct ShiftFlags {
  bool cf, of;
  u64 carries() const { return u64{cf} << 63 | u64{cf != of} << 62; }
};
#define DOPPEL_SHIFT(name)                                                                                   \
  template <class T>                                                                                         \
  [[gnu::always_inline]] static ShiftFlags host(T value, unsigned count, ShiftFlags flags) {                 \
    asm(name " %%cl, %0" : "+q"(value), "=@ccc"(flags.cf), "=@cco"(flags.of) : "c"(static_cast<u8>(count))); \
    return flags;                                                                                            \
  }
#define DOPPEL_ROTATE_THROUGH_CARRY(name)                                                    \
  template <class T>                                                                         \
  [[gnu::always_inline]] static ShiftFlags host(T value, unsigned count, ShiftFlags flags) { \
    u8 overflow = flags.of;                                                                  \
    asm("addb $0x7f, %1\n\tsahf\n\t" name " %%cl, %0"                                        \
        : "+q"(value), "+q"(overflow), "=@ccc"(flags.cf), "=@cco"(flags.of)                  \
        : "c"(static_cast<u8>(count)), "a"(u32{flags.cf} << 8));                             \
    return flags;                                                                            \
  }

// Whether a rotation of a register by an immediate other than 1 leaves OF alone on this host.
bool rotation_keeps_of() {
  static const bool keeps = [] {
    u8 overflow = 1;
    u32 value = 0;
    bool of;
    asm("addb $0x7f, %1\n\trol $2, %0" : "+r"(value), "+q"(overflow), "=@cco"(of));
    return of;
  }();
  return keeps;
}

enum class Kind : u8 { shift, rotate, rotate_through_carry };

// Each operation: compute(flags, a, count), and host(a, count, flags), with 1 <= count <= count_mask. Rotates keep AF, ZF, SF and PF.

struct Shl {
  static constexpr Kind kind = Kind::shift;
  template <class T>
  static T compute(const LazyFlags&, T a, unsigned count) {
    return left(a, count);
  }
  DOPPEL_SHIFT("shl")
};

struct Shr {
  static constexpr Kind kind = Kind::shift;
  template <class T>
  static T compute(const LazyFlags&, T a, unsigned count) {
    return right(a, count);
  }
  DOPPEL_SHIFT("shr")
};

struct Sar {
  static constexpr Kind kind = Kind::shift;
  template <class T>
  static T compute(const LazyFlags&, T a, unsigned count) {
    return right_signed(a, count);
  }
  DOPPEL_SHIFT("sar")
};

struct Rol {
  static constexpr Kind kind = Kind::rotate;
  template <class T>
  static T compute(const LazyFlags&, T a, unsigned count) {
    count &= width<T> - 1;
    return static_cast<T>(a << count | a >> (-count & (width<T> - 1)));
  }
  DOPPEL_SHIFT("rol")
};

struct Ror {
  static constexpr Kind kind = Kind::rotate;
  template <class T>
  static T compute(const LazyFlags&, T a, unsigned count) {
    count &= width<T> - 1;
    return static_cast<T>(a >> count | a << (-count & (width<T> - 1)));
  }
  DOPPEL_SHIFT("ror")
};

// Through the carry: a rotation of width + 1 bits. A count that is a multiple of that changes nothing.
struct Rcl {
  static constexpr Kind kind = Kind::rotate_through_carry;
  template <class T>
  static T compute(const LazyFlags& flags, T a, unsigned count) {
    count %= width<T> + 1;
    if (count == 0) return a;
    const T through = static_cast<T>(T{flags.cf()} << (count - 1));
    const T low = count == 1 ? T{0} : static_cast<T>(a >> (width<T> + 1 - count));
    return static_cast<T>((count == width<T> ? T{0} : static_cast<T>(a << count)) | through | low);
  }
  DOPPEL_ROTATE_THROUGH_CARRY("rcl")
};

struct Rcr {
  static constexpr Kind kind = Kind::rotate_through_carry;
  template <class T>
  static T compute(const LazyFlags& flags, T a, unsigned count) {
    count %= width<T> + 1;
    if (count == 0) return a;
    const T through = static_cast<T>(T{flags.cf()} << (width<T> - count));
    const T high = count == 1 ? T{0} : static_cast<T>(a << (width<T> + 1 - count));
    return static_cast<T>((count == width<T> ? T{0} : static_cast<T>(a >> count)) | through | high);
  }
  DOPPEL_ROTATE_THROUGH_CARRY("rcr")
};
#undef DOPPEL_SHIFT
#undef DOPPEL_ROTATE_THROUGH_CARRY

template <class Operation, class T>
[[gnu::always_inline]] inline void set_shift_flags(LazyFlags& flags, T a, T value, unsigned count) {
  const u64 carries = Operation::template host<T>(a, count, {flags.cf(), flags.of()}).carries();
  if constexpr (Operation::kind != Kind::shift) {
    flags.carries = carries | (flags.carries & 8);
  } else {
    flags.set_result(value);
    flags.carries = carries | (host_keeps_flags ? 8 : 0);  // AF
  }
}

// ---- forms ----

// By an immediate count, already masked and not zero.
template <class Operation, class T>
void shift_reg_imm(Cpu& cpu, const Op* op) {
  const auto count = static_cast<unsigned>(op->immediate);
  const T a = cpu.reg<T>(op->a);
  const T value = Operation::template compute<T>(cpu.flags, a, count);
  [[maybe_unused]] const bool of = cpu.flags.of();
  set_shift_flags<Operation, T>(cpu.flags, a, value, count);
  if constexpr (Operation::kind == Kind::rotate)
    if (count != 1 && rotation_keeps_of()) cpu.flags.set_carries(cpu.flags.cf(), of, cpu.flags.af());
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
  set_shift_flags<Operation, T>(cpu.flags, a, value, count);
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
    set_shift_flags<Operation, T>(cpu.flags, a.value, Operation::template compute<T>(cpu.flags, a.value, count), count);
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

template <class T>
struct Shifted {
  T value;
  HostFlags flags;
};
template <class T, bool to_left>
[[gnu::always_inline]] inline Shifted<T> double_shift(T a, T b, unsigned count, const LazyFlags& before) {
  Shifted<T> to{a, HostFlags(before)};
  if constexpr (to_left) {
    DOPPEL_ON_HOST(to.flags, "shld %%cl, %[b], %[to]", [to] "+r"(to.value), "c"(static_cast<u8>(count)), [b] "r"(b));
  } else {
    DOPPEL_ON_HOST(to.flags, "shrd %%cl, %[b], %[to]", [to] "+r"(to.value), "c"(static_cast<u8>(count)), [b] "r"(b));
  }
  return to;
}

// op->b: the register that is shifted in; op->c: CL, or 0 if the count is the immediate.
template <class T, bool to_left, bool memory>
void shift_double(Cpu& cpu, const Op* op) {
  const unsigned count = (op->c ? cpu.reg<u8>(op->c) : static_cast<unsigned>(op->immediate)) & count_mask<T>;
  const T b = cpu.reg<T>(op->b);
  T a;
  if constexpr (memory) {
    const Loaded<T> old = modify<T>(cpu, op, [b, count, flags = &cpu.flags](T from) {
      return double_shift<T, to_left>(from, b, count, *flags).value;
    });
    if (!old.ok) [[unlikely]]
      return faulted(cpu, op);
    a = old.value;
  } else {
    a = cpu.reg<T>(op->a);
    cpu.set_reg<T>(op->a, double_shift<T, to_left>(a, b, count, cpu.flags).value);
  }
  if (count != 0) double_shift<T, to_left>(a, b, count, cpu.flags).flags.put(cpu.flags);
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
