// FILD, FIST, FISTP, FISTTP. Intel SDM vol. 2 (edition 085).
#include "engine/interpreter/x87/native.h"
#include "engine/interpreter/x87/rows.h"

namespace doppel::interpreter {
namespace {

using x86::Float80;

// Every 64-bit integer is exact in the 64-bit significand.
Float80 from_integer(i64 value) {
  if (value == 0) return {0, 0};
  const u64 magnitude = value < 0 ? -static_cast<u64>(value) : static_cast<u64>(value);
  const int zeros = std::countl_zero(magnitude);
  return {magnitude << zeros, static_cast<u16>((value < 0 ? 0x8000 : 0) | (0x3fff + 63 - zeros))};
}

template <class T>
bool load_integer(Cpu& cpu, const Op* op) {
  const auto operand = load_operand<std::make_unsigned_t<T>>(cpu, op);
  if (!operand.ok) return false;
  Fpu& f = cpu.s.fpu;
  if (!empty(f, 7)) [[unlikely]]
    return push_overflow(f), true;
  push(f, from_integer(static_cast<T>(operand.value)));
  set_conditions(f, fsw::c1, 0);
  return true;
}

// Both variants pop on the host.
template <class T, bool truncate>
struct StoreInteger {
  template <bool trapping>
  [[gnu::always_inline]] static inline u16 run(u8* result, const Float80* a) {
    u16 status;
    auto& to = *reinterpret_cast<T*>(result);
#define DOPPEL_X87_FORM(text)                                                     \
  asm volatile("fldt %[a]\n\t" text " %[to]\n\t" DOPPEL_X87_STATUS DOPPEL_X87_END \
               : [to] "=m"(to), "=&a"(status)                                     \
               : [a] "m"(*a), [trapping] "i"(trapping)                            \
               : DOPPEL_X87_CLOBBERS)
    if constexpr (truncate) {
      if constexpr (sizeof(T) == 2) DOPPEL_X87_FORM("fisttps");
      if constexpr (sizeof(T) == 4) DOPPEL_X87_FORM("fisttpl");
      if constexpr (sizeof(T) == 8) DOPPEL_X87_FORM("fisttpll");
    } else {
      if constexpr (sizeof(T) == 2) DOPPEL_X87_FORM("fistps");
      if constexpr (sizeof(T) == 4) DOPPEL_X87_FORM("fistpl");
      if constexpr (sizeof(T) == 8) DOPPEL_X87_FORM("fistpll");
    }
#undef DOPPEL_X87_FORM
    return status;
  }
};

template <class T>
bool store_integer_indefinite(Cpu& cpu, const Op* op, bool pops) {
  Fpu& f = cpu.s.fpu;
  const bool accessible = f.control & fsw::ie ? store_operand<T>(cpu, op, static_cast<T>(u64{1} << (sizeof(T) * 8 - 1)))
                                              : check_store_address(cpu, op, sizeof(T));
  if (!accessible) return false;
  if (stack_fault(f, false) && pops) pop(f);
  return true;
}

template <class T, bool truncate, bool pops>
bool store_integer(Cpu& cpu, const Op* op) {
  Fpu& f = cpu.s.fpu;
  if (empty(f, 0)) [[unlikely]]
    return store_integer_indefinite<T>(cpu, op, pops);
  const u16 status = on_host<StoreInteger<T, truncate>>(f.control, cpu.scratch, &st(f, 0));
  const bool suppress = store_suppressed(f, status);
  const bool accessible = suppress ? check_store_address(cpu, op, sizeof(T))
                                   : store_operand(cpu, op, get<T>(cpu.scratch));
  if (!accessible) [[unlikely]] {
    forget_host_flags();
    return false;
  }
  commit(f, status);
  if (pops && !suppress) pop(f);
  return true;
}

Binding bind_fild(const x86::Instruction& instruction, Op& op) {
  switch (instruction.operands[0].bytes) {
    case 2: return bind_numeric_memory<load_integer<i16>>(instruction, op);
    case 4: return bind_numeric_memory<load_integer<i32>>(instruction, op);
    default: return bind_numeric_memory<load_integer<i64>>(instruction, op);
  }
}

template <bool truncate, bool pops>
Binding bind_fist(const x86::Instruction& instruction, Op& op) {
  switch (instruction.operands[0].bytes) {
    case 2: return bind_numeric_memory<store_integer<u16, truncate, pops>>(instruction, op);
    case 4: return bind_numeric_memory<store_integer<u32, truncate, pops>>(instruction, op);
    default: return bind_numeric_memory<store_integer<u64, truncate, pops>>(instruction, op);
  }
}

constexpr BindRow rows[] = {
    {ZYDIS_MNEMONIC_FILD, bind_fild},
    {ZYDIS_MNEMONIC_FIST, bind_fist<false, false>},
    {ZYDIS_MNEMONIC_FISTP, bind_fist<false, true>},
    {ZYDIS_MNEMONIC_FISTTP, bind_fist<true, true>},
};

}  // namespace

std::span<const BindRow> x87_integer_rows() { return rows; }

}  // namespace doppel::interpreter
