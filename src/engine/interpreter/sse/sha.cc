// SHA extensions and GF2P8MULB; those with an immediate are in immediate.cc. Intel SDM vol. 2.
#include "engine/interpreter/sse/packed.h"
#include "engine/interpreter/sse/rows.h"

namespace doppel::interpreter {
namespace {

DOPPEL_XMM(Sha1nexte, "sha1nexte")
DOPPEL_XMM(Sha1msg1, "sha1msg1")
DOPPEL_XMM(Sha1msg2, "sha1msg2")
DOPPEL_XMM(Sha256msg1, "sha256msg1")
DOPPEL_XMM(Sha256msg2, "sha256msg2")
DOPPEL_XMM(Gf2p8mulb, "gf2p8mulb")

// XMM0 is the third source.
template <bool memory>
void sha256rnds2(Cpu& cpu, const Op* op) {
  DOPPEL_CHECK_SSE(cpu, op);
  const u8* from = vector_source<memory, 16, true>(cpu, op);
  if (!from) [[unlikely]]
    return faulted(cpu, op);
  const V source = load_vector<16>(from);
  register V keys asm("xmm0") = get_xmm(cpu, 0);
  V result = get_xmm(cpu, op->a);
  asm volatile("sha256rnds2 %2, %1, %0" : "+x"(result) : "x"(source), "x"(keys));
  set_xmm(cpu, op->a, result);
  return next(cpu, op);
}
Binding bind_sha256rnds2(const x86::Instruction& instruction, Op&) {
  return {instruction.has_memory() ? sha256rnds2<true> : sha256rnds2<false>};
}

constexpr BindRow rows[] = {
    {ZYDIS_MNEMONIC_SHA1NEXTE, bind_xmm<Sha1nexte>},   {ZYDIS_MNEMONIC_SHA1MSG1, bind_xmm<Sha1msg1>},
    {ZYDIS_MNEMONIC_SHA1MSG2, bind_xmm<Sha1msg2>},     {ZYDIS_MNEMONIC_SHA256MSG1, bind_xmm<Sha256msg1>},
    {ZYDIS_MNEMONIC_SHA256MSG2, bind_xmm<Sha256msg2>}, {ZYDIS_MNEMONIC_SHA256RNDS2, bind_sha256rnds2},
    {ZYDIS_MNEMONIC_GF2P8MULB, bind_xmm<Gf2p8mulb>},
};

}  // namespace

std::span<const BindRow> sse_sha_rows() { return rows; }

}  // namespace doppel::interpreter
