// What programs execute most of AVX: moves of whole registers, and integer and bitwise operations whose 128-bit lanes are independent.
// They take less time as one or two SSE instructions than through a stub, and the results are the same. Non-temporal stores are
// ordinary stores, as in sse/. Intel SDM vol. 2.
#include "engine/interpreter/avx/vex.h"
#include "engine/interpreter/sse/packed.h"

namespace doppel::interpreter {
namespace {

using x86::Instruction;
using x86::OperandKind;

V low_half(const Cpu& cpu, u8 index) { return get_xmm(cpu, index); }
V high_half(const Cpu& cpu, u8 index) {
  return _mm_load_si128(reinterpret_cast<const V*>(&cpu.s.vectors[index].words[2]));
}
// VEX instructions clear what is above their result.
template <unsigned bytes>
[[gnu::always_inline]] inline void set_register(Cpu& cpu, u8 index, V low, V high) {
  set_xmm(cpu, index, low);
  _mm_store_si128(reinterpret_cast<V*>(&cpu.s.vectors[index].words[2]), bytes == 32 ? high : _mm_setzero_si128());
}

// ---- moves ----

template <unsigned bytes>
void copy(Cpu& cpu, const Op* op) {
  DOPPEL_CHECK_AVX(cpu, op);
  set_register<bytes>(cpu, op->a, low_half(cpu, op->b), high_half(cpu, op->b));
  return next(cpu, op);
}

template <unsigned bytes, bool aligned>
void load_register(Cpu& cpu, const Op* op) {
  DOPPEL_CHECK_AVX(cpu, op);
  const u8* from = memory_source<bytes, aligned>(cpu, op);
  if (!from) [[unlikely]]
    return faulted(cpu, op);
  const V low = load_vector<16>(from), high = bytes == 32 ? load_vector<16>(from + 16) : low;
  set_register<bytes>(cpu, op->a, low, high);
  return next(cpu, op);
}

template <unsigned bytes>
[[gnu::noinline]] bool store_slow(Cpu& cpu, const Op* op, u64 linear) {
  std::memcpy(cpu.scratch, cpu.s.vectors[op->b].words.data(), bytes);
  return store_bytes(cpu, linear, cpu.scratch, bytes, static_cast<x86::Segment>(op->segment));
}

template <unsigned bytes>
void store_register(Cpu& cpu, const Op* op) {
  DOPPEL_CHECK_AVX(cpu, op);
  const Linear linear = vex_linear(cpu, op, AccessKind::write);
  if (!linear.ok) [[unlikely]]
    return faulted(cpu, op);
  if (u8* host = store_target(cpu, linear.address, bytes)) [[likely]] {
    _mm_storeu_si128(reinterpret_cast<V*>(host), low_half(cpu, op->b));
    if constexpr (bytes == 32) _mm_storeu_si128(reinterpret_cast<V*>(host + 16), high_half(cpu, op->b));
    return next(cpu, op);
  }
  if (!store_slow<bytes>(cpu, op, linear.address)) return faulted(cpu, op);
  return next(cpu, op);
}

template <bool aligned>
Binding bind_move(const Instruction& instruction, Op& op) {
  const bool wide = instruction.vex.l;
  op.bytes = wide ? 32 : 16;
  if (instruction.operands[0].kind == OperandKind::memory) {
    if (aligned) op.flags |= op_flag::aligned;
    return {wide ? store_register<32> : store_register<16>};
  }
  if (instruction.operands[1].kind == OperandKind::memory)
    return {wide ? load_register<32, aligned> : load_register<16, aligned>};
  return {wide ? copy<32> : copy<16>};
}

// ---- destination ← f(first source, second source), lane by lane ----

template <class F, unsigned bytes>
void lanes_register(Cpu& cpu, const Op* op) {
  DOPPEL_CHECK_AVX(cpu, op);
  const V low = F::xmm(low_half(cpu, op->b), low_half(cpu, op->c));
  const V high = bytes == 32 ? F::xmm(high_half(cpu, op->b), high_half(cpu, op->c)) : low;
  set_register<bytes>(cpu, op->a, low, high);
  return next(cpu, op);
}

template <class F, unsigned bytes>
void lanes_memory(Cpu& cpu, const Op* op) {
  DOPPEL_CHECK_AVX(cpu, op);
  const u8* from = memory_source<bytes, false>(cpu, op);
  if (!from) [[unlikely]]
    return faulted(cpu, op);
  const V low = F::xmm(low_half(cpu, op->b), load_vector<16>(from));
  const V high = bytes == 32 ? F::xmm(high_half(cpu, op->b), load_vector<16>(from + 16)) : low;
  set_register<bytes>(cpu, op->a, low, high);
  return next(cpu, op);
}

template <class F>
Binding bind_lanes(const Instruction& instruction, Op&) {
  const bool wide = instruction.vex.l;
  if (instruction.operands[2].kind == OperandKind::memory) return {wide ? lanes_memory<F, 32> : lanes_memory<F, 16>};
  return {wide ? lanes_register<F, 32> : lanes_register<F, 16>};
}

DOPPEL_XMM(And, "pand")
DOPPEL_XMM(AndNot, "pandn")
DOPPEL_XMM(Or, "por")
DOPPEL_XMM(Xor, "pxor")
DOPPEL_XMM(Addb, "paddb")
DOPPEL_XMM(Addw, "paddw")
DOPPEL_XMM(Addd, "paddd")
DOPPEL_XMM(Addq, "paddq")
DOPPEL_XMM(Subb, "psubb")
DOPPEL_XMM(Subw, "psubw")
DOPPEL_XMM(Subd, "psubd")
DOPPEL_XMM(Subq, "psubq")
DOPPEL_XMM(Cmpeqb, "pcmpeqb")
DOPPEL_XMM(Cmpeqw, "pcmpeqw")
DOPPEL_XMM(Cmpeqd, "pcmpeqd")
DOPPEL_XMM(Cmpgtb, "pcmpgtb")
DOPPEL_XMM(Minub, "pminub")
DOPPEL_XMM(Maxub, "pmaxub")
DOPPEL_XMM(Shufb, "pshufb")

template <unsigned bytes>
void byte_signs(Cpu& cpu, const Op* op) {
  DOPPEL_CHECK_AVX(cpu, op);
  const auto low = static_cast<u32>(_mm_movemask_epi8(low_half(cpu, op->b)));
  const u32 high = bytes == 32 ? static_cast<u32>(_mm_movemask_epi8(high_half(cpu, op->b))) : 0;
  cpu.reg<u64>(op->a) = low | high << 16;
  return next(cpu, op);
}
Binding bind_byte_signs(const Instruction& instruction, Op&) {
  return {instruction.vex.l ? byte_signs<32> : byte_signs<16>};
}

constexpr BindRow rows[] = {
    {ZYDIS_MNEMONIC_VMOVAPS, bind_move<true>},     {ZYDIS_MNEMONIC_VMOVAPD, bind_move<true>},
    {ZYDIS_MNEMONIC_VMOVDQA, bind_move<true>},     {ZYDIS_MNEMONIC_VMOVUPS, bind_move<false>},
    {ZYDIS_MNEMONIC_VMOVUPD, bind_move<false>},    {ZYDIS_MNEMONIC_VMOVDQU, bind_move<false>},
    {ZYDIS_MNEMONIC_VMOVNTPS, bind_move<true>},    {ZYDIS_MNEMONIC_VMOVNTPD, bind_move<true>},
    {ZYDIS_MNEMONIC_VMOVNTDQ, bind_move<true>},    {ZYDIS_MNEMONIC_VMOVNTDQA, bind_move<true>},
    {ZYDIS_MNEMONIC_VLDDQU, bind_move<false>},     {ZYDIS_MNEMONIC_VPMOVMSKB, bind_byte_signs},
    {ZYDIS_MNEMONIC_VPAND, bind_lanes<And>},       {ZYDIS_MNEMONIC_VANDPS, bind_lanes<And>},
    {ZYDIS_MNEMONIC_VANDPD, bind_lanes<And>},      {ZYDIS_MNEMONIC_VPANDN, bind_lanes<AndNot>},
    {ZYDIS_MNEMONIC_VANDNPS, bind_lanes<AndNot>},  {ZYDIS_MNEMONIC_VANDNPD, bind_lanes<AndNot>},
    {ZYDIS_MNEMONIC_VPOR, bind_lanes<Or>},         {ZYDIS_MNEMONIC_VORPS, bind_lanes<Or>},
    {ZYDIS_MNEMONIC_VORPD, bind_lanes<Or>},        {ZYDIS_MNEMONIC_VPXOR, bind_lanes<Xor>},
    {ZYDIS_MNEMONIC_VXORPS, bind_lanes<Xor>},      {ZYDIS_MNEMONIC_VXORPD, bind_lanes<Xor>},
    {ZYDIS_MNEMONIC_VPADDB, bind_lanes<Addb>},     {ZYDIS_MNEMONIC_VPADDW, bind_lanes<Addw>},
    {ZYDIS_MNEMONIC_VPADDD, bind_lanes<Addd>},     {ZYDIS_MNEMONIC_VPADDQ, bind_lanes<Addq>},
    {ZYDIS_MNEMONIC_VPSUBB, bind_lanes<Subb>},     {ZYDIS_MNEMONIC_VPSUBW, bind_lanes<Subw>},
    {ZYDIS_MNEMONIC_VPSUBD, bind_lanes<Subd>},     {ZYDIS_MNEMONIC_VPSUBQ, bind_lanes<Subq>},
    {ZYDIS_MNEMONIC_VPCMPEQB, bind_lanes<Cmpeqb>}, {ZYDIS_MNEMONIC_VPCMPEQW, bind_lanes<Cmpeqw>},
    {ZYDIS_MNEMONIC_VPCMPEQD, bind_lanes<Cmpeqd>}, {ZYDIS_MNEMONIC_VPCMPGTB, bind_lanes<Cmpgtb>},
    {ZYDIS_MNEMONIC_VPMINUB, bind_lanes<Minub>},   {ZYDIS_MNEMONIC_VPMAXUB, bind_lanes<Maxub>},
    {ZYDIS_MNEMONIC_VPSHUFB, bind_lanes<Shufb>},
};

}  // namespace

std::span<const BindRow> avx_frequent_rows() { return rows; }

}  // namespace doppel::interpreter
