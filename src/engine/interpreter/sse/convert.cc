// Conversions between integers and floating point, and the comparisons that set EFLAGS. Intel SDM vol. 2.
#include "engine/interpreter/sse/packed.h"
#include "engine/interpreter/sse/rows.h"

namespace doppel::interpreter {
namespace {

DOPPEL_FLOAT(Cvtdq2ps, "cvtdq2ps")
DOPPEL_XMM(Cvtdq2pd, "cvtdq2pd")
DOPPEL_FLOAT(Cvtps2dq, "cvtps2dq")
DOPPEL_FLOAT(Cvttps2dq, "cvttps2dq")
DOPPEL_FLOAT(Cvtpd2dq, "cvtpd2dq")
DOPPEL_FLOAT(Cvttpd2dq, "cvttpd2dq")
DOPPEL_FLOAT(Cvtps2pd, "cvtps2pd")
DOPPEL_FLOAT(Cvtpd2ps, "cvtpd2ps")
DOPPEL_FLOAT(Cvtss2sd, "cvtss2sd")
DOPPEL_FLOAT(Cvtsd2ss, "cvtsd2ss")

// ---- general register or memory → low element ----

#define DOPPEL_FROM_GPR(Name, mnemonic)                                       \
  struct Name {                                                               \
    static V convert(V a, u64 b, std::true_type) {                            \
      asm volatile(mnemonic "q %1, %0" : "+x"(a) : "r"(b));                   \
      return a;                                                               \
    }                                                                         \
    static V convert(V a, u64 b, std::false_type) {                           \
      asm volatile(mnemonic "l %1, %0" : "+x"(a) : "r"(static_cast<u32>(b))); \
      return a;                                                               \
    }                                                                         \
  };
DOPPEL_FROM_GPR(Cvtsi2ss, "cvtsi2ss")
DOPPEL_FROM_GPR(Cvtsi2sd, "cvtsi2sd")

template <class F, class T, bool memory>
void from_gpr(Cpu& cpu, const Op* op) {
  DOPPEL_CHECK_SSE(cpu, op);
  u64 source;
  if constexpr (memory) {
    const Loaded<T> loaded = load_operand<T>(cpu, op);
    if (!loaded.ok) [[unlikely]]
      return faulted(cpu, op);
    source = loaded.value;
  } else {
    source = cpu.reg<u64>(op->b);
  }
  V result;
  if (!guarded<true>(
          cpu, op, [&] { result = F::convert(get_xmm(cpu, op->a), source, std::bool_constant < sizeof(T) == 8 > {}); }))
    return;
  set_xmm(cpu, op->a, result);
  return next(cpu, op);
}

template <class F>
Binding bind_from_gpr(const x86::Instruction& instruction, Op&) {
  const bool memory = instruction.has_memory();
  if (instruction.operands[1].bytes == 8) return {memory ? from_gpr<F, u64, true> : from_gpr<F, u64, false>};
  return {memory ? from_gpr<F, u32, true> : from_gpr<F, u32, false>};
}

// ---- low element → general register ----

#define DOPPEL_TO_GPR(Name, mnemonic, element)             \
  struct Name {                                            \
    static constexpr unsigned bytes = element;             \
    static u64 convert(V b, std::true_type) {              \
      u64 a;                                               \
      asm volatile(mnemonic " %1, %0" : "=r"(a) : "x"(b)); \
      return a;                                            \
    }                                                      \
    static u64 convert(V b, std::false_type) {             \
      u32 a;                                               \
      asm volatile(mnemonic " %1, %0" : "=r"(a) : "x"(b)); \
      return a;                                            \
    }                                                      \
  };
DOPPEL_TO_GPR(Cvtss2si, "cvtss2si", 4)
DOPPEL_TO_GPR(Cvttss2si, "cvttss2si", 4)
DOPPEL_TO_GPR(Cvtsd2si, "cvtsd2si", 8)
DOPPEL_TO_GPR(Cvttsd2si, "cvttsd2si", 8)

template <class F, bool wide, bool memory>
void to_gpr(Cpu& cpu, const Op* op) {
  DOPPEL_CHECK_SSE(cpu, op);
  V source;
  if constexpr (memory) {
    const u8* from = memory_source<F::bytes, false>(cpu, op);
    if (!from) [[unlikely]]
      return faulted(cpu, op);
    source = load_vector<F::bytes>(from);
  } else {
    source = get_xmm(cpu, op->b);
  }
  u64 result;
  if (!guarded<true>(cpu, op, [&] { result = F::convert(source, std::bool_constant<wide>{}); })) return;
  cpu.reg<u64>(op->a) = result;
  return next(cpu, op);
}

template <class F>
Binding bind_to_gpr(const x86::Instruction& instruction, Op&) {
  const bool memory = instruction.has_memory();
  if (instruction.operands[0].bytes == 8) return {memory ? to_gpr<F, true, true> : to_gpr<F, true, false>};
  return {memory ? to_gpr<F, false, true> : to_gpr<F, false, false>};
}

// ---- MMX register or memory ↔ XMM ----

// Two doublewords → two floats: the low half as CVTDQ2PS makes them; or two doubles.
template <bool to_double, bool memory>
void from_mmx(Cpu& cpu, const Op* op) {
  DOPPEL_CHECK_SSE(cpu, op);
  // CVTPI2PD with a memory source is the one form that does not touch MMX state (SDM vol. 2).
  constexpr bool enters_mmx = !(to_double && memory);
  if constexpr (enters_mmx) {
    DOPPEL_CHECK_MMX(cpu, op);
  }
  u64 source;
  if constexpr (memory) {
    const Loaded<u64> loaded = load_operand<u64>(cpu, op);
    if (!loaded.ok) return faulted(cpu, op);
    source = loaded.value;
  } else {
    source = get_mmx(cpu, op->b);
  }
  const V words = _mm_cvtsi64_si128(static_cast<i64>(source));
  if constexpr (enters_mmx) enter_mmx(cpu);  // even if the conversion then faults
  V result;
  if (!guarded<true>(cpu, op, [&] { result = to_double ? Cvtdq2pd::xmm(words, words) : Cvtdq2ps::xmm(words, words); }))
    return;
  if constexpr (to_double)
    set_xmm(cpu, op->a, result);
  else
    set_xmm_low64(cpu, op->a, static_cast<u64>(_mm_cvtsi128_si64(result)));
  return next(cpu, op);
}
template <bool to_double>
Binding bind_from_mmx(const x86::Instruction& instruction, Op&) {
  return {instruction.has_memory() ? from_mmx<to_double, true> : from_mmx<to_double, false>};
}

// Two floats (8 bytes) or two doubles (16, aligned) → two doublewords in an MMX register.
template <class F, unsigned bytes, bool memory>
void to_mmx(Cpu& cpu, const Op* op) {
  DOPPEL_CHECK_SSE(cpu, op);
  DOPPEL_CHECK_MMX(cpu, op);
  V source;
  if constexpr (memory) {
    const u8 *from = memory_source < bytes, bytes == 16 > (cpu, op);
    if (!from) return faulted(cpu, op);
    source = load_vector<bytes>(from);
  } else {
    source = get_xmm(cpu, op->b);
    if constexpr (bytes == 8) source = _mm_move_epi64(source);  // the upper half must not raise anything
  }
  enter_mmx(cpu);  // even if the conversion then faults
  V result;
  if (!guarded<true>(cpu, op, [&] { result = F::xmm(source, source); })) return;
  set_mmx(cpu, op->a, static_cast<u64>(_mm_cvtsi128_si64(result)));
  return next(cpu, op);
}
template <class F, unsigned bytes>
Binding bind_to_mmx(const x86::Instruction& instruction, Op&) {
  return {instruction.has_memory() ? to_mmx<F, bytes, true> : to_mmx<F, bytes, false>};
}

// ---- comparisons into EFLAGS: ZF, PF, CF; OF, SF, AF cleared ----

#define DOPPEL_COMPARE(Name, mnemonic, element)                                                    \
  struct Name {                                                                                    \
    static constexpr unsigned bytes = element;                                                     \
    static u64 flags(V a, V b) {                                                                   \
      bool zf, pf, cf;                                                                             \
      asm volatile(mnemonic " %4, %3" : "=@ccz"(zf), "=@ccp"(pf), "=@ccc"(cf) : "x"(a), "x"(b));   \
      return (zf ? x86::rflags::zf : 0) | (pf ? x86::rflags::pf : 0) | (cf ? x86::rflags::cf : 0); \
    }                                                                                              \
  };
DOPPEL_COMPARE(Comiss, "comiss", 4)
DOPPEL_COMPARE(Comisd, "comisd", 8)
DOPPEL_COMPARE(Ucomiss, "ucomiss", 4)
DOPPEL_COMPARE(Ucomisd, "ucomisd", 8)

template <class F, bool memory>
void compare(Cpu& cpu, const Op* op) {
  DOPPEL_CHECK_SSE(cpu, op);
  V source;
  if constexpr (memory) {
    const u8* from = memory_source<F::bytes, false>(cpu, op);
    if (!from) [[unlikely]]
      return faulted(cpu, op);
    source = load_vector<F::bytes>(from);
  } else {
    source = get_xmm(cpu, op->b);
  }
  u64 flags;
  if (!guarded<true>(cpu, op, [&] { flags = F::flags(get_xmm(cpu, op->a), source); })) return;
  cpu.flags.unpack(flags);
  return next(cpu, op);
}
template <class F>
Binding bind_compare(const x86::Instruction& instruction, Op&) {
  return {instruction.has_memory() ? compare<F, true> : compare<F, false>};
}

// PTEST: ZF if no common bit, CF if no bit of the source outside of the destination.
template <bool memory>
void ptest(Cpu& cpu, const Op* op) {
  DOPPEL_CHECK_SSE(cpu, op);
  const u8* from = vector_source<memory, 16, true>(cpu, op);
  if (!from) [[unlikely]]
    return faulted(cpu, op);
  const V source = load_vector<16>(from);
  bool zf, cf;
  asm volatile("ptest %3, %2" : "=@ccz"(zf), "=@ccc"(cf) : "x"(get_xmm(cpu, op->a)), "x"(source));
  cpu.flags.unpack((zf ? x86::rflags::zf : 0) | (cf ? x86::rflags::cf : 0));
  return next(cpu, op);
}
Binding bind_ptest(const x86::Instruction& instruction, Op&) {
  return {instruction.has_memory() ? ptest<true> : ptest<false>};
}

constexpr BindRow rows[] = {
    {ZYDIS_MNEMONIC_CVTDQ2PS, bind_xmm<Cvtdq2ps>},
    {ZYDIS_MNEMONIC_CVTDQ2PD, bind_xmm<Cvtdq2pd>},
    {ZYDIS_MNEMONIC_CVTPS2DQ, bind_xmm<Cvtps2dq>},
    {ZYDIS_MNEMONIC_CVTTPS2DQ, bind_xmm<Cvttps2dq>},
    {ZYDIS_MNEMONIC_CVTPD2DQ, bind_xmm<Cvtpd2dq>},
    {ZYDIS_MNEMONIC_CVTTPD2DQ, bind_xmm<Cvttpd2dq>},
    {ZYDIS_MNEMONIC_CVTPS2PD, bind_xmm<Cvtps2pd>},
    {ZYDIS_MNEMONIC_CVTPD2PS, bind_xmm<Cvtpd2ps>},
    {ZYDIS_MNEMONIC_CVTSS2SD, bind_xmm<Cvtss2sd>},
    {ZYDIS_MNEMONIC_CVTSD2SS, bind_xmm<Cvtsd2ss>},
    {ZYDIS_MNEMONIC_CVTSI2SS, bind_from_gpr<Cvtsi2ss>},
    {ZYDIS_MNEMONIC_CVTSI2SD, bind_from_gpr<Cvtsi2sd>},
    {ZYDIS_MNEMONIC_CVTSS2SI, bind_to_gpr<Cvtss2si>},
    {ZYDIS_MNEMONIC_CVTTSS2SI, bind_to_gpr<Cvttss2si>},
    {ZYDIS_MNEMONIC_CVTSD2SI, bind_to_gpr<Cvtsd2si>},
    {ZYDIS_MNEMONIC_CVTTSD2SI, bind_to_gpr<Cvttsd2si>},
    {ZYDIS_MNEMONIC_CVTPI2PS, bind_from_mmx<false>},
    {ZYDIS_MNEMONIC_CVTPI2PD, bind_from_mmx<true>},
    {ZYDIS_MNEMONIC_CVTPS2PI, bind_to_mmx<Cvtps2dq, 8>},
    {ZYDIS_MNEMONIC_CVTTPS2PI, bind_to_mmx<Cvttps2dq, 8>},
    {ZYDIS_MNEMONIC_CVTPD2PI, bind_to_mmx<Cvtpd2dq, 16>},
    {ZYDIS_MNEMONIC_CVTTPD2PI, bind_to_mmx<Cvttpd2dq, 16>},
    {ZYDIS_MNEMONIC_COMISS, bind_compare<Comiss>},
    {ZYDIS_MNEMONIC_COMISD, bind_compare<Comisd>},
    {ZYDIS_MNEMONIC_UCOMISS, bind_compare<Ucomiss>},
    {ZYDIS_MNEMONIC_UCOMISD, bind_compare<Ucomisd>},
    {ZYDIS_MNEMONIC_PTEST, bind_ptest},
};

}  // namespace

std::span<const BindRow> sse_convert_rows() { return rows; }

}  // namespace doppel::interpreter
