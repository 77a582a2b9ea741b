// Packed integer arithmetic, logic, comparison, packing and shifts by register: MMX to SSE4.1, Intel SDM vol. 2.
#include "engine/interpreter/sse/packed.h"
#include "engine/interpreter/sse/rows.h"

namespace doppel::interpreter {
namespace {

DOPPEL_PACKED(Paddb, "paddb")
DOPPEL_PACKED(Paddw, "paddw")
DOPPEL_PACKED(Paddd, "paddd")
DOPPEL_PACKED(Paddq, "paddq")
DOPPEL_PACKED(Paddsb, "paddsb")
DOPPEL_PACKED(Paddsw, "paddsw")
DOPPEL_PACKED(Paddusb, "paddusb")
DOPPEL_PACKED(Paddusw, "paddusw")
DOPPEL_PACKED(Psubb, "psubb")
DOPPEL_PACKED(Psubw, "psubw")
DOPPEL_PACKED(Psubd, "psubd")
DOPPEL_PACKED(Psubq, "psubq")
DOPPEL_PACKED(Psubsb, "psubsb")
DOPPEL_PACKED(Psubsw, "psubsw")
DOPPEL_PACKED(Psubusb, "psubusb")
DOPPEL_PACKED(Psubusw, "psubusw")
DOPPEL_PACKED(Pmullw, "pmullw")
DOPPEL_PACKED(Pmulhw, "pmulhw")
DOPPEL_PACKED(Pmulhuw, "pmulhuw")
DOPPEL_PACKED(Pmulhrsw, "pmulhrsw")
DOPPEL_PACKED(Pmuludq, "pmuludq")
DOPPEL_PACKED(Pmaddwd, "pmaddwd")
DOPPEL_PACKED(Pmaddubsw, "pmaddubsw")
DOPPEL_PACKED(Pavgb, "pavgb")
DOPPEL_PACKED(Pavgw, "pavgw")
DOPPEL_PACKED(Psadbw, "psadbw")
DOPPEL_PACKED(Pminub, "pminub")
DOPPEL_PACKED(Pminsw, "pminsw")
DOPPEL_PACKED(Pmaxub, "pmaxub")
DOPPEL_PACKED(Pmaxsw, "pmaxsw")
DOPPEL_PACKED(Pcmpeqb, "pcmpeqb")
DOPPEL_PACKED(Pcmpeqw, "pcmpeqw")
DOPPEL_PACKED(Pcmpeqd, "pcmpeqd")
DOPPEL_PACKED(Pcmpgtb, "pcmpgtb")
DOPPEL_PACKED(Pcmpgtw, "pcmpgtw")
DOPPEL_PACKED(Pcmpgtd, "pcmpgtd")
DOPPEL_PACKED(Pand, "pand")
DOPPEL_PACKED(Pandn, "pandn")
DOPPEL_PACKED(Por, "por")
DOPPEL_PACKED(Pxor, "pxor")
DOPPEL_PACKED(Packsswb, "packsswb")
DOPPEL_PACKED(Packssdw, "packssdw")
DOPPEL_PACKED(Packuswb, "packuswb")
DOPPEL_PACKED(Punpcklbw, "punpcklbw")
DOPPEL_PACKED(Punpcklwd, "punpcklwd")
DOPPEL_PACKED(Punpckldq, "punpckldq")
DOPPEL_PACKED(Punpckhbw, "punpckhbw")
DOPPEL_PACKED(Punpckhwd, "punpckhwd")
DOPPEL_PACKED(Punpckhdq, "punpckhdq")
DOPPEL_XMM(Punpcklqdq, "punpcklqdq")
DOPPEL_XMM(Punpckhqdq, "punpckhqdq")
DOPPEL_PACKED(Pshufb, "pshufb")
DOPPEL_PACKED(Phaddw, "phaddw")
DOPPEL_PACKED(Phaddd, "phaddd")
DOPPEL_PACKED(Phaddsw, "phaddsw")
DOPPEL_PACKED(Phsubw, "phsubw")
DOPPEL_PACKED(Phsubd, "phsubd")
DOPPEL_PACKED(Phsubsw, "phsubsw")
DOPPEL_PACKED(Psignb, "psignb")
DOPPEL_PACKED(Psignw, "psignw")
DOPPEL_PACKED(Psignd, "psignd")
DOPPEL_PACKED(Pabsb, "pabsb")
DOPPEL_PACKED(Pabsw, "pabsw")
DOPPEL_PACKED(Pabsd, "pabsd")
DOPPEL_XMM(Packusdw, "packusdw")
DOPPEL_XMM(Pcmpeqq, "pcmpeqq")
DOPPEL_XMM(Pcmpgtq, "pcmpgtq")
DOPPEL_XMM(Pminsb, "pminsb")
DOPPEL_XMM(Pminsd, "pminsd")
DOPPEL_XMM(Pminuw, "pminuw")
DOPPEL_XMM(Pminud, "pminud")
DOPPEL_XMM(Pmaxsb, "pmaxsb")
DOPPEL_XMM(Pmaxsd, "pmaxsd")
DOPPEL_XMM(Pmaxuw, "pmaxuw")
DOPPEL_XMM(Pmaxud, "pmaxud")
DOPPEL_XMM(Pmulld, "pmulld")
DOPPEL_XMM(Pmuldq, "pmuldq")
DOPPEL_XMM(Phminposuw, "phminposuw")
DOPPEL_XMM(Pmovsxbw, "pmovsxbw")
DOPPEL_XMM(Pmovsxbd, "pmovsxbd")
DOPPEL_XMM(Pmovsxbq, "pmovsxbq")
DOPPEL_XMM(Pmovsxwd, "pmovsxwd")
DOPPEL_XMM(Pmovsxwq, "pmovsxwq")
DOPPEL_XMM(Pmovsxdq, "pmovsxdq")
DOPPEL_XMM(Pmovzxbw, "pmovzxbw")
DOPPEL_XMM(Pmovzxbd, "pmovzxbd")
DOPPEL_XMM(Pmovzxbq, "pmovzxbq")
DOPPEL_XMM(Pmovzxwd, "pmovzxwd")
DOPPEL_XMM(Pmovzxwq, "pmovzxwq")
DOPPEL_XMM(Pmovzxdq, "pmovzxdq")
DOPPEL_PACKED(Psllw, "psllw")
DOPPEL_PACKED(Pslld, "pslld")
DOPPEL_PACKED(Psllq, "psllq")
DOPPEL_PACKED(Psrlw, "psrlw")
DOPPEL_PACKED(Psrld, "psrld")
DOPPEL_PACKED(Psrlq, "psrlq")
DOPPEL_PACKED(Psraw, "psraw")
DOPPEL_PACKED(Psrad, "psrad")
DOPPEL_XMM(Aesenc, "aesenc")
DOPPEL_XMM(Aesenclast, "aesenclast")
DOPPEL_XMM(Aesdec, "aesdec")
DOPPEL_XMM(Aesdeclast, "aesdeclast")
DOPPEL_XMM(Aesimc, "aesimc")

// Shifts also take their count from an immediate: the register form with that count.
template <class F>
void shift_immediate(Cpu& cpu, const Op* op) {
  DOPPEL_CHECK_SSE(cpu, op);
  set_xmm(cpu, op->a, F::xmm(get_xmm(cpu, op->a), _mm_cvtsi32_si128(static_cast<u8>(op->immediate))));
  return next(cpu, op);
}
template <class F>
void shift_mmx_immediate(Cpu& cpu, const Op* op) {
  DOPPEL_CHECK_MMX(cpu, op);
  enter_mmx(cpu);
  set_mmx(cpu, op->a, F::mmx(get_mmx(cpu, op->a), static_cast<u8>(op->immediate)));
  return next(cpu, op);
}
template <class F>
Binding bind_shift(const x86::Instruction& instruction, Op& op) {
  if (instruction.operands[1].kind != x86::OperandKind::immediate) return bind_packed<F>(instruction, op);
  return {instruction.operands[0].kind == x86::OperandKind::mmx ? shift_mmx_immediate<F> : shift_immediate<F>};
}

constexpr BindRow rows[] = {
    {ZYDIS_MNEMONIC_PADDB, bind_packed<Paddb>},
    {ZYDIS_MNEMONIC_PADDW, bind_packed<Paddw>},
    {ZYDIS_MNEMONIC_PADDD, bind_packed<Paddd>},
    {ZYDIS_MNEMONIC_PADDQ, bind_packed<Paddq>},
    {ZYDIS_MNEMONIC_PADDSB, bind_packed<Paddsb>},
    {ZYDIS_MNEMONIC_PADDSW, bind_packed<Paddsw>},
    {ZYDIS_MNEMONIC_PADDUSB, bind_packed<Paddusb>},
    {ZYDIS_MNEMONIC_PADDUSW, bind_packed<Paddusw>},
    {ZYDIS_MNEMONIC_PSUBB, bind_packed<Psubb>},
    {ZYDIS_MNEMONIC_PSUBW, bind_packed<Psubw>},
    {ZYDIS_MNEMONIC_PSUBD, bind_packed<Psubd>},
    {ZYDIS_MNEMONIC_PSUBQ, bind_packed<Psubq>},
    {ZYDIS_MNEMONIC_PSUBSB, bind_packed<Psubsb>},
    {ZYDIS_MNEMONIC_PSUBSW, bind_packed<Psubsw>},
    {ZYDIS_MNEMONIC_PSUBUSB, bind_packed<Psubusb>},
    {ZYDIS_MNEMONIC_PSUBUSW, bind_packed<Psubusw>},
    {ZYDIS_MNEMONIC_PMULLW, bind_packed<Pmullw>},
    {ZYDIS_MNEMONIC_PMULHW, bind_packed<Pmulhw>},
    {ZYDIS_MNEMONIC_PMULHUW, bind_packed<Pmulhuw>},
    {ZYDIS_MNEMONIC_PMULHRSW, bind_packed<Pmulhrsw>},
    {ZYDIS_MNEMONIC_PMULUDQ, bind_packed<Pmuludq>},
    {ZYDIS_MNEMONIC_PMADDWD, bind_packed<Pmaddwd>},
    {ZYDIS_MNEMONIC_PMADDUBSW, bind_packed<Pmaddubsw>},
    {ZYDIS_MNEMONIC_PAVGB, bind_packed<Pavgb>},
    {ZYDIS_MNEMONIC_PAVGW, bind_packed<Pavgw>},
    {ZYDIS_MNEMONIC_PSADBW, bind_packed<Psadbw>},
    {ZYDIS_MNEMONIC_PMINUB, bind_packed<Pminub>},
    {ZYDIS_MNEMONIC_PMINSW, bind_packed<Pminsw>},
    {ZYDIS_MNEMONIC_PMAXUB, bind_packed<Pmaxub>},
    {ZYDIS_MNEMONIC_PMAXSW, bind_packed<Pmaxsw>},
    {ZYDIS_MNEMONIC_PCMPEQB, bind_packed<Pcmpeqb>},
    {ZYDIS_MNEMONIC_PCMPEQW, bind_packed<Pcmpeqw>},
    {ZYDIS_MNEMONIC_PCMPEQD, bind_packed<Pcmpeqd>},
    {ZYDIS_MNEMONIC_PCMPGTB, bind_packed<Pcmpgtb>},
    {ZYDIS_MNEMONIC_PCMPGTW, bind_packed<Pcmpgtw>},
    {ZYDIS_MNEMONIC_PCMPGTD, bind_packed<Pcmpgtd>},
    {ZYDIS_MNEMONIC_PAND, bind_packed<Pand>},
    {ZYDIS_MNEMONIC_PANDN, bind_packed<Pandn>},
    {ZYDIS_MNEMONIC_POR, bind_packed<Por>},
    {ZYDIS_MNEMONIC_PXOR, bind_packed<Pxor>},
    {ZYDIS_MNEMONIC_PACKSSWB, bind_packed<Packsswb>},
    {ZYDIS_MNEMONIC_PACKSSDW, bind_packed<Packssdw>},
    {ZYDIS_MNEMONIC_PACKUSWB, bind_packed<Packuswb>},
    {ZYDIS_MNEMONIC_PUNPCKLBW, bind_packed<Punpcklbw>},
    {ZYDIS_MNEMONIC_PUNPCKLWD, bind_packed<Punpcklwd>},
    {ZYDIS_MNEMONIC_PUNPCKLDQ, bind_packed<Punpckldq>},
    {ZYDIS_MNEMONIC_PUNPCKHBW, bind_packed<Punpckhbw>},
    {ZYDIS_MNEMONIC_PUNPCKHWD, bind_packed<Punpckhwd>},
    {ZYDIS_MNEMONIC_PUNPCKHDQ, bind_packed<Punpckhdq>},
    {ZYDIS_MNEMONIC_PUNPCKLQDQ, bind_xmm<Punpcklqdq>},
    {ZYDIS_MNEMONIC_PUNPCKHQDQ, bind_xmm<Punpckhqdq>},
    {ZYDIS_MNEMONIC_PSHUFB, bind_packed<Pshufb>},
    {ZYDIS_MNEMONIC_PHADDW, bind_packed<Phaddw>},
    {ZYDIS_MNEMONIC_PHADDD, bind_packed<Phaddd>},
    {ZYDIS_MNEMONIC_PHADDSW, bind_packed<Phaddsw>},
    {ZYDIS_MNEMONIC_PHSUBW, bind_packed<Phsubw>},
    {ZYDIS_MNEMONIC_PHSUBD, bind_packed<Phsubd>},
    {ZYDIS_MNEMONIC_PHSUBSW, bind_packed<Phsubsw>},
    {ZYDIS_MNEMONIC_PSIGNB, bind_packed<Psignb>},
    {ZYDIS_MNEMONIC_PSIGNW, bind_packed<Psignw>},
    {ZYDIS_MNEMONIC_PSIGND, bind_packed<Psignd>},
    {ZYDIS_MNEMONIC_PABSB, bind_packed<Pabsb>},
    {ZYDIS_MNEMONIC_PABSW, bind_packed<Pabsw>},
    {ZYDIS_MNEMONIC_PABSD, bind_packed<Pabsd>},
    {ZYDIS_MNEMONIC_PACKUSDW, bind_xmm<Packusdw>},
    {ZYDIS_MNEMONIC_PCMPEQQ, bind_xmm<Pcmpeqq>},
    {ZYDIS_MNEMONIC_PCMPGTQ, bind_xmm<Pcmpgtq>},
    {ZYDIS_MNEMONIC_PMINSB, bind_xmm<Pminsb>},
    {ZYDIS_MNEMONIC_PMINSD, bind_xmm<Pminsd>},
    {ZYDIS_MNEMONIC_PMINUW, bind_xmm<Pminuw>},
    {ZYDIS_MNEMONIC_PMINUD, bind_xmm<Pminud>},
    {ZYDIS_MNEMONIC_PMAXSB, bind_xmm<Pmaxsb>},
    {ZYDIS_MNEMONIC_PMAXSD, bind_xmm<Pmaxsd>},
    {ZYDIS_MNEMONIC_PMAXUW, bind_xmm<Pmaxuw>},
    {ZYDIS_MNEMONIC_PMAXUD, bind_xmm<Pmaxud>},
    {ZYDIS_MNEMONIC_PMULLD, bind_xmm<Pmulld>},
    {ZYDIS_MNEMONIC_PMULDQ, bind_xmm<Pmuldq>},
    {ZYDIS_MNEMONIC_PHMINPOSUW, bind_xmm<Phminposuw>},
    {ZYDIS_MNEMONIC_PMOVSXBW, bind_xmm<Pmovsxbw>},
    {ZYDIS_MNEMONIC_PMOVSXBD, bind_xmm<Pmovsxbd>},
    {ZYDIS_MNEMONIC_PMOVSXBQ, bind_xmm<Pmovsxbq>},
    {ZYDIS_MNEMONIC_PMOVSXWD, bind_xmm<Pmovsxwd>},
    {ZYDIS_MNEMONIC_PMOVSXWQ, bind_xmm<Pmovsxwq>},
    {ZYDIS_MNEMONIC_PMOVSXDQ, bind_xmm<Pmovsxdq>},
    {ZYDIS_MNEMONIC_PMOVZXBW, bind_xmm<Pmovzxbw>},
    {ZYDIS_MNEMONIC_PMOVZXBD, bind_xmm<Pmovzxbd>},
    {ZYDIS_MNEMONIC_PMOVZXBQ, bind_xmm<Pmovzxbq>},
    {ZYDIS_MNEMONIC_PMOVZXWD, bind_xmm<Pmovzxwd>},
    {ZYDIS_MNEMONIC_PMOVZXWQ, bind_xmm<Pmovzxwq>},
    {ZYDIS_MNEMONIC_PMOVZXDQ, bind_xmm<Pmovzxdq>},
    {ZYDIS_MNEMONIC_PSLLW, bind_shift<Psllw>},
    {ZYDIS_MNEMONIC_PSLLD, bind_shift<Pslld>},
    {ZYDIS_MNEMONIC_PSLLQ, bind_shift<Psllq>},
    {ZYDIS_MNEMONIC_PSRLW, bind_shift<Psrlw>},
    {ZYDIS_MNEMONIC_PSRLD, bind_shift<Psrld>},
    {ZYDIS_MNEMONIC_PSRLQ, bind_shift<Psrlq>},
    {ZYDIS_MNEMONIC_PSRAW, bind_shift<Psraw>},
    {ZYDIS_MNEMONIC_PSRAD, bind_shift<Psrad>},
    {ZYDIS_MNEMONIC_AESENC, bind_xmm<Aesenc>},
    {ZYDIS_MNEMONIC_AESENCLAST, bind_xmm<Aesenclast>},
    {ZYDIS_MNEMONIC_AESDEC, bind_xmm<Aesdec>},
    {ZYDIS_MNEMONIC_AESDECLAST, bind_xmm<Aesdeclast>},
    {ZYDIS_MNEMONIC_AESIMC, bind_xmm<Aesimc>},
};

}  // namespace

std::span<const BindRow> sse_integer_rows() { return rows; }

}  // namespace doppel::interpreter
