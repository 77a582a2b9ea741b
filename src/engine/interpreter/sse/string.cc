// SSE4.2 string comparison and its VEX forms: PCMPESTRI, PCMPESTRM, PCMPISTRI, PCMPISTRM, with every immediate. Intel SDM vol. 2, vol. 1 §12.3.
#include <array>
#include <utility>

#include "engine/interpreter/avx/vex.h"
#include "engine/interpreter/sse/rows.h"
#include "engine/interpreter/sse/vector.h"

namespace doppel::interpreter {
namespace {

struct Outcome {
  u64 index;
  u64 flags;
  V mask;
};
struct Lengths {
  u64 first, second;  // RAX, RDX (explicit lengths)
};
using Compare = Outcome (*)(V a, V b, Lengths lengths);
struct Entry {
  Compare compare;
};

u64 pack_flags(bool cf, bool zf, bool sf, bool of) {
  using namespace x86;
  return (cf ? rflags::cf : 0) | (zf ? rflags::zf : 0) | (sf ? rflags::sf : 0) | (of ? rflags::of : 0);
}

#define DOPPEL_STRING_FLAGS "=@ccc"(cf), "=@ccz"(zf), "=@ccs"(sf), "=@cco"(of)
// An instruction of 66 0F 3A with REX.W on XMM1 and XMM2. Assemblers have no common way to write it.
#define DOPPEL_WITH_REX_W(opcode, imm) ".byte 0x66, 0x48, 0x0f, 0x3a, " opcode ", 0xca, " imm

template <int imm>
struct Estri {
  template <bool wide>
  static Outcome run(V a, V b, Lengths lengths) {
    bool cf, zf, sf, of;
    u64 index;
    register V left asm("xmm1") = a;
    register V right asm("xmm2") = b;
    if constexpr (wide)
      asm volatile(DOPPEL_WITH_REX_W("0x61", "%c9")
                   : DOPPEL_STRING_FLAGS, "=c"(index), "+a"(lengths.first), "+d"(lengths.second)
                   : "x"(left), "x"(right), "i"(imm));
    else
      asm volatile("pcmpestri %9, %8, %7"
                   : DOPPEL_STRING_FLAGS, "=c"(index), "+a"(lengths.first), "+d"(lengths.second)
                   : "x"(left), "x"(right), "i"(imm));
    return {index, pack_flags(cf, zf, sf, of), a};
  }
};
template <int imm>
struct Estrm {
  template <bool wide>
  static Outcome run(V a, V b, Lengths lengths) {
    bool cf, zf, sf, of;
    register V mask asm("xmm0");
    register V left asm("xmm1") = a;
    register V right asm("xmm2") = b;
    if constexpr (wide)
      asm volatile(DOPPEL_WITH_REX_W("0x60", "%c9")
                   : DOPPEL_STRING_FLAGS, "=x"(mask), "+a"(lengths.first), "+d"(lengths.second)
                   : "x"(left), "x"(right), "i"(imm));
    else
      asm volatile("pcmpestrm %9, %8, %7"
                   : DOPPEL_STRING_FLAGS, "=x"(mask), "+a"(lengths.first), "+d"(lengths.second)
                   : "x"(left), "x"(right), "i"(imm));
    return {0, pack_flags(cf, zf, sf, of), mask};
  }
};
template <int imm>
struct Istri {
  template <bool>
  static Outcome run(V a, V b, Lengths) {
    bool cf, zf, sf, of;
    u64 index;
    asm volatile("pcmpistri %7, %6, %5" : DOPPEL_STRING_FLAGS, "=c"(index) : "x"(a), "x"(b), "i"(imm));
    return {index, pack_flags(cf, zf, sf, of), a};
  }
};
template <int imm>
struct Istrm {
  template <bool>
  static Outcome run(V a, V b, Lengths) {
    bool cf, zf, sf, of;
    register V mask asm("xmm0");
    register V left asm("xmm1") = a;
    register V right asm("xmm2") = b;
    asm volatile("pcmpistrm %7, %6, %5" : DOPPEL_STRING_FLAGS, "=x"(mask) : "x"(left), "x"(right), "i"(imm));
    return {0, pack_flags(cf, zf, sf, of), mask};
  }
};

constexpr unsigned immediates = 128;  // bit 7 is ignored

template <template <int> class F, bool wide, std::size_t... imm>
constexpr std::array<Entry, immediates> table_of(std::index_sequence<imm...>) {
  return {Entry{F<static_cast<int>(imm)>::template run<wide>}...};
}

template <bool memory, bool makes_mask, bool vex>
void compare_strings(Cpu& cpu, const Op* op) {
  if constexpr (vex) {
    DOPPEL_CHECK_AVX(cpu, op);
  } else {
    DOPPEL_CHECK_SSE(cpu, op);
  }
  const u8* from = vector_source<memory, 16, false>(cpu, op);
  if (!from) [[unlikely]]
    return faulted(cpu, op);
  const V source = load_vector<16>(from);
  const auto compare = reinterpret_cast<Compare>(op->immediate);
  const Outcome outcome = compare(get_xmm(cpu, op->a), source, {cpu.gpr[x86::rax], cpu.gpr[x86::rdx]});
  if constexpr (makes_mask) {
    if constexpr (vex) cpu.s.vectors[0] = {};
    set_xmm(cpu, 0, outcome.mask);
  } else {
    cpu.gpr[x86::rcx] = outcome.index;
  }
  cpu.flags.unpack(outcome.flags);
  return next(cpu, op);
}

template <template <int> class F, bool makes_mask>
Binding bind_string(const x86::Instruction& instruction, Op& op) {
  static constexpr auto narrow = table_of<F, false>(std::make_index_sequence<immediates>());
  static constexpr auto wide = table_of<F, true>(std::make_index_sequence<immediates>());
  const auto& table = instruction.operand_bytes == 8 ? wide : narrow;
  op.immediate = reinterpret_cast<u64>(table[instruction.immediate % immediates].compare);
  const bool memory = instruction.has_memory();
  if (instruction.vex.present)
    return {memory ? compare_strings<true, makes_mask, true> : compare_strings<false, makes_mask, true>};
  return {memory ? compare_strings<true, makes_mask, false> : compare_strings<false, makes_mask, false>};
}

constexpr BindRow rows[] = {
    {ZYDIS_MNEMONIC_PCMPESTRI, bind_string<Estri, false>},  {ZYDIS_MNEMONIC_PCMPESTRM, bind_string<Estrm, true>},
    {ZYDIS_MNEMONIC_PCMPISTRI, bind_string<Istri, false>},  {ZYDIS_MNEMONIC_PCMPISTRM, bind_string<Istrm, true>},
    {ZYDIS_MNEMONIC_VPCMPESTRI, bind_string<Estri, false>}, {ZYDIS_MNEMONIC_VPCMPESTRM, bind_string<Estrm, true>},
    {ZYDIS_MNEMONIC_VPCMPISTRI, bind_string<Istri, false>}, {ZYDIS_MNEMONIC_VPCMPISTRM, bind_string<Istrm, true>},
};

}  // namespace

std::span<const BindRow> sse_string_rows() { return rows; }

}  // namespace doppel::interpreter
