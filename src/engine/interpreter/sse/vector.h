// What the SSE and MMX handlers share: register access, memory sources, availability checks, floating-point exceptions.
//
// Packed and scalar arithmetic executes on the host's own vector unit (one inline-assembly function per operation): results, NaN
// payloads, rounding and flags are then the processor's own. The host's MXCSR is the guest's with all exceptions masked
// (fpu_environment.h); only while the guest unmasks one are the flags examined per instruction. Intel SDM vol. 1 §10–§11.
#pragma once

#include <emmintrin.h>

#include "engine/interpreter/bind.h"
#include "engine/interpreter/fpu_environment.h"
#include "engine/interpreter/memory_access.h"

namespace doppel::interpreter {

using V = __m128i;

inline V get_xmm(const Cpu& cpu, u8 index) { return _mm_load_si128(reinterpret_cast<const V*>(&cpu.s.vectors[index])); }
inline void set_xmm(Cpu& cpu, u8 index, V value) {
  _mm_store_si128(reinterpret_cast<V*>(&cpu.s.vectors[index]), value);
}

// Low elements only; the rest of the register stays.
inline void set_xmm_low64(Cpu& cpu, u8 index, u64 value) { cpu.s.vectors[index].words[0] = value; }
inline void set_xmm_low32(Cpu& cpu, u8 index, u32 value) {
  std::memcpy(cpu.s.vectors[index].words.data(), &value, sizeof(value));
}

// ---- memory ----

// The memory operand's bytes: in guest RAM when they lie in one page, else gathered in cpu.scratch; nullptr: fault recorded.
template <unsigned bytes, bool aligned>
[[gnu::always_inline]] inline const u8* memory_source(Cpu& cpu, const Op* op) {
  const Linear linear = operand_linear(cpu, op, bytes, AccessKind::read);
  if (!linear.ok) [[unlikely]]
    return nullptr;
  if (aligned && (linear.address & (bytes - 1))) [[unlikely]] {
    set_fault(cpu, x86::general_protection, 0);
    return nullptr;
  }
  if (const u8* host = load_target(cpu, linear.address, bytes)) [[likely]]
    return host;
  return load_bytes(cpu, linear.address, cpu.scratch, bytes, static_cast<x86::Segment>(op->segment)) ? cpu.scratch
                                                                                                     : nullptr;
}

template <unsigned bytes, bool aligned>
[[gnu::always_inline]] inline bool store_vector(Cpu& cpu, const Op* op, V value) {
  const Linear linear = operand_linear(cpu, op, bytes, AccessKind::write);
  if (!linear.ok) [[unlikely]]
    return false;
  if (aligned && (linear.address & (bytes - 1))) [[unlikely]] {
    set_fault(cpu, x86::general_protection, 0);
    return false;
  }
  if (u8* host = store_target(cpu, linear.address, bytes)) [[likely]] {
    if constexpr (bytes == 16)
      _mm_storeu_si128(reinterpret_cast<V*>(host), value);
    else if constexpr (bytes == 8)
      _mm_storel_epi64(reinterpret_cast<V*>(host), value);
    else
      put<u32>(host, static_cast<u32>(_mm_cvtsi128_si32(value)));
    return true;
  }
  _mm_storeu_si128(reinterpret_cast<V*>(cpu.scratch), value);
  return store_bytes(cpu, linear.address, cpu.scratch, bytes, static_cast<x86::Segment>(op->segment));
}

// Zero-extended to the whole register.
template <unsigned bytes>
[[gnu::always_inline]] inline V load_vector(const u8* from) {
  if constexpr (bytes == 16) return _mm_loadu_si128(reinterpret_cast<const V*>(from));
  if constexpr (bytes == 8) return _mm_loadl_epi64(reinterpret_cast<const V*>(from));
  if constexpr (bytes == 4) return _mm_cvtsi32_si128(static_cast<int>(get<u32>(from)));
  if constexpr (bytes == 2) return _mm_cvtsi32_si128(get<u16>(from));
}

// The second operand's bytes: a register's, or memory's.
template <bool memory, unsigned bytes, bool aligned>
[[gnu::always_inline]] inline const u8* vector_source(Cpu& cpu, const Op* op) {
  if constexpr (memory) return memory_source<bytes, aligned>(cpu, op);
  return reinterpret_cast<const u8*>(cpu.s.vectors[op->b].words.data());
}

// ---- availability: CR0.EM, CR0.TS, CR4.OSFXSR, pending x87 errors (MMX) ----

#define DOPPEL_CHECK_SSE(cpu, op)   \
  if ((cpu).sse_fault) [[unlikely]] \
  return raise((cpu), (op), (cpu).sse_fault)

// ---- floating-point exceptions ----

// True while the guest has unmasked a SIMD floating-point exception.
inline bool simd_traps(const Cpu& cpu) { return (cpu.s.mxcsr & mxcsr_masks) != mxcsr_masks; }

// Once per process, before the first guest instruction.
void install_simd_probe();
// Around one operation while simd_traps(): true if the operation must fault. Its flags have then been added to the guest's MXCSR as the
// processor reports them.
void begin_simd(Cpu& cpu);
bool end_simd(Cpu& cpu);
// #XM, or #UD if the system does not handle it (CR4.OSXMMEXCPT).
inline void raise_simd(Cpu& cpu, const Op* op) {
  raise(cpu, op, cpu.s.cr4 & x86::cr4::osxmmexcpt ? x86::simd_error : x86::invalid_opcode);
}

// Computes with `compute()`; false: fault raised (the handler returns).
template <bool floating, class F>
[[gnu::always_inline]] inline bool guarded(Cpu& cpu, const Op* op, F compute) {
  if constexpr (floating) {
    if (simd_traps(cpu)) [[unlikely]] {
      begin_simd(cpu);
      compute();
      if (end_simd(cpu)) {
        raise_simd(cpu, op);
        return false;
      }
      return true;
    }
  }
  compute();
  return true;
}

// ---- MMX registers: the significands of the x87 registers, SDM vol. 1 §9.2 ----

inline u64 get_mmx(const Cpu& cpu, u8 index) { return cpu.s.fpu.registers[index].significand; }
// Any MMX instruction but EMMS: TOP = 0, all tags valid.
inline void enter_mmx(Cpu& cpu) {
  cpu.s.fpu.status &= static_cast<u16>(~0x3800);
  cpu.s.fpu.valid = 0xff;
}
inline void set_mmx(Cpu& cpu, u8 index, u64 value) { cpu.s.fpu.registers[index] = {value, 0xffff}; }

// #UD, #NM, or #MF for an unmasked x87 error that is pending.
inline u8 mmx_fault(const Cpu& cpu) {
  if (cpu.s.cr0 & x86::cr0::em) return x86::invalid_opcode;
  if (cpu.s.cr0 & x86::cr0::ts) return x86::device_not_available;
  // A pending x87 error; with CR0.NE = 0 it goes to a wire that this machine does not have (as in x87/).
  if ((cpu.s.fpu.status & 0x80) && (cpu.s.cr0 & x86::cr0::ne)) return x86::x87_error;
  return 0;
}
#define DOPPEL_CHECK_MMX(cpu, op)                         \
  if (const u8 unavailable = mmx_fault(cpu)) [[unlikely]] \
  return raise((cpu), (op), unavailable)

}  // namespace doppel::interpreter
