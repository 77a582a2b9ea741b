// What touches only the parts of its memory operand that a mask selects: VMASKMOV, VPMASKMOV and the gathers. A part that
// is not selected cannot fault. Intel SDM vol. 2.
#include "engine/interpreter/avx/vex.h"

namespace doppel::interpreter {
namespace {

using x86::Instruction;
using x86::OperandKind;
using x86::VectorRegister;

template <class T>
T element(const VectorRegister& reg, unsigned i) {
  return get<T>(reinterpret_cast<const u8*>(reg.words.data()) + i * sizeof(T));
}
template <class T>
void set_element(VectorRegister& reg, unsigned i, T value) {
  put<T>(reinterpret_cast<u8*>(reg.words.data()) + i * sizeof(T), value);
}
template <class T>
bool selected(const VectorRegister& mask, unsigned i) {
  return element<T>(mask, i) >> (8 * sizeof(T) - 1);
}

u64 truncated(const Op* op, u64 offset) {
  if (op->flags & op_flag::address32) return static_cast<u32>(offset);
  if (op->flags & op_flag::address16) return static_cast<u16>(offset);
  return offset;
}

x86::Segment segment_of(const Op* op) { return static_cast<x86::Segment>(op->segment); }

template <class T>
Loaded<T> load_at(Cpu& cpu, const Op* op, u64 offset) {
  const Linear linear = segment_linear(cpu, segment_of(op), truncated(op, offset), sizeof(T), AccessKind::read);
  if (!linear.ok) return {0, false};
  return load<T>(cpu, linear.address, segment_of(op));
}

// ---- VMASKMOVPS, VMASKMOVPD, VPMASKMOVD, VPMASKMOVQ: op->bytes is the vector's size ----

template <class T>
[[gnu::noinline]] bool masked_load(Cpu& cpu, const Op* op) {
  const VectorRegister mask = cpu.s.vectors[op->b];
  const u64 offset = effective_address(cpu, op);
  VectorRegister result{};
  for (unsigned i = 0; i < op->bytes / sizeof(T); ++i) {
    if (!selected<T>(mask, i)) continue;
    const Loaded<T> value = load_at<T>(cpu, op, offset + i * sizeof(T));
    if (!value.ok) return false;
    set_element<T>(result, i, value.value);
  }
  cpu.s.vectors[op->a] = result;
  return true;
}

// Nothing is stored if any selected part cannot be.
template <class T>
[[gnu::noinline]] bool masked_store(Cpu& cpu, const Op* op) {
  const VectorRegister &mask = cpu.s.vectors[op->b], &data = cpu.s.vectors[op->c];
  const u64 offset = effective_address(cpu, op);
  const auto each = [&](auto act) {
    for (unsigned i = 0; i < op->bytes / sizeof(T); ++i) {
      if (!selected<T>(mask, i)) continue;
      const Linear linear = segment_linear(cpu, segment_of(op), truncated(op, offset + i * sizeof(T)), sizeof(T),
                                           AccessKind::write);
      if (!linear.ok || !act(i, linear.address)) return false;
    }
    return true;
  };
  return each([&](unsigned, u64 linear) { return probe_write(cpu, linear, sizeof(T), segment_of(op)); }) &&
         each([&](unsigned i, u64 linear) { return store<T>(cpu, linear, element<T>(data, i), segment_of(op)); });
}

using Body = bool (*)(Cpu&, const Op*);

template <Body body>
void execute(Cpu& cpu, const Op* op) {
  DOPPEL_CHECK_AVX(cpu, op);
  if (!body(cpu, op)) [[unlikely]]
    return faulted(cpu, op);
  return next(cpu, op);
}

template <class T>
Binding bind_masked(const Instruction& instruction, Op& op) {
  op.bytes = instruction.vex.l ? 32 : 16;
  return {instruction.operands[0].kind == OperandKind::memory ? execute<masked_store<T>> : execute<masked_load<T>>};
}

// ---- gathers: destination, [base + index vector], mask. What was loaded before a fault stays, and its mask is clear. ----

template <class T, class Index>
[[gnu::noinline]] bool gather(Cpu& cpu, const Op* op) {
  VectorRegister &to = cpu.s.vectors[op->a], &mask = cpu.s.vectors[op->c];
  const VectorRegister indices = cpu.s.vectors[op->b];
  const u64 base = effective_address(cpu, op);
  const unsigned vector_bytes = op->bytes;
  const auto count = static_cast<unsigned>(vector_bytes / std::max(sizeof(T), sizeof(Index)));
  for (unsigned i = 0; i < count; ++i) {
    if (selected<T>(mask, i)) {
      const auto index = static_cast<u64>(
          static_cast<i64>(static_cast<std::make_signed_t<Index>>(element<Index>(indices, i))));
      const Loaded<T> value = load_at<T>(cpu, op, base + (index << op->scale));
      if (!value.ok) return false;
      set_element<T>(to, i, value.value);
    }
    set_element<T>(mask, i, 0);
  }
  mask = {};
  for (unsigned i = count; i < 32 / sizeof(T); ++i) set_element<T>(to, i, 0);
  return true;
}

template <class T, class Index>
Binding bind_gather(const Instruction& instruction, Op& op) {
  op.bytes = instruction.vex.l ? 32 : 16;
  op.b = instruction.memory.index;
  op.index = slot_zero;
  return {execute<gather<T, Index>>};
}

constexpr BindRow rows[] = {
    {ZYDIS_MNEMONIC_VMASKMOVPS, bind_masked<u32>},      {ZYDIS_MNEMONIC_VMASKMOVPD, bind_masked<u64>},
    {ZYDIS_MNEMONIC_VPMASKMOVD, bind_masked<u32>},      {ZYDIS_MNEMONIC_VPMASKMOVQ, bind_masked<u64>},
    {ZYDIS_MNEMONIC_VGATHERDPS, bind_gather<u32, u32>}, {ZYDIS_MNEMONIC_VGATHERDPD, bind_gather<u64, u32>},
    {ZYDIS_MNEMONIC_VGATHERQPS, bind_gather<u32, u64>}, {ZYDIS_MNEMONIC_VGATHERQPD, bind_gather<u64, u64>},
    {ZYDIS_MNEMONIC_VPGATHERDD, bind_gather<u32, u32>}, {ZYDIS_MNEMONIC_VPGATHERDQ, bind_gather<u64, u32>},
    {ZYDIS_MNEMONIC_VPGATHERQD, bind_gather<u32, u64>}, {ZYDIS_MNEMONIC_VPGATHERQQ, bind_gather<u64, u64>},
};

}  // namespace

std::span<const BindRow> avx_memory_rows() { return rows; }

}  // namespace doppel::interpreter
