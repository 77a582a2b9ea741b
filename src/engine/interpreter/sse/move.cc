// Moves: between XMM, MMX and general registers and memory, with or without merging; insertion, extraction, masks.
// Non-temporal stores are ordinary stores here. Intel SDM vol. 2.
#include "engine/interpreter/sse/rows.h"
#include "engine/interpreter/sse/vector.h"

namespace doppel::interpreter {
namespace {

using x86::Instruction;
using x86::OperandKind;

// ---- whole registers ----

void copy(Cpu& cpu, const Op* op) {
  DOPPEL_CHECK_SSE(cpu, op);
  set_xmm(cpu, op->a, get_xmm(cpu, op->b));
  return next(cpu, op);
}
template <unsigned bytes, bool aligned>
void load_zero_extended(Cpu& cpu, const Op* op) {
  DOPPEL_CHECK_SSE(cpu, op);
  const u8* from = memory_source<bytes, aligned>(cpu, op);
  if (!from) [[unlikely]]
    return faulted(cpu, op);
  set_xmm(cpu, op->a, load_vector<bytes>(from));
  return next(cpu, op);
}
template <unsigned bytes, bool aligned>
void store_low(Cpu& cpu, const Op* op) {
  DOPPEL_CHECK_SSE(cpu, op);
  if (!store_vector<bytes, aligned>(cpu, op, get_xmm(cpu, op->b))) [[unlikely]]
    return faulted(cpu, op);
  return next(cpu, op);
}
template <bool aligned>
Binding bind_move128(const Instruction& instruction, Op&) {
  if (instruction.operands[0].kind == OperandKind::memory) return {store_low<16, aligned>};
  if (instruction.operands[1].kind == OperandKind::memory) return {load_zero_extended<16, aligned>};
  return {copy};
}

// ---- scalars: MOVSS, MOVSD merge between registers, clear the rest when loading ----

void merge32(Cpu& cpu, const Op* op) {
  DOPPEL_CHECK_SSE(cpu, op);
  set_xmm_low32(cpu, op->a, static_cast<u32>(cpu.s.vectors[op->b].words[0]));
  return next(cpu, op);
}
void merge64(Cpu& cpu, const Op* op) {
  DOPPEL_CHECK_SSE(cpu, op);
  set_xmm_low64(cpu, op->a, cpu.s.vectors[op->b].words[0]);
  return next(cpu, op);
}
template <unsigned bytes>
Binding bind_scalar(const Instruction& instruction, Op&) {
  if (instruction.operands[0].kind == OperandKind::memory) return {store_low<bytes, false>};
  if (instruction.operands[1].kind == OperandKind::memory) return {load_zero_extended<bytes, false>};
  return {bytes == 4 ? merge32 : merge64};
}

// ---- halves: MOVLPS/PD, MOVHPS/PD, MOVHLPS, MOVLHPS ----

template <unsigned to, unsigned from>
void move_half(Cpu& cpu, const Op* op) {
  DOPPEL_CHECK_SSE(cpu, op);
  cpu.s.vectors[op->a].words[to] = cpu.s.vectors[op->b].words[from];
  return next(cpu, op);
}
template <unsigned half>
void load_half(Cpu& cpu, const Op* op) {
  DOPPEL_CHECK_SSE(cpu, op);
  const Loaded<u64> value = load_operand<u64>(cpu, op);
  if (!value.ok) [[unlikely]]
    return faulted(cpu, op);
  cpu.s.vectors[op->a].words[half] = value.value;
  return next(cpu, op);
}
template <unsigned half>
void store_half(Cpu& cpu, const Op* op) {
  DOPPEL_CHECK_SSE(cpu, op);
  if (!store_operand<u64>(cpu, op, cpu.s.vectors[op->b].words[half])) [[unlikely]]
    return faulted(cpu, op);
  return next(cpu, op);
}
template <unsigned half>
Binding bind_half(const Instruction& instruction, Op&) {
  return {instruction.operands[0].kind == OperandKind::memory ? store_half<half> : load_half<half>};
}
Binding bind_movhlps(const Instruction&, Op&) { return {move_half<0, 1>}; }
Binding bind_movlhps(const Instruction&, Op&) { return {move_half<1, 0>}; }

// ---- MOVDDUP, MOVSLDUP, MOVSHDUP ----

void movddup_register(Cpu& cpu, const Op* op) {
  DOPPEL_CHECK_SSE(cpu, op);
  const u64 low = cpu.s.vectors[op->b].words[0];
  cpu.s.vectors[op->a].words[0] = cpu.s.vectors[op->a].words[1] = low;
  return next(cpu, op);
}
void movddup_memory(Cpu& cpu, const Op* op) {
  DOPPEL_CHECK_SSE(cpu, op);
  const Loaded<u64> value = load_operand<u64>(cpu, op);
  if (!value.ok) return faulted(cpu, op);
  cpu.s.vectors[op->a].words[0] = cpu.s.vectors[op->a].words[1] = value.value;
  return next(cpu, op);
}
Binding bind_movddup(const Instruction& instruction, Op&) {
  return {instruction.has_memory() ? movddup_memory : movddup_register};
}

template <int order, bool memory>
void duplicate(Cpu& cpu, const Op* op) {
  DOPPEL_CHECK_SSE(cpu, op);
  V source;
  if constexpr (memory) {
    const u8* from = memory_source<16, true>(cpu, op);
    if (!from) return faulted(cpu, op);
    source = load_vector<16>(from);
  } else {
    source = get_xmm(cpu, op->b);
  }
  set_xmm(cpu, op->a, _mm_shuffle_epi32(source, order));
  return next(cpu, op);
}
template <int order>
Binding bind_duplicate(const Instruction& instruction, Op&) {
  return {instruction.has_memory() ? duplicate<order, true> : duplicate<order, false>};
}

// ---- MOVD, MOVQ: any of XMM, MMX, GPR, memory ----

enum class File : u8 { xmm, mmx, gpr, memory };

File file_of(OperandKind kind) {
  switch (kind) {
    case OperandKind::vector: return File::xmm;
    case OperandKind::mmx: return File::mmx;
    case OperandKind::memory: return File::memory;
    default: return File::gpr;
  }
}

template <class T, File from>
[[gnu::always_inline]] inline Loaded<T> read_from(Cpu& cpu, const Op* op) {
  if constexpr (from == File::xmm) return {static_cast<T>(cpu.s.vectors[op->b].words[0]), true};
  if constexpr (from == File::mmx) return {static_cast<T>(get_mmx(cpu, op->b)), true};
  if constexpr (from == File::gpr) return {cpu.reg<T>(op->b), true};
  if constexpr (from == File::memory) return load_operand<T>(cpu, op);
}

template <class T, File to, File from>
void move_scalar(Cpu& cpu, const Op* op) {
  if constexpr (to == File::mmx || from == File::mmx) {
    DOPPEL_CHECK_MMX(cpu, op);
  } else {
    DOPPEL_CHECK_SSE(cpu, op);
  }
  const Loaded<T> value = read_from<T, from>(cpu, op);
  if (!value.ok) [[unlikely]]
    return faulted(cpu, op);
  if constexpr (to == File::memory) {
    if (!store_operand<T>(cpu, op, value.value)) [[unlikely]]
      return faulted(cpu, op);
  }
  if constexpr (to == File::mmx || from == File::mmx) enter_mmx(cpu);
  if constexpr (to == File::xmm) set_xmm(cpu, op->a, _mm_cvtsi64_si128(static_cast<i64>(u64{value.value})));
  if constexpr (to == File::mmx) set_mmx(cpu, op->a, value.value);
  if constexpr (to == File::gpr) cpu.set_reg<T>(op->a, value.value);
  return next(cpu, op);
}

template <class T, File to>
Handler pick_source(File from) {
  switch (from) {
    case File::xmm: return move_scalar<T, to, File::xmm>;
    case File::mmx: return move_scalar<T, to, File::mmx>;
    case File::gpr: return move_scalar<T, to, File::gpr>;
    case File::memory: return move_scalar<T, to, File::memory>;
  }
  return nullptr;
}
template <class T>
Handler pick(File to, File from) {
  switch (to) {
    case File::xmm: return pick_source<T, File::xmm>(from);
    case File::mmx: return pick_source<T, File::mmx>(from);
    case File::gpr: return pick_source<T, File::gpr>(from);
    case File::memory: return pick_source<T, File::memory>(from);
  }
  return nullptr;
}
template <class T>
Binding bind_move_scalar(const Instruction& instruction, Op&) {
  return {pick<T>(file_of(instruction.operands[0].kind), file_of(instruction.operands[1].kind))};
}

// MOVQ2DQ, MOVDQ2Q
Binding bind_movq2dq(const Instruction&, Op&) { return {move_scalar<u64, File::xmm, File::mmx>}; }
Binding bind_movdq2q(const Instruction&, Op&) { return {move_scalar<u64, File::mmx, File::xmm>}; }

// ---- masks: MOVMSKPS/PD, PMOVMSKB ----

template <int kind>  // 1: bytes, 4: floats, 8: doubles
void move_mask(Cpu& cpu, const Op* op) {
  DOPPEL_CHECK_SSE(cpu, op);
  const V source = get_xmm(cpu, op->b);
  const int mask = kind == 1   ? _mm_movemask_epi8(source)
                   : kind == 4 ? _mm_movemask_ps(_mm_castsi128_ps(source))
                               : _mm_movemask_pd(_mm_castsi128_pd(source));
  cpu.reg<u64>(op->a) = static_cast<u32>(mask);
  return next(cpu, op);
}
void move_mask_mmx(Cpu& cpu, const Op* op) {
  DOPPEL_CHECK_MMX(cpu, op);
  enter_mmx(cpu);
  const V source = _mm_cvtsi64_si128(static_cast<i64>(get_mmx(cpu, op->b)));
  cpu.reg<u64>(op->a) = static_cast<u32>(_mm_movemask_epi8(source)) & 0xff;
  return next(cpu, op);
}
template <int kind>
Binding bind_move_mask(const Instruction& instruction, Op&) {
  return {instruction.operands[1].kind == OperandKind::mmx ? move_mask_mmx : move_mask<kind>};
}

// ---- MASKMOVDQU, VMASKMOVDQU, MASKMOVQ: bytes to DS:rDI where the mask's sign bit is set ----

template <unsigned bytes, u8 Cpu::* refusal>
void mask_move(Cpu& cpu, const Op* op) {
  if constexpr (bytes == 8) {
    DOPPEL_CHECK_MMX(cpu, op);
  } else if (cpu.*refusal) [[unlikely]] {
    return raise(cpu, op, cpu.*refusal);
  }
  const Linear linear = operand_linear_slow(cpu, op, bytes, AccessKind::write);
  if (!linear.ok) return faulted(cpu, op);
  const auto segment = static_cast<x86::Segment>(op->segment);
  const u64 data[2] = {bytes == 8 ? get_mmx(cpu, op->a) : cpu.s.vectors[op->a].words[0],
                       cpu.s.vectors[op->a & 15].words[1]};
  const u64 mask[2] = {bytes == 8 ? get_mmx(cpu, op->b) : cpu.s.vectors[op->b].words[0],
                       cpu.s.vectors[op->b & 15].words[1]};
  const auto bit = [](const u64* words, unsigned i) { return static_cast<u8>(words[i / 8] >> (i % 8 * 8)); };
  for (unsigned i = 0; i < bytes; ++i)
    if (bit(mask, i) & 0x80 && !probe_write(cpu, linear.address + i, 1, segment)) return faulted(cpu, op);
  for (unsigned i = 0; i < bytes; ++i)
    if (bit(mask, i) & 0x80 && !store<u8>(cpu, linear.address + i, bit(data, i), segment)) return faulted(cpu, op);
  if constexpr (bytes == 8) enter_mmx(cpu);
  return next(cpu, op);
}
template <unsigned bytes, u8 Cpu::* refusal = &Cpu::sse_fault>
Binding bind_mask_move(const Instruction& instruction, Op& op) {
  op.base = x86::rdi;
  op.index = slot_zero;
  op.displacement = 0;
  op.segment = instruction.memory.segment;
  if (instruction.address_bytes == 4) op.flags |= op_flag::address32;
  if (instruction.address_bytes == 2) op.flags |= op_flag::address16;
  return {mask_move<bytes, refusal>};
}

// ---- insertion and extraction ----

// The operand to insert: a register's low part, or memory of the element's size.
template <class T, bool memory>
void insert(Cpu& cpu, const Op* op) {
  DOPPEL_CHECK_SSE(cpu, op);
  const Loaded<T> value = memory ? load_operand<T>(cpu, op) : Loaded<T>{cpu.reg<T>(op->b), true};
  if (!value.ok) [[unlikely]]
    return faulted(cpu, op);
  const u64 slot = op->immediate & (16 / sizeof(T) - 1);
  std::memcpy(reinterpret_cast<u8*>(cpu.s.vectors[op->a].words.data()) + slot * sizeof(T), &value.value, sizeof(T));
  return next(cpu, op);
}
template <bool memory>
void insert_mmx_word(Cpu& cpu, const Op* op) {
  DOPPEL_CHECK_MMX(cpu, op);
  const Loaded<u16> value = memory ? load_operand<u16>(cpu, op) : Loaded<u16>{cpu.reg<u16>(op->b), true};
  if (!value.ok) return faulted(cpu, op);
  enter_mmx(cpu);
  const unsigned shift = (op->immediate & 3) * 16;
  set_mmx(cpu, op->a, (get_mmx(cpu, op->a) & ~(u64{0xffff} << shift)) | u64{value.value} << shift);
  return next(cpu, op);
}
template <class T>
Binding bind_insert(const Instruction& instruction, Op&) {
  const bool memory = instruction.has_memory();
  if (instruction.operands[0].kind == OperandKind::mmx)
    return {memory ? insert_mmx_word<true> : insert_mmx_word<false>};
  return {memory ? insert<T, true> : insert<T, false>};
}

template <class T, bool memory>
void extract(Cpu& cpu, const Op* op) {
  DOPPEL_CHECK_SSE(cpu, op);
  const u64 slot = op->immediate & (16 / sizeof(T) - 1);
  const T value = get<T>(reinterpret_cast<const u8*>(cpu.s.vectors[op->b].words.data()) + slot * sizeof(T));
  if constexpr (memory) {
    if (!store_operand<T>(cpu, op, value)) [[unlikely]]
      return faulted(cpu, op);
  } else {
    cpu.reg<u64>(op->a) = value;
  }
  return next(cpu, op);
}
void extract_mmx_word(Cpu& cpu, const Op* op) {
  DOPPEL_CHECK_MMX(cpu, op);
  enter_mmx(cpu);
  cpu.reg<u64>(op->a) = static_cast<u16>(get_mmx(cpu, op->b) >> (op->immediate & 3) * 16);
  return next(cpu, op);
}
template <class T>
Binding bind_extract(const Instruction& instruction, Op&) {
  if (instruction.operands[1].kind == OperandKind::mmx) return {extract_mmx_word};
  return {instruction.has_memory() ? extract<T, true> : extract<T, false>};
}

// INSERTPS: source element (bits 6–7, registers only), destination element (4–5), elements to clear (0–3).
template <bool memory>
void insertps(Cpu& cpu, const Op* op) {
  DOPPEL_CHECK_SSE(cpu, op);
  const auto imm = static_cast<u8>(op->immediate);
  u32 value;
  if constexpr (memory) {
    const Loaded<u32> loaded = load_operand<u32>(cpu, op);
    if (!loaded.ok) return faulted(cpu, op);
    value = loaded.value;
  } else {
    value = static_cast<u32>(cpu.s.vectors[op->b].words[imm >> 7] >> ((imm >> 6) & 1) * 32);
  }
  u64* words = cpu.s.vectors[op->a].words.data();
  const auto put_element = [words](unsigned i, u32 element) {
    const unsigned shift = (i & 1) * 32;
    words[i / 2] = (words[i / 2] & ~(u64{0xffff'ffff} << shift)) | u64{element} << shift;
  };
  put_element((imm >> 4) & 3, value);
  for (unsigned i = 0; i < 4; ++i)
    if (imm & (1 << i)) put_element(i, 0);
  return next(cpu, op);
}
Binding bind_insertps(const Instruction& instruction, Op&) {
  return {instruction.has_memory() ? insertps<true> : insertps<false>};
}

// ---- MOVNTI ----

template <class T>
void store_gpr(Cpu& cpu, const Op* op) {
  if (!store_operand<T>(cpu, op, cpu.reg<T>(op->b))) [[unlikely]]
    return faulted(cpu, op);
  return next(cpu, op);
}
Binding bind_movnti(const Instruction& instruction, Op&) {
  return {instruction.operands[1].bytes == 8 ? store_gpr<u64> : store_gpr<u32>};
}

constexpr BindRow rows[] = {
    {ZYDIS_MNEMONIC_MOVAPS, bind_move128<true>},
    {ZYDIS_MNEMONIC_MOVAPD, bind_move128<true>},
    {ZYDIS_MNEMONIC_MOVDQA, bind_move128<true>},
    {ZYDIS_MNEMONIC_MOVNTPS, bind_move128<true>},
    {ZYDIS_MNEMONIC_MOVNTPD, bind_move128<true>},
    {ZYDIS_MNEMONIC_MOVNTDQ, bind_move128<true>},
    {ZYDIS_MNEMONIC_MOVNTDQA, bind_move128<true>},
    {ZYDIS_MNEMONIC_MOVUPS, bind_move128<false>},
    {ZYDIS_MNEMONIC_MOVUPD, bind_move128<false>},
    {ZYDIS_MNEMONIC_MOVDQU, bind_move128<false>},
    {ZYDIS_MNEMONIC_LDDQU, bind_move128<false>},
    {ZYDIS_MNEMONIC_MOVSS, bind_scalar<4>},
    {ZYDIS_MNEMONIC_MOVSD, bind_scalar<8>},
    {ZYDIS_MNEMONIC_CMPSD, bind_cmpsd_vector},
    {ZYDIS_MNEMONIC_MOVLPS, bind_half<0>},
    {ZYDIS_MNEMONIC_MOVLPD, bind_half<0>},
    {ZYDIS_MNEMONIC_MOVHPS, bind_half<1>},
    {ZYDIS_MNEMONIC_MOVHPD, bind_half<1>},
    {ZYDIS_MNEMONIC_MOVHLPS, bind_movhlps},
    {ZYDIS_MNEMONIC_MOVLHPS, bind_movlhps},
    {ZYDIS_MNEMONIC_MOVDDUP, bind_movddup},
    {ZYDIS_MNEMONIC_MOVSLDUP, bind_duplicate<0xa0>},
    {ZYDIS_MNEMONIC_MOVSHDUP, bind_duplicate<0xf5>},
    {ZYDIS_MNEMONIC_MOVD, bind_move_scalar<u32>},
    {ZYDIS_MNEMONIC_MOVQ, bind_move_scalar<u64>},
    {ZYDIS_MNEMONIC_MOVNTQ, bind_move_scalar<u64>},
    {ZYDIS_MNEMONIC_MOVQ2DQ, bind_movq2dq},
    {ZYDIS_MNEMONIC_MOVDQ2Q, bind_movdq2q},
    {ZYDIS_MNEMONIC_MOVMSKPS, bind_move_mask<4>},
    {ZYDIS_MNEMONIC_MOVMSKPD, bind_move_mask<8>},
    {ZYDIS_MNEMONIC_PMOVMSKB, bind_move_mask<1>},
    {ZYDIS_MNEMONIC_MASKMOVDQU, bind_mask_move<16>},
    {ZYDIS_MNEMONIC_VMASKMOVDQU, bind_mask_move<16, &Cpu::avx_fault>},
    {ZYDIS_MNEMONIC_MASKMOVQ, bind_mask_move<8>},
    {ZYDIS_MNEMONIC_PINSRB, bind_insert<u8>},
    {ZYDIS_MNEMONIC_PINSRW, bind_insert<u16>},
    {ZYDIS_MNEMONIC_PINSRD, bind_insert<u32>},
    {ZYDIS_MNEMONIC_PINSRQ, bind_insert<u64>},
    {ZYDIS_MNEMONIC_PEXTRB, bind_extract<u8>},
    {ZYDIS_MNEMONIC_PEXTRW, bind_extract<u16>},
    {ZYDIS_MNEMONIC_PEXTRD, bind_extract<u32>},
    {ZYDIS_MNEMONIC_PEXTRQ, bind_extract<u64>},
    {ZYDIS_MNEMONIC_EXTRACTPS, bind_extract<u32>},
    {ZYDIS_MNEMONIC_INSERTPS, bind_insertps},
    {ZYDIS_MNEMONIC_MOVNTI, bind_movnti},
};

}  // namespace

std::span<const BindRow> sse_move_rows() { return rows; }

}  // namespace doppel::interpreter
