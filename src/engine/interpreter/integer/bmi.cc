// BMI1, BMI2, LZCNT, ADX and MOVBE. Intel SDM vol. 2. All but LZCNT, TZCNT, ADCX, ADOX and MOVBE are VEX encoded, and so without 8 and
// 16 bit forms; they need no operating system support.
#include <bit>

#include "engine/interpreter/integer/alu.h"
#include "engine/interpreter/integer/binders.h"
#include "engine/interpreter/integer/host_flags.h"
#include "engine/interpreter/integer/operands.h"

namespace doppel::interpreter {
namespace {

template <class T>
constexpr unsigned bits_of = 8 * sizeof(T);

// ---- destination ← f(first source, second source) ----

// With flags, some of them undefined: host_flags.h. The guest has these where the host has.
#define DOPPEL_THREE_OPERANDS(Name, text)                                      \
  struct Name {                                                                \
    static constexpr bool flags = true;                                        \
    template <class T>                                                         \
    [[gnu::always_inline]] static T compute(T a, T b, HostFlags& status) {     \
      T result;                                                                \
      DOPPEL_ON_HOST(status, text, [to] "=r"(result), [a] "r"(a), [b] "r"(b)); \
      return result;                                                           \
    }                                                                          \
  }
DOPPEL_THREE_OPERANDS(Andn, "andn %[b], %[a], %[to]");
DOPPEL_THREE_OPERANDS(Bextr, "bextr %[b], %[a], %[to]");
DOPPEL_THREE_OPERANDS(Bzhi, "bzhi %[b], %[a], %[to]");
#undef DOPPEL_THREE_OPERANDS

struct Sarx {
  static constexpr bool flags = false;
  template <class T>
  static T compute(T a, T count) {
    return static_cast<T>(static_cast<std::make_signed_t<T>>(a) >> (count & (bits_of<T> - 1)));
  }
};
struct Shlx {
  static constexpr bool flags = false;
  template <class T>
  static T compute(T a, T count) {
    return static_cast<T>(a << (count & (bits_of<T> - 1)));
  }
};
struct Shrx {
  static constexpr bool flags = false;
  template <class T>
  static T compute(T a, T count) {
    return static_cast<T>(a >> (count & (bits_of<T> - 1)));
  }
};
// The host has these where the guest has.
struct Pdep {
  static constexpr bool flags = false;
  template <class T>
  static T compute(T a, T mask) {
    T result;
    asm("pdep %2, %1, %0" : "=r"(result) : "r"(a), "r"(mask));
    return result;
  }
};
struct Pext {
  static constexpr bool flags = false;
  template <class T>
  static T compute(T a, T mask) {
    T result;
    asm("pext %2, %1, %0" : "=r"(result) : "r"(a), "r"(mask));
    return result;
  }
};

// Which of the two sources is in memory.
enum class InMemory : u8 { neither, first, second };

template <class F, class T, InMemory where>
void three_operands(Cpu& cpu, const Op* op) {
  constexpr bool first = where == InMemory::first, second = where == InMemory::second;
  const Loaded<T> a = source<T, first>(cpu, op, op->b);
  const Loaded<T> b = source<T, second>(cpu, op, op->c);
  if (!a.ok || !b.ok) [[unlikely]]
    return faulted(cpu, op);
  if constexpr (F::flags) {
    HostFlags flags(cpu.flags);
    cpu.set_reg<T>(op->a, F::template compute<T>(a.value, b.value, flags));
    flags.put(cpu.flags);
  } else {
    cpu.set_reg<T>(op->a, F::template compute<T>(a.value, b.value));
  }
  return next(cpu, op);
}

template <class F>
Binding bind_three(const x86::Instruction& instruction) {
  const bool first = is_memory(instruction.operands[1]), second = is_memory(instruction.operands[2]);
  const auto pick = [&]<class T>() -> Handler {
    if (first) return three_operands<F, T, InMemory::first>;
    if (second) return three_operands<F, T, InMemory::second>;
    return three_operands<F, T, InMemory::neither>;
  };
  return { instruction.operands[0].bytes == 8 ? pick.template operator()<u64>() : pick.template operator()<u32>() };
}

// ---- destination ← f(source) ----

#define DOPPEL_TWO_OPERANDS(Name, text)                                          \
  struct Name {                                                                  \
    template <class T>                                                           \
    [[gnu::always_inline]] static T compute(T a, HostFlags& flags) {             \
      T result;                                                                  \
      DOPPEL_ON_HOST(flags, text " %[a], %[to]", [to] "=r"(result), [a] "r"(a)); \
      return result;                                                             \
    }                                                                            \
  }
DOPPEL_TWO_OPERANDS(Blsi, "blsi");
DOPPEL_TWO_OPERANDS(Blsmsk, "blsmsk");
DOPPEL_TWO_OPERANDS(Blsr, "blsr");
DOPPEL_TWO_OPERANDS(Lzcnt, "lzcnt");
DOPPEL_TWO_OPERANDS(Tzcnt, "tzcnt");
#undef DOPPEL_TWO_OPERANDS

template <class F, class T, bool memory>
void two_operands(Cpu& cpu, const Op* op) {
  const Loaded<T> a = source<T, memory>(cpu, op, op->b);
  if (!a.ok) [[unlikely]]
    return faulted(cpu, op);
  HostFlags flags(cpu.flags);
  cpu.set_reg<T>(op->a, F::template compute<T>(a.value, flags));
  flags.put(cpu.flags);
  return next(cpu, op);
}

template <class F>
Binding bind_lowest_bit(const x86::Instruction& instruction) {
  const bool memory = is_memory(instruction.operands[1]);
  if (instruction.operands[0].bytes == 8) return {memory ? two_operands<F, u64, true> : two_operands<F, u64, false>};
  return {memory ? two_operands<F, u32, true> : two_operands<F, u32, false>};
}

// ---- MULX: high half, low half ← RDX × source; if both are one register it gets the high half ----

template <class T, bool memory>
void mulx(Cpu& cpu, const Op* op) {
  const Loaded<T> b = source<T, memory>(cpu, op, op->c);
  if (!b.ok) [[unlikely]]
    return faulted(cpu, op);
  const u128 product = static_cast<u128>(static_cast<T>(cpu.gpr[x86::rdx])) * b.value;
  cpu.set_reg<T>(op->b, static_cast<T>(product));
  cpu.set_reg<T>(op->a, static_cast<T>(product >> bits_of<T>));
  return next(cpu, op);
}

template <class T, bool memory>
void rorx(Cpu& cpu, const Op* op) {
  const Loaded<T> a = source<T, memory>(cpu, op, op->b);
  if (!a.ok) [[unlikely]]
    return faulted(cpu, op);
  cpu.set_reg<T>(op->a, std::rotr(a.value, static_cast<int>(op->immediate & (bits_of<T> - 1))));
  return next(cpu, op);
}

template <class F>
Binding bind_count_zeros(const x86::Instruction& instruction) {
  const auto& from = instruction.operands[1];
  return {by_word_width(from.bytes, [&]<class T>() -> Handler {
    return is_memory(from) ? two_operands<F, T, true> : two_operands<F, T, false>;
  })};
}

// ---- ADCX, ADOX: an addition whose carry is CF or OF, and no other flag changes ----

template <class T, bool memory, bool overflow>
void add_carry(Cpu& cpu, const Op* op) {
  const Loaded<T> b = source<T, memory>(cpu, op, op->b);
  if (!b.ok) [[unlikely]]
    return faulted(cpu, op);
  const bool cf = cpu.flags.cf(), of = cpu.flags.of();
  const u128 sum = static_cast<u128>(cpu.reg<T>(op->a)) + b.value + (overflow ? of : cf);
  const bool carry = sum >> bits_of<T> & 1;
  cpu.set_reg<T>(op->a, static_cast<T>(sum));
  cpu.flags.set_carries(overflow ? cf : carry, overflow ? carry : of, cpu.flags.af());
  return next(cpu, op);
}

template <bool overflow>
Binding bind_add_carry(const x86::Instruction& instruction) {
  const bool memory = is_memory(instruction.operands[1]);
  if (instruction.operands[0].bytes == 8)
    return {memory ? add_carry<u64, true, overflow> : add_carry<u64, false, overflow>};
  return {memory ? add_carry<u32, true, overflow> : add_carry<u32, false, overflow>};
}

// ---- MOVBE ----

template <class T>
T swapped(T value) {
  if constexpr (sizeof(T) == 8) return __builtin_bswap64(value);
  if constexpr (sizeof(T) == 4) return __builtin_bswap32(value);
  return static_cast<T>(value << 8 | value >> 8);
}

template <class T>
void load_swapped(Cpu& cpu, const Op* op) {
  const Loaded<T> value = load_operand<T>(cpu, op);
  if (!value.ok) [[unlikely]]
    return faulted(cpu, op);
  cpu.set_reg<T>(op->a, swapped(value.value));
  return next(cpu, op);
}
template <class T>
void store_swapped(Cpu& cpu, const Op* op) {
  if (!store_operand<T>(cpu, op, swapped(cpu.reg<T>(op->b)))) [[unlikely]]
    return faulted(cpu, op);
  return next(cpu, op);
}

}  // namespace

Binding bind_movbe(const x86::Instruction& instruction, Op&) {
  const bool store = is_memory(instruction.operands[0]);
  return {by_word_width(instruction.operands[0].bytes,
                        [&]<class T>() -> Handler { return store ? store_swapped<T> : load_swapped<T>; })};
}

Binding bind_mulx(const x86::Instruction& instruction, Op&) {
  const bool memory = is_memory(instruction.operands[2]);
  if (instruction.operands[0].bytes == 8) return {memory ? mulx<u64, true> : mulx<u64, false>};
  return {memory ? mulx<u32, true> : mulx<u32, false>};
}

Binding bind_rorx(const x86::Instruction& instruction, Op&) {
  const bool memory = is_memory(instruction.operands[1]);
  if (instruction.operands[0].bytes == 8) return {memory ? rorx<u64, true> : rorx<u64, false>};
  return {memory ? rorx<u32, true> : rorx<u32, false>};
}

Binding bind_bmi(const x86::Instruction& instruction, Op&) {
  switch (instruction.mnemonic) {
    case ZYDIS_MNEMONIC_ANDN: return bind_three<Andn>(instruction);
    case ZYDIS_MNEMONIC_BEXTR: return bind_three<Bextr>(instruction);
    case ZYDIS_MNEMONIC_BZHI: return bind_three<Bzhi>(instruction);
    case ZYDIS_MNEMONIC_SARX: return bind_three<Sarx>(instruction);
    case ZYDIS_MNEMONIC_SHLX: return bind_three<Shlx>(instruction);
    case ZYDIS_MNEMONIC_SHRX: return bind_three<Shrx>(instruction);
    case ZYDIS_MNEMONIC_PDEP: return bind_three<Pdep>(instruction);
    case ZYDIS_MNEMONIC_PEXT: return bind_three<Pext>(instruction);
    case ZYDIS_MNEMONIC_BLSI: return bind_lowest_bit<Blsi>(instruction);
    case ZYDIS_MNEMONIC_BLSMSK: return bind_lowest_bit<Blsmsk>(instruction);
    case ZYDIS_MNEMONIC_BLSR: return bind_lowest_bit<Blsr>(instruction);
    case ZYDIS_MNEMONIC_LZCNT: return bind_count_zeros<Lzcnt>(instruction);
    case ZYDIS_MNEMONIC_TZCNT: return bind_count_zeros<Tzcnt>(instruction);
    case ZYDIS_MNEMONIC_ADCX: return bind_add_carry<false>(instruction);
    case ZYDIS_MNEMONIC_ADOX: return bind_add_carry<true>(instruction);
    default: return {};
  }
}

}  // namespace doppel::interpreter
