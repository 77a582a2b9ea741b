// Instructions with an immediate that selects what they do (shuffles, blends, rounding, comparison predicates, dot products):
// the host instruction with every immediate, in a table that binding indexes. Intel SDM vol. 2.
#include <algorithm>
#include <array>
#include <utility>

#include "engine/interpreter/sse/packed.h"
#include "engine/interpreter/sse/rows.h"

namespace doppel::interpreter {
namespace {

using XmmFunction = V (*)(V, V);
struct Entry {
  XmmFunction function;
};

// An operation family: `at<imm>::xmm` is the instruction with that immediate.
#define DOPPEL_IMMEDIATE(Name, mnemonic, is_floating)                    \
  struct Name {                                                          \
    static constexpr bool floating = is_floating;                        \
    template <int imm>                                                   \
    static V xmm(V a, V b) {                                             \
      asm volatile(mnemonic " %2, %1, %0" : "+x"(a) : "x"(b), "i"(imm)); \
      return a;                                                          \
    }                                                                    \
  };
DOPPEL_IMMEDIATE(Pshufd, "pshufd", false)
DOPPEL_IMMEDIATE(Pshuflw, "pshuflw", false)
DOPPEL_IMMEDIATE(Pshufhw, "pshufhw", false)
DOPPEL_IMMEDIATE(Shufps, "shufps", false)
DOPPEL_IMMEDIATE(Shufpd, "shufpd", false)
DOPPEL_IMMEDIATE(Palignr, "palignr", false)
DOPPEL_IMMEDIATE(Blendps, "blendps", false)
DOPPEL_IMMEDIATE(Blendpd, "blendpd", false)
DOPPEL_IMMEDIATE(Pblendw, "pblendw", false)
DOPPEL_IMMEDIATE(Mpsadbw, "mpsadbw", false)
DOPPEL_IMMEDIATE(Pclmulqdq, "pclmulqdq", false)
DOPPEL_IMMEDIATE(Aeskeygenassist, "aeskeygenassist", false)
DOPPEL_IMMEDIATE(Sha1rnds4, "sha1rnds4", false)
DOPPEL_IMMEDIATE(Gf2p8affineqb, "gf2p8affineqb", false)
DOPPEL_IMMEDIATE(Gf2p8affineinvqb, "gf2p8affineinvqb", false)
DOPPEL_IMMEDIATE(Roundps, "roundps", true)
DOPPEL_IMMEDIATE(Roundpd, "roundpd", true)
DOPPEL_IMMEDIATE(Roundss, "roundss", true)
DOPPEL_IMMEDIATE(Roundsd, "roundsd", true)
DOPPEL_IMMEDIATE(Cmpps, "cmpps", true)
DOPPEL_IMMEDIATE(Cmppd, "cmppd", true)
DOPPEL_IMMEDIATE(Cmpss, "cmpss", true)
DOPPEL_IMMEDIATE(Cmpsd, "cmpsd", true)
DOPPEL_IMMEDIATE(Dpps, "dpps", true)
DOPPEL_IMMEDIATE(Dppd, "dppd", true)

template <class F, std::size_t... imm>
constexpr std::array<Entry, sizeof...(imm)> table_of(std::index_sequence<imm...>) {
  return {Entry{F::template xmm<static_cast<int>(imm)>}...};
}

template <class F, unsigned bytes>
[[gnu::always_inline]] inline void finish(Cpu& cpu, const Op* op, V source) {
  V result;
  const auto function = reinterpret_cast<XmmFunction>(op->immediate);
  if (!guarded<F::floating>(cpu, op, [&] { result = function(get_xmm(cpu, op->a), source); })) return;
  set_xmm(cpu, op->a, result);
  return next(cpu, op);
}

template <class F>
void immediate_register(Cpu& cpu, const Op* op) {
  DOPPEL_CHECK_SSE(cpu, op);
  return finish<F, 16>(cpu, op, get_xmm(cpu, op->b));
}

template <class F, unsigned bytes>
void immediate_memory(Cpu& cpu, const Op* op) {
  DOPPEL_CHECK_SSE(cpu, op);
  const u8 *from = memory_source < bytes, bytes == 16 > (cpu, op);
  if (!from) [[unlikely]]
    return faulted(cpu, op);
  return finish<F, bytes>(cpu, op, load_vector<bytes>(from));
}

// `count`: how many immediates differ; the others mean the same as their low bits.
template <class F, unsigned count = 256>
Binding bind_immediate(const x86::Instruction& instruction, Op& op) {
  static constexpr auto table = table_of<F>(std::make_index_sequence<count>());
  op.immediate = reinterpret_cast<u64>(table[static_cast<u8>(instruction.immediate) % count].function);
  if (instruction.operands[1].kind != x86::OperandKind::memory) return {immediate_register<F>};
  switch (instruction.operands[1].bytes) {
    case 16: return {immediate_memory<F, 16>};
    case 8: return {immediate_memory<F, 8>};
    case 4: return {immediate_memory<F, 4>};
    default: return {};
  }
}

// ---- PSLLDQ, PSRLDQ: a byte shift of the register by the immediate ----

template <bool left>
void shift_bytes(Cpu& cpu, const Op* op) {
  DOPPEL_CHECK_SSE(cpu, op);
  u8 bytes[48] = {};
  _mm_storeu_si128(reinterpret_cast<V*>(bytes + 16), get_xmm(cpu, op->a));
  const unsigned count = op->c;
  set_xmm(cpu, op->a, _mm_loadu_si128(reinterpret_cast<const V*>(left ? bytes + 16 - count : bytes + 16 + count)));
  return next(cpu, op);
}
template <bool left>
Binding bind_shift_bytes(const x86::Instruction& instruction, Op& op) {
  op.c = static_cast<u8>(std::min<u64>(static_cast<u8>(instruction.immediate), 16));
  return {shift_bytes<left>};
}

// ---- MMX forms: PSHUFW, PALIGNR ----

u64 shuffle_words(u64 source, u8 order) {
  u64 result = 0;
  for (unsigned i = 0; i < 4; ++i) result |= ((source >> 16 * ((order >> 2 * i) & 3)) & 0xffff) << 16 * i;
  return result;
}
u64 align_right(u64 high, u64 low, u8 bytes) {
  if (bytes >= 16) return 0;
  return static_cast<u64>((static_cast<u128>(high) << 64 | low) >> bytes * 8);
}

template <bool align, bool memory>
void mmx_immediate(Cpu& cpu, const Op* op) {
  DOPPEL_CHECK_MMX(cpu, op);
  u64 source;
  if constexpr (memory) {
    const Loaded<u64> loaded = load_operand<u64>(cpu, op);
    if (!loaded.ok) return faulted(cpu, op);
    source = loaded.value;
  } else {
    source = get_mmx(cpu, op->b);
  }
  enter_mmx(cpu);
  const auto imm = static_cast<u8>(op->immediate);
  set_mmx(cpu, op->a, align ? align_right(get_mmx(cpu, op->a), source, imm) : shuffle_words(source, imm));
  return next(cpu, op);
}
template <bool align>
Binding bind_mmx_immediate(const x86::Instruction& instruction) {
  return {instruction.has_memory() ? mmx_immediate<align, true> : mmx_immediate<align, false>};
}
Binding bind_pshufw(const x86::Instruction& instruction, Op&) { return bind_mmx_immediate<false>(instruction); }
Binding bind_palignr(const x86::Instruction& instruction, Op& op) {
  if (instruction.operands[0].kind == x86::OperandKind::mmx) return bind_mmx_immediate<true>(instruction);
  return bind_immediate<Palignr, 256>(instruction, op);
}

constexpr BindRow rows[] = {
    {ZYDIS_MNEMONIC_PSHUFD, bind_immediate<Pshufd>},
    {ZYDIS_MNEMONIC_PSHUFLW, bind_immediate<Pshuflw>},
    {ZYDIS_MNEMONIC_PSHUFHW, bind_immediate<Pshufhw>},
    {ZYDIS_MNEMONIC_PSHUFW, bind_pshufw},
    {ZYDIS_MNEMONIC_SHUFPS, bind_immediate<Shufps>},
    {ZYDIS_MNEMONIC_SHUFPD, bind_immediate<Shufpd, 4>},
    {ZYDIS_MNEMONIC_PALIGNR, bind_palignr},
    {ZYDIS_MNEMONIC_BLENDPS, bind_immediate<Blendps, 16>},
    {ZYDIS_MNEMONIC_BLENDPD, bind_immediate<Blendpd, 4>},
    {ZYDIS_MNEMONIC_PBLENDW, bind_immediate<Pblendw>},
    {ZYDIS_MNEMONIC_MPSADBW, bind_immediate<Mpsadbw, 8>},
    {ZYDIS_MNEMONIC_PCLMULQDQ, bind_immediate<Pclmulqdq, 32>},
    {ZYDIS_MNEMONIC_AESKEYGENASSIST, bind_immediate<Aeskeygenassist>},
    {ZYDIS_MNEMONIC_SHA1RNDS4, bind_immediate<Sha1rnds4, 4>},
    {ZYDIS_MNEMONIC_GF2P8AFFINEQB, bind_immediate<Gf2p8affineqb>},
    {ZYDIS_MNEMONIC_GF2P8AFFINEINVQB, bind_immediate<Gf2p8affineinvqb>},
    {ZYDIS_MNEMONIC_ROUNDPS, bind_immediate<Roundps, 16>},
    {ZYDIS_MNEMONIC_ROUNDPD, bind_immediate<Roundpd, 16>},
    {ZYDIS_MNEMONIC_ROUNDSS, bind_immediate<Roundss, 16>},
    {ZYDIS_MNEMONIC_ROUNDSD, bind_immediate<Roundsd, 16>},
    {ZYDIS_MNEMONIC_CMPPS, bind_immediate<Cmpps, 8>},
    {ZYDIS_MNEMONIC_CMPPD, bind_immediate<Cmppd, 8>},
    {ZYDIS_MNEMONIC_CMPSS, bind_immediate<Cmpss, 8>},
    {ZYDIS_MNEMONIC_DPPS, bind_immediate<Dpps>},
    {ZYDIS_MNEMONIC_DPPD, bind_immediate<Dppd>},
    {ZYDIS_MNEMONIC_PSLLDQ, bind_shift_bytes<true>},
    {ZYDIS_MNEMONIC_PSRLDQ, bind_shift_bytes<false>},
};

}  // namespace

Binding bind_cmpsd_vector(const x86::Instruction& instruction, Op& op) {
  return bind_immediate<Cmpsd, 8>(instruction, op);
}

std::span<const BindRow> sse_immediate_rows() { return rows; }

}  // namespace doppel::interpreter
