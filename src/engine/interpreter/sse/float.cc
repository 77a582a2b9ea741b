// Packed and scalar floating-point arithmetic and logic: SSE to SSE3, Intel SDM vol. 2.
#include "engine/interpreter/sse/packed.h"
#include "engine/interpreter/sse/rows.h"

namespace doppel::interpreter {
namespace {

DOPPEL_FLOAT(Addps, "addps")
DOPPEL_FLOAT(Addpd, "addpd")
DOPPEL_FLOAT(Addss, "addss")
DOPPEL_FLOAT(Addsd, "addsd")
DOPPEL_FLOAT(Subps, "subps")
DOPPEL_FLOAT(Subpd, "subpd")
DOPPEL_FLOAT(Subss, "subss")
DOPPEL_FLOAT(Subsd, "subsd")
DOPPEL_FLOAT(Mulps, "mulps")
DOPPEL_FLOAT(Mulpd, "mulpd")
DOPPEL_FLOAT(Mulss, "mulss")
DOPPEL_FLOAT(Mulsd, "mulsd")
DOPPEL_FLOAT(Divps, "divps")
DOPPEL_FLOAT(Divpd, "divpd")
DOPPEL_FLOAT(Divss, "divss")
DOPPEL_FLOAT(Divsd, "divsd")
DOPPEL_FLOAT(Minps, "minps")
DOPPEL_FLOAT(Minpd, "minpd")
DOPPEL_FLOAT(Minss, "minss")
DOPPEL_FLOAT(Minsd, "minsd")
DOPPEL_FLOAT(Maxps, "maxps")
DOPPEL_FLOAT(Maxpd, "maxpd")
DOPPEL_FLOAT(Maxss, "maxss")
DOPPEL_FLOAT(Maxsd, "maxsd")
DOPPEL_FLOAT(Sqrtps, "sqrtps")
DOPPEL_FLOAT(Sqrtpd, "sqrtpd")
DOPPEL_FLOAT(Sqrtss, "sqrtss")
DOPPEL_FLOAT(Sqrtsd, "sqrtsd")
DOPPEL_FLOAT(Haddps, "haddps")
DOPPEL_FLOAT(Haddpd, "haddpd")
DOPPEL_FLOAT(Hsubps, "hsubps")
DOPPEL_FLOAT(Hsubpd, "hsubpd")
DOPPEL_FLOAT(Addsubps, "addsubps")
DOPPEL_FLOAT(Addsubpd, "addsubpd")
DOPPEL_XMM(Rcpps, "rcpps")
DOPPEL_XMM(Rcpss, "rcpss")
DOPPEL_XMM(Rsqrtps, "rsqrtps")
DOPPEL_XMM(Rsqrtss, "rsqrtss")
DOPPEL_XMM(Andps, "andps")
DOPPEL_XMM(Andnps, "andnps")
DOPPEL_XMM(Orps, "orps")
DOPPEL_XMM(Xorps, "xorps")
DOPPEL_XMM(Unpcklps, "unpcklps")
DOPPEL_XMM(Unpcklpd, "unpcklpd")
DOPPEL_XMM(Unpckhps, "unpckhps")
DOPPEL_XMM(Unpckhpd, "unpckhpd")

// The mask is XMM0, which the host instruction takes there, too.
#define DOPPEL_BLEND(Name, mnemonic)                                                                              \
  void Name##_with(Cpu& cpu, const Op* op, V source) {                                                            \
    V a = get_xmm(cpu, op->a);                                                                                    \
    const V mask = get_xmm(cpu, 0);                                                                               \
    asm volatile("movaps %2, %%xmm0\n\t" mnemonic " %%xmm0, %1, %0" : "+x"(a) : "x"(source), "x"(mask) : "xmm0"); \
    set_xmm(cpu, op->a, a);                                                                                       \
  }                                                                                                               \
  void Name##_register(Cpu& cpu, const Op* op) {                                                                  \
    DOPPEL_CHECK_SSE(cpu, op);                                                                                    \
    Name##_with(cpu, op, get_xmm(cpu, op->b));                                                                    \
    return next(cpu, op);                                                                                         \
  }                                                                                                               \
  void Name##_memory(Cpu& cpu, const Op* op) {                                                                    \
    DOPPEL_CHECK_SSE(cpu, op);                                                                                    \
    const u8* from = memory_source<16, true>(cpu, op);                                                            \
    if (!from) return faulted(cpu, op);                                                                           \
    Name##_with(cpu, op, load_vector<16>(from));                                                                  \
    return next(cpu, op);                                                                                         \
  }                                                                                                               \
  Binding bind_##Name(const x86::Instruction& instruction, Op&) {                                                 \
    return {instruction.has_memory() ? Name##_memory : Name##_register};                                          \
  }
DOPPEL_BLEND(pblendvb, "pblendvb")
DOPPEL_BLEND(blendvps, "blendvps")
DOPPEL_BLEND(blendvpd, "blendvpd")

constexpr BindRow rows[] = {
    {ZYDIS_MNEMONIC_ADDPS, bind_xmm<Addps>},       {ZYDIS_MNEMONIC_ADDPD, bind_xmm<Addpd>},
    {ZYDIS_MNEMONIC_ADDSS, bind_xmm<Addss>},       {ZYDIS_MNEMONIC_ADDSD, bind_xmm<Addsd>},
    {ZYDIS_MNEMONIC_SUBPS, bind_xmm<Subps>},       {ZYDIS_MNEMONIC_SUBPD, bind_xmm<Subpd>},
    {ZYDIS_MNEMONIC_SUBSS, bind_xmm<Subss>},       {ZYDIS_MNEMONIC_SUBSD, bind_xmm<Subsd>},
    {ZYDIS_MNEMONIC_MULPS, bind_xmm<Mulps>},       {ZYDIS_MNEMONIC_MULPD, bind_xmm<Mulpd>},
    {ZYDIS_MNEMONIC_MULSS, bind_xmm<Mulss>},       {ZYDIS_MNEMONIC_MULSD, bind_xmm<Mulsd>},
    {ZYDIS_MNEMONIC_DIVPS, bind_xmm<Divps>},       {ZYDIS_MNEMONIC_DIVPD, bind_xmm<Divpd>},
    {ZYDIS_MNEMONIC_DIVSS, bind_xmm<Divss>},       {ZYDIS_MNEMONIC_DIVSD, bind_xmm<Divsd>},
    {ZYDIS_MNEMONIC_MINPS, bind_xmm<Minps>},       {ZYDIS_MNEMONIC_MINPD, bind_xmm<Minpd>},
    {ZYDIS_MNEMONIC_MINSS, bind_xmm<Minss>},       {ZYDIS_MNEMONIC_MINSD, bind_xmm<Minsd>},
    {ZYDIS_MNEMONIC_MAXPS, bind_xmm<Maxps>},       {ZYDIS_MNEMONIC_MAXPD, bind_xmm<Maxpd>},
    {ZYDIS_MNEMONIC_MAXSS, bind_xmm<Maxss>},       {ZYDIS_MNEMONIC_MAXSD, bind_xmm<Maxsd>},
    {ZYDIS_MNEMONIC_SQRTPS, bind_xmm<Sqrtps>},     {ZYDIS_MNEMONIC_SQRTPD, bind_xmm<Sqrtpd>},
    {ZYDIS_MNEMONIC_SQRTSS, bind_xmm<Sqrtss>},     {ZYDIS_MNEMONIC_SQRTSD, bind_xmm<Sqrtsd>},
    {ZYDIS_MNEMONIC_HADDPS, bind_xmm<Haddps>},     {ZYDIS_MNEMONIC_HADDPD, bind_xmm<Haddpd>},
    {ZYDIS_MNEMONIC_HSUBPS, bind_xmm<Hsubps>},     {ZYDIS_MNEMONIC_HSUBPD, bind_xmm<Hsubpd>},
    {ZYDIS_MNEMONIC_ADDSUBPS, bind_xmm<Addsubps>}, {ZYDIS_MNEMONIC_ADDSUBPD, bind_xmm<Addsubpd>},
    {ZYDIS_MNEMONIC_RCPPS, bind_xmm<Rcpps>},       {ZYDIS_MNEMONIC_RCPSS, bind_xmm<Rcpss>},
    {ZYDIS_MNEMONIC_RSQRTPS, bind_xmm<Rsqrtps>},   {ZYDIS_MNEMONIC_RSQRTSS, bind_xmm<Rsqrtss>},
    {ZYDIS_MNEMONIC_ANDPS, bind_xmm<Andps>},       {ZYDIS_MNEMONIC_ANDPD, bind_xmm<Andps>},
    {ZYDIS_MNEMONIC_ANDNPS, bind_xmm<Andnps>},     {ZYDIS_MNEMONIC_ANDNPD, bind_xmm<Andnps>},
    {ZYDIS_MNEMONIC_ORPS, bind_xmm<Orps>},         {ZYDIS_MNEMONIC_ORPD, bind_xmm<Orps>},
    {ZYDIS_MNEMONIC_XORPS, bind_xmm<Xorps>},       {ZYDIS_MNEMONIC_XORPD, bind_xmm<Xorps>},
    {ZYDIS_MNEMONIC_UNPCKLPS, bind_xmm<Unpcklps>}, {ZYDIS_MNEMONIC_UNPCKLPD, bind_xmm<Unpcklpd>},
    {ZYDIS_MNEMONIC_UNPCKHPS, bind_xmm<Unpckhps>}, {ZYDIS_MNEMONIC_UNPCKHPD, bind_xmm<Unpckhpd>},
    {ZYDIS_MNEMONIC_PBLENDVB, bind_pblendvb},      {ZYDIS_MNEMONIC_BLENDVPS, bind_blendvps},
    {ZYDIS_MNEMONIC_BLENDVPD, bind_blendvpd},
};

}  // namespace

std::span<const BindRow> sse_float_rows() { return rows; }

}  // namespace doppel::interpreter
