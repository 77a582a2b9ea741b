// Handlers for the common shape "destination ← f(destination, source)", for XMM and MMX registers alike.
//
// An operation is a type: `xmm(V, V)` and, where the instruction has that form, `mmx(u64, u64)`; `floating` if it can raise SIMD
// floating-point exceptions. Each function is the one machine instruction of that name.
#pragma once

#include "engine/interpreter/sse/vector.h"

namespace doppel::interpreter {

#define DOPPEL_XMM_FUNCTION(mnemonic)                    \
  static V xmm(V a, V b) {                               \
    asm volatile(mnemonic " %1, %0" : "+x"(a) : "x"(b)); \
    return a;                                            \
  }
#define DOPPEL_MMX_FUNCTION(mnemonic)                                                                      \
  static u64 mmx(u64 a, u64 b) {                                                                           \
    asm volatile("movq %0, %%mm0\n\tmovq %1, %%mm1\n\t" mnemonic " %%mm1, %%mm0\n\tmovq %%mm0, %0\n\temms" \
                 : "+r"(a)                                                                                 \
                 : "r"(b)                                                                                  \
                 : "mm0", "mm1");                                                                          \
    return a;                                                                                              \
  }
// XMM and MMX forms; XMM form only; floating point.
#define DOPPEL_PACKED(Name, mnemonic)                        \
  struct Name {                                              \
    [[maybe_unused]] static constexpr bool floating = false; \
    DOPPEL_XMM_FUNCTION(mnemonic)                            \
    DOPPEL_MMX_FUNCTION(mnemonic)                            \
  };
#define DOPPEL_XMM(Name, mnemonic)                           \
  struct Name {                                              \
    [[maybe_unused]] static constexpr bool floating = false; \
    DOPPEL_XMM_FUNCTION(mnemonic)                            \
  };
#define DOPPEL_FLOAT(Name, mnemonic)                        \
  struct Name {                                             \
    [[maybe_unused]] static constexpr bool floating = true; \
    DOPPEL_XMM_FUNCTION(mnemonic)                           \
  };

template <class F>
void packed_register(Cpu& cpu, const Op* op) {
  DOPPEL_CHECK_SSE(cpu, op);
  V result;
  if (!guarded<F::floating>(cpu, op, [&] { result = F::xmm(get_xmm(cpu, op->a), get_xmm(cpu, op->b)); })) return;
  set_xmm(cpu, op->a, result);
  return next(cpu, op);
}

template <class F, unsigned bytes, bool aligned>
void packed_memory(Cpu& cpu, const Op* op) {
  DOPPEL_CHECK_SSE(cpu, op);
  const u8* from = memory_source<bytes, aligned>(cpu, op);
  if (!from) [[unlikely]]
    return faulted(cpu, op);
  V result;
  if (!guarded<F::floating>(cpu, op, [&] { result = F::xmm(get_xmm(cpu, op->a), load_vector<bytes>(from)); })) return;
  set_xmm(cpu, op->a, result);
  return next(cpu, op);
}

template <class F>
void packed_mmx_register(Cpu& cpu, const Op* op) {
  DOPPEL_CHECK_MMX(cpu, op);
  enter_mmx(cpu);
  set_mmx(cpu, op->a, F::mmx(get_mmx(cpu, op->a), get_mmx(cpu, op->b)));
  return next(cpu, op);
}

// Some MMX forms read 4 bytes of memory (PUNPCKL…); `bytes` says how many.
template <class F, unsigned bytes>
void packed_mmx_memory(Cpu& cpu, const Op* op) {
  DOPPEL_CHECK_MMX(cpu, op);
  const u8* from = memory_source<bytes, false>(cpu, op);
  if (!from) [[unlikely]]
    return faulted(cpu, op);
  const u64 source = bytes == 4 ? get<u32>(from) : get<u64>(from);
  enter_mmx(cpu);
  set_mmx(cpu, op->a, F::mmx(get_mmx(cpu, op->a), source));
  return next(cpu, op);
}

template <class F>
Binding bind_xmm(const x86::Instruction& instruction, Op&) {
  if (instruction.operands[1].kind != x86::OperandKind::memory) return {packed_register<F>};
  switch (instruction.operands[1].bytes) {
    case 16: return {packed_memory<F, 16, true>};
    case 8: return {packed_memory<F, 8, false>};
    case 4: return {packed_memory<F, 4, false>};
    case 2: return {packed_memory<F, 2, false>};
    default: return {};
  }
}

template <class F>
Binding bind_packed(const x86::Instruction& instruction, Op& op) {
  if (instruction.operands[0].kind != x86::OperandKind::mmx) return bind_xmm<F>(instruction, op);
  if (instruction.operands[1].kind != x86::OperandKind::memory) return {packed_mmx_register<F>};
  return {instruction.operands[1].bytes == 4 ? packed_mmx_memory<F, 4> : packed_mmx_memory<F, 8>};
}

}  // namespace doppel::interpreter
