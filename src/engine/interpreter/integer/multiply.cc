// MUL, IMUL, DIV, IDIV and the sign extensions of the accumulator. Intel SDM vol. 2.
// Undefined flags: host_flags.h.
#include "engine/interpreter/integer/binders.h"
#include "engine/interpreter/integer/host_flags.h"
#include "engine/interpreter/integer/operands.h"

namespace doppel::interpreter {
namespace {

template <class T>
struct Wide;
template <>
struct Wide<u8> {
  using type = u16;
};
template <>
struct Wide<u16> {
  using type = u32;
};
template <>
struct Wide<u32> {
  using type = u64;
};
template <>
struct Wide<u64> {
  using type = u128;
};
template <class T>
using wide_t = typename Wide<T>::type;

template <class T>
struct SignedWide {
  using type = std::make_signed_t<wide_t<T>>;
};
template <>
struct SignedWide<u64> {
  using type = i128;
};
template <class T>
using signed_wide_t = typename SignedWide<T>::type;

constexpr u8 al = x86::rax * 8, ah = al + 1, dx = x86::rdx * 8;

// The double-width accumulator: AX, DX:AX, EDX:EAX, RDX:RAX.
template <class T>
[[gnu::always_inline]] inline wide_t<T> accumulator(Cpu& cpu) {
  if constexpr (sizeof(T) == 1)
    return cpu.reg<u16>(al);
  else
    return static_cast<wide_t<T>>(cpu.reg<T>(dx)) << 8 * sizeof(T) | cpu.reg<T>(al);
}
template <class T>
[[gnu::always_inline]] inline void set_accumulator(Cpu& cpu, T low, T high) {
  if constexpr (sizeof(T) == 1) {
    cpu.reg<u8>(al) = low;
    cpu.reg<u8>(ah) = high;
  } else {
    cpu.set_reg<T>(al, low);
    cpu.set_reg<T>(dx, high);
  }
}

template <class T>
[[gnu::always_inline]] inline T high_half(wide_t<T> value) {
  return static_cast<T>(value >> 8 * sizeof(T));
}

template <class T>
[[gnu::always_inline]] inline signed_wide_t<T> widened(T value) {
  return static_cast<std::make_signed_t<T>>(value);
}

// MUL and IMUL of the accumulator.
#define DOPPEL_MULTIPLY(name)                                                                             \
  if constexpr (sizeof(T) == 1) {                                                                         \
    u16 product = low;                                                                                    \
    DOPPEL_ON_HOST(flags, name " %b[by]", "+a"(product), [by] "q"(factor.value));                         \
    low = static_cast<T>(product);                                                                        \
    high = static_cast<T>(product >> 8);                                                                  \
  } else {                                                                                                \
    DOPPEL_ON_HOST(flags, name " %[by]", DOPPEL_OUTPUTS("+a"(low), "=&d"(high)), [by] "r"(factor.value)); \
  }
template <class T, bool memory, bool is_signed>
void multiply(Cpu& cpu, const Op* op) {
  const Loaded<T> factor = source<T, memory>(cpu, op, op->a);
  if (!factor.ok) [[unlikely]]
    return faulted(cpu, op);
  T low = cpu.reg<T>(al), high;
  HostFlags flags(cpu.flags);
  if constexpr (is_signed) {
    DOPPEL_MULTIPLY("imul")
  } else {
    DOPPEL_MULTIPLY("mul")
  }
  set_accumulator<T>(cpu, low, high);
  flags.put(cpu.flags);
  return next(cpu, op);
}
#undef DOPPEL_MULTIPLY

// IMUL r, r/m (a *= b) and IMUL r, r/m, imm (a = b * immediate).
template <class T, bool immediate>
[[gnu::always_inline]] inline void multiply_to(Cpu& cpu, const Op* op, T left) {
  const T right = immediate ? static_cast<T>(op->immediate) : cpu.reg<T>(op->a);
  HostFlags flags(cpu.flags);
  DOPPEL_ON_HOST(flags, "imul %[by], %[to]", [to] "+r"(left), [by] "r"(right));
  cpu.set_reg<T>(op->a, left);
  flags.put(cpu.flags);
  return next(cpu, op);
}

template <class T, bool immediate>
void imul_to_reg(Cpu& cpu, const Op* op) {
  return multiply_to<T, immediate>(cpu, op, cpu.reg<T>(op->b));
}

template <class T, bool immediate, bool plain>
void imul_to_mem(Cpu& cpu, const Op* op) {
  const Loaded<T> left = fetch_operand<T, plain>(cpu, op);
  if (!left.ok) [[unlikely]] {
    if constexpr (plain) return imul_to_mem<T, immediate, false>(cpu, op);
    return faulted(cpu, op);
  }
  return multiply_to<T, immediate>(cpu, op, left.value);
}

template <class T, bool immediate>
Handler imul_to(bool memory, bool fast) {
  if (!memory) return imul_to_reg<T, immediate>;
  return fast ? imul_to_mem<T, immediate, true> : imul_to_mem<T, immediate, false>;
}

// What a division that does not fault does to the flags.
#define DOPPEL_DIVIDE(name)                                                                    \
  if constexpr (sizeof(T) == 1) {                                                              \
    auto both = static_cast<u16>(dividend);                                                    \
    DOPPEL_ON_HOST(flags, name " %b[by]", "+a"(both), [by] "q"(by));                           \
  } else {                                                                                     \
    T low = static_cast<T>(dividend), high = high_half<T>(dividend);                           \
    DOPPEL_ON_HOST(flags, name " %[by]", DOPPEL_OUTPUTS("+a"(low), "+d"(high)), [by] "r"(by)); \
  }
template <class T, bool is_signed>
[[gnu::always_inline]] inline void set_division_flags(Cpu& cpu, wide_t<T> dividend, T by) {
  if (!host_keeps_flags) return;
  HostFlags flags(cpu.flags);
  if constexpr (is_signed) {
    DOPPEL_DIVIDE("idiv")
  } else {
    DOPPEL_DIVIDE("div")
  }
  flags.put(cpu.flags);
}
#undef DOPPEL_DIVIDE

template <class T, bool memory>
void div(Cpu& cpu, const Op* op) {
  const Loaded<T> divisor = source<T, memory>(cpu, op, op->a);
  if (!divisor.ok) [[unlikely]]
    return faulted(cpu, op);
  const wide_t<T> dividend = accumulator<T>(cpu);
  // The quotient fits exactly if the high half is below the divisor, which also excludes zero.
  if (high_half<T>(dividend) >= divisor.value) [[unlikely]]
    return raise(cpu, op, x86::divide_error);
  set_division_flags<T, false>(cpu, dividend, divisor.value);
  if (high_half<T>(dividend) == 0) {  // spares the host a 128-bit division
    const T low = static_cast<T>(dividend);
    set_accumulator<T>(cpu, static_cast<T>(low / divisor.value), static_cast<T>(low % divisor.value));
  } else {
    set_accumulator<T>(cpu, static_cast<T>(dividend / divisor.value), static_cast<T>(dividend % divisor.value));
  }
  return next(cpu, op);
}

template <class T, bool memory>
void idiv(Cpu& cpu, const Op* op) {
  const Loaded<T> divisor = source<T, memory>(cpu, op, op->a);
  if (!divisor.ok) [[unlikely]]
    return faulted(cpu, op);
  const auto dividend = static_cast<signed_wide_t<T>>(accumulator<T>(cpu));
  const signed_wide_t<T> by = widened<T>(divisor.value);
  const auto least = static_cast<signed_wide_t<T>>(static_cast<wide_t<T>>(1) << (16 * sizeof(T) - 1));
  if (by == 0 || (by == -1 && dividend == least)) [[unlikely]]
    return raise(cpu, op, x86::divide_error);
  signed_wide_t<T> quotient, remainder;
  if (dividend == widened<T>(static_cast<T>(dividend)) && by != -1) {  // spares the host a 128-bit division
    using S = std::make_signed_t<T>;
    quotient = static_cast<S>(static_cast<S>(dividend) / static_cast<S>(by));
    remainder = static_cast<S>(static_cast<S>(dividend) % static_cast<S>(by));
  } else {
    quotient = dividend / by;
    remainder = dividend % by;
  }
  if (quotient != widened<T>(static_cast<T>(quotient))) [[unlikely]]
    return raise(cpu, op, x86::divide_error);
  set_division_flags<T, true>(cpu, static_cast<wide_t<T>>(dividend), divisor.value);
  set_accumulator<T>(cpu, static_cast<T>(quotient), static_cast<T>(remainder));
  return next(cpu, op);
}

// CBW, CWDE, CDQE
template <class To, class From>
void extend_accumulator(Cpu& cpu, const Op* op) {
  cpu.set_reg<To>(al, static_cast<To>(static_cast<std::make_signed_t<From>>(cpu.reg<From>(al))));
  return next(cpu, op);
}

// CWD, CDQ, CQO
template <class T>
void spread_sign(Cpu& cpu, const Op* op) {
  cpu.set_reg<T>(dx, static_cast<T>(static_cast<std::make_signed_t<T>>(cpu.reg<T>(al)) >> (8 * sizeof(T) - 1)));
  return next(cpu, op);
}

}  // namespace

Binding bind_mul(const x86::Instruction& instruction, Op&) {
  const auto& factor = instruction.operands[0];
  return {by_width(factor.bytes, [&]<class T>() -> Handler {
    return is_memory(factor) ? multiply<T, true, false> : multiply<T, false, false>;
  })};
}

Binding bind_imul(const x86::Instruction& instruction, Op& op) {
  const auto& [first, second, third, fourth] = instruction.operands;
  const bool memory = is_memory(first) || is_memory(second);
  if (instruction.operand_count == 1)
    return {by_width(first.bytes, [&]<class T>() -> Handler {
      return memory ? multiply<T, true, true> : multiply<T, false, true>;
    })};
  const bool immediate = instruction.operand_count == 3, fast = is_fast(op);
  return {by_word_width(first.bytes, [&]<class T>() -> Handler {
    return immediate ? imul_to<T, true>(memory, fast) : imul_to<T, false>(memory, fast);
  })};
}

Binding bind_div(const x86::Instruction& instruction, Op&) {
  const auto& divisor = instruction.operands[0];
  return {
      by_width(divisor.bytes, [&]<class T>() -> Handler { return is_memory(divisor) ? div<T, true> : div<T, false>; })};
}

Binding bind_idiv(const x86::Instruction& instruction, Op&) {
  const auto& divisor = instruction.operands[0];
  return {by_width(divisor.bytes,
                   [&]<class T>() -> Handler { return is_memory(divisor) ? idiv<T, true> : idiv<T, false>; })};
}

Binding bind_cbw(const x86::Instruction&, Op&) { return {extend_accumulator<u16, u8>}; }
Binding bind_cwde(const x86::Instruction&, Op&) { return {extend_accumulator<u32, u16>}; }
Binding bind_cdqe(const x86::Instruction&, Op&) { return {extend_accumulator<u64, u32>}; }
Binding bind_cwd(const x86::Instruction&, Op&) { return {spread_sign<u16>}; }
Binding bind_cdq(const x86::Instruction&, Op&) { return {spread_sign<u32>}; }
Binding bind_cqo(const x86::Instruction&, Op&) { return {spread_sign<u64>}; }

}  // namespace doppel::interpreter
