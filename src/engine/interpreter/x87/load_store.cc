// FLD, FST, FSTP and the constants. Intel SDM vol. 2 (edition 085).
#include "engine/interpreter/x87/native.h"
#include "engine/interpreter/x87/rows.h"

namespace doppel::interpreter {
namespace {

using x86::Float80;

// ---- loads ----

template <Source source>
struct LoadReal {
  template <bool trapping>
  [[gnu::always_inline]] static inline u16 run(Float80* result, SourceBits<source> value) {
    u16 status;
    if constexpr (source == Source::real32)
      asm volatile("flds %[value]\n\t" DOPPEL_X87_STATUS "fstpt %[result]\n\t" DOPPEL_X87_END
                   : [result] "=m"(*result), "=&a"(status)
                   : [value] "m"(value), [trapping] "i"(trapping)
                   : DOPPEL_X87_CLOBBERS);
    else
      asm volatile("fldl %[value]\n\t" DOPPEL_X87_STATUS "fstpt %[result]\n\t" DOPPEL_X87_END
                   : [result] "=m"(*result), "=&a"(status)
                   : [value] "m"(value), [trapping] "i"(trapping)
                   : DOPPEL_X87_CLOBBERS);
    return status;
  }
};

template <Source source>
bool load_real(Cpu& cpu, const Op* op) {
  const auto operand = load_operand<SourceBits<source>>(cpu, op);
  if (!operand.ok) return false;
  Fpu& f = cpu.s.fpu;
  if (!empty(f, 7)) [[unlikely]]
    return push_overflow(f), true;
  Float80& slot = st(f, 7);
  const Float80 before = slot;  // an empty register keeps its value, too
  const u16 status = on_host<LoadReal<source>>(f.control, &slot, operand.value);
  commit(f, status);
  // With an unmasked denormal operand, processors differ; TOP tells what this one did (as with an unmasked invalid operand).
  if (fsw::Top::get(status) == 0) [[unlikely]] {
    slot = before;
    return true;
  }
  move_top(f, 7);
  mark_valid(f, 0);
  return true;
}

bool load_extended(Cpu& cpu, const Op* op) {
  const Linear linear = operand_linear(cpu, op, 10, AccessKind::read);
  if (!linear.ok) return false;
  const u8* from = cpu.scratch;
  if (const u8* host = load_target(cpu, linear.address, 10)) [[likely]]
    from = host;
  else if (!load_bytes(cpu, linear.address, cpu.scratch, 10, static_cast<x86::Segment>(op->segment)))
    return false;
  Fpu& f = cpu.s.fpu;
  if (!empty(f, 7)) [[unlikely]]
    return push_overflow(f), true;
  push(f, {get<u64>(from), get<u16>(from + 8)});
  set_conditions(f, fsw::c1, 0);
  return true;
}

bool load_register(Cpu& cpu, const Op* op) {
  Fpu& f = cpu.s.fpu;
  if (empty(f, op->a)) [[unlikely]] {
    if (stack_fault(f, false)) push(f, indefinite);
    return true;
  }
  if (!empty(f, 7)) [[unlikely]]
    return push_overflow(f), true;
  const Float80& from = st(f, op->a);
  move_top(f, 7);
  copy(st(f, 0), from);
  mark_valid(f, 0);
  set_conditions(f, fsw::c1, 0);
  return true;
}

#define DOPPEL_X87_CONSTANT(Name, text)                                               \
  struct Name {                                                                       \
    template <bool trapping>                                                          \
    [[gnu::always_inline]] static inline u16 run(Float80* result) {                   \
      u16 status;                                                                     \
      asm volatile(text "\n\t" DOPPEL_X87_STATUS "fstpt %[result]\n\t" DOPPEL_X87_END \
                   : [result] "=m"(*result), "=&a"(status)                            \
                   : [trapping] "i"(trapping)                                         \
                   : DOPPEL_X87_CLOBBERS);                                            \
      return status;                                                                  \
    }                                                                                 \
  };
DOPPEL_X87_CONSTANT(One, "fld1")
DOPPEL_X87_CONSTANT(Log2Of10, "fldl2t")
DOPPEL_X87_CONSTANT(Log2OfE, "fldl2e")
DOPPEL_X87_CONSTANT(Pi, "fldpi")
DOPPEL_X87_CONSTANT(Log10Of2, "fldlg2")
DOPPEL_X87_CONSTANT(LnOf2, "fldln2")
DOPPEL_X87_CONSTANT(Zero, "fldz")

template <class Constant>
bool load_constant(Cpu& cpu, const Op*) {
  Fpu& f = cpu.s.fpu;
  if (!empty(f, 7)) [[unlikely]]
    return push_overflow(f), true;
  on_host<Constant>(f.control, &st(f, 7));
  move_top(f, 7);
  mark_valid(f, 0);
  set_conditions(f, fsw::c1, 0);
  return true;
}

// ---- stores ----

template <Source source>
struct StoreReal {
  template <bool trapping>
  [[gnu::always_inline]] static inline u16 run(u8* result, const Float80* a) {
    u16 status;
    auto& to = *reinterpret_cast<SourceBits<source>*>(result);
    if constexpr (source == Source::real32)
      asm volatile("fldt %[a]\n\tfstps %[to]\n\t" DOPPEL_X87_STATUS DOPPEL_X87_END
                   : [to] "=m"(to), "=&a"(status)
                   : [a] "m"(*a), [trapping] "i"(trapping)
                   : DOPPEL_X87_CLOBBERS);
    else
      asm volatile("fldt %[a]\n\tfstpl %[to]\n\t" DOPPEL_X87_STATUS DOPPEL_X87_END
                   : [to] "=m"(to), "=&a"(status)
                   : [a] "m"(*a), [trapping] "i"(trapping)
                   : DOPPEL_X87_CLOBBERS);
    return status;
  }
};

template <Source source, bool pops>
bool store_indefinite(Cpu& cpu, const Op* op) {
  Fpu& f = cpu.s.fpu;
  if (f.control & fsw::ie) {
    const bool stored = source == Source::real32 ? store_operand<u32>(cpu, op, 0xffc0'0000)
                                                 : store_operand<u64>(cpu, op, 0xfff8'0000'0000'0000);
    if (!stored) return false;
  } else if (!check_store_address(cpu, op, sizeof(SourceBits<source>))) {
    return false;
  }
  if (stack_fault(f, false) && pops) pop(f);
  return true;
}

template <Source source, bool pops>
bool store_real(Cpu& cpu, const Op* op) {
  Fpu& f = cpu.s.fpu;
  if (empty(f, 0)) [[unlikely]]
    return store_indefinite<source, pops>(cpu, op);
  const u16 status = on_host<StoreReal<source>>(f.control, cpu.scratch, &st(f, 0));
  const bool suppress = store_suppressed(f, status);
  const bool accessible = suppress ? check_store_address(cpu, op, sizeof(SourceBits<source>))
                                   : store_operand(cpu, op, get<SourceBits<source>>(cpu.scratch));
  if (!accessible) [[unlikely]] {
    forget_host_flags();
    return false;
  }
  commit(f, status);
  if (pops && !suppress) pop(f);
  return true;
}

bool store_image(Cpu& cpu, const Op* op, const Float80& value) {
  const Linear linear = operand_linear(cpu, op, 10, AccessKind::write);
  if (!linear.ok) return false;
  if (u8* host = store_target(cpu, linear.address, 10)) [[likely]] {
    put(host, value.significand);
    put(host + 8, value.sign_exponent);
    return true;
  }
  put(cpu.scratch, value.significand);
  put(cpu.scratch + 8, value.sign_exponent);
  return store_bytes(cpu, linear.address, cpu.scratch, 10, static_cast<x86::Segment>(op->segment));
}

bool store_extended(Cpu& cpu, const Op* op) {
  Fpu& f = cpu.s.fpu;
  if (empty(f, 0)) [[unlikely]] {
    if (!(f.control & fsw::ie ? store_image(cpu, op, indefinite) : check_store_address(cpu, op, 10))) return false;
    if (stack_fault(f, false)) pop(f);
    return true;
  }
  if (!store_image(cpu, op, st(f, 0))) return false;
  set_conditions(f, fsw::c1, 0);
  pop(f);
  return true;
}

template <bool pops>
bool store_register(Cpu& cpu, const Op* op) {
  Fpu& f = cpu.s.fpu;
  if (empty(f, 0)) [[unlikely]] {
    if (!stack_fault(f, false)) return true;
    st(f, op->a) = indefinite;
  } else {
    copy(st(f, op->a), st(f, 0));
    set_conditions(f, fsw::c1, 0);
  }
  mark_valid(f, op->a);
  if (pops) pop(f);
  return true;
}

// The alias D9 D8+i knows no underflow: an empty register is only popped.
bool store_register_quietly(Cpu& cpu, const Op* op) {
  Fpu& f = cpu.s.fpu;
  if (!empty(f, 0)) return store_register<true>(cpu, op);
  set_conditions(f, fsw::c1, 0);
  pop(f);
  return true;
}

// ---- binding ----

Binding bind_fld(const x86::Instruction& instruction, Op& op) {
  if (!instruction.has_memory()) return bind_numeric<load_register>(instruction, op);
  switch (instruction.operands[0].bytes) {
    case 4: return bind_numeric_memory<load_real<Source::real32>>(instruction, op);
    case 8: return bind_numeric_memory<load_real<Source::real64>>(instruction, op);
    default: return bind_numeric_memory<load_extended>(instruction, op);
  }
}

template <bool pops>
Binding bind_fst(const x86::Instruction& instruction, Op& op) {
  if (!instruction.has_memory()) return bind_numeric<store_register<pops>>(instruction, op);
  switch (instruction.operands[0].bytes) {
    case 4: return bind_numeric_memory<store_real<Source::real32, pops>>(instruction, op);
    case 8: return bind_numeric_memory<store_real<Source::real64, pops>>(instruction, op);
    default: return bind_numeric_memory<store_extended>(instruction, op);
  }
}

constexpr BindRow rows[] = {
    {ZYDIS_MNEMONIC_FLD, bind_fld},
    {ZYDIS_MNEMONIC_FST, bind_fst<false>},
    {ZYDIS_MNEMONIC_FSTP, bind_fst<true>},
    {ZYDIS_MNEMONIC_FSTPNCE, bind_numeric<store_register_quietly>},
    {ZYDIS_MNEMONIC_FLD1, bind_numeric<load_constant<One>>},
    {ZYDIS_MNEMONIC_FLDL2T, bind_numeric<load_constant<Log2Of10>>},
    {ZYDIS_MNEMONIC_FLDL2E, bind_numeric<load_constant<Log2OfE>>},
    {ZYDIS_MNEMONIC_FLDPI, bind_numeric<load_constant<Pi>>},
    {ZYDIS_MNEMONIC_FLDLG2, bind_numeric<load_constant<Log10Of2>>},
    {ZYDIS_MNEMONIC_FLDLN2, bind_numeric<load_constant<LnOf2>>},
    {ZYDIS_MNEMONIC_FLDZ, bind_numeric<load_constant<Zero>>},
};

}  // namespace

std::span<const BindRow> x87_load_store_rows() { return rows; }

}  // namespace doppel::interpreter
