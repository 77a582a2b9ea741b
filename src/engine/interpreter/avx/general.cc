// VEX instructions that read all of their sources and write one destination: nearly all. Intel SDM vol. 2.
#include "engine/interpreter/avx/stubs.h"
#include "engine/interpreter/avx/vex.h"

namespace doppel::interpreter {
namespace {

using x86::Instruction;
using x86::OperandKind;

// The function that executes `op`: made when it is first executed, since binding knows no processor.
[[gnu::noinline]] Stub resolve(Cpu& cpu, const Op* op) {
  const VectorStubs::Found found = cpu.stubs.find(std::bit_cast<StubShape>(op->immediate));
  if (found.lasting) const_cast<Op*>(op)->immediate = reinterpret_cast<u64>(found.stub);
  return found.stub;
}

[[gnu::always_inline]] inline Stub stub_of(Cpu& cpu, const Op* op) {
  if (static_cast<i64>(op->immediate) < 0) [[unlikely]]
    return resolve(cpu, op);
  return reinterpret_cast<Stub>(op->immediate);
}

constexpr int none = -1;

// Operand `i` if it is a register. The fourth has the place that the binder found free.
template <int i, int gpr, int memory>
[[gnu::always_inline]] inline void* register_place(Cpu& cpu, const Op* op) {
  const u8 number = i == 0 ? op->a : i == 1 ? op->b : i == 2 || memory == 2 ? op->c : op->base;
  if constexpr (i == gpr) return &cpu.reg<u64>(number);
  return &cpu.s.vectors[number & 15];
}

template <int i, int gpr, int memory>
[[gnu::always_inline]] inline void* place(Cpu& cpu, const Op* op, void* at) {
  if constexpr (i == memory) return at;
  return register_place<i, gpr, memory>(cpu, op);
}

// While an exception is unmasked the first operand is a copy, which the register gets when none was raised.
template <int gpr, int memory, bool flags>
[[gnu::noinline]] bool call_trapping(Cpu& cpu, const Op* op, Stub stub, void* at) {
  constexpr std::size_t bytes = gpr == 0 ? 8 : 32;
  void* to = place<0, gpr, memory>(cpu, op, at);
  void* copy = memory == 0 ? at : cpu.scratch + 32;
  if constexpr (memory != 0) std::memcpy(copy, to, bytes);
  begin_simd(cpu);
  const u64 result = stub(copy, place<1, gpr, memory>(cpu, op, at), place<2, gpr, memory>(cpu, op, at),
                          place<3, gpr, memory>(cpu, op, at));
  if (end_simd(cpu)) {
    raise_simd(cpu, op);
    return false;
  }
  if constexpr (memory != 0) std::memcpy(to, copy, bytes);
  if constexpr (flags) cpu.flags.unpack(result);
  return true;
}

// False: an exception was raised.
template <int gpr, int memory, bool flags>
[[gnu::always_inline]] inline bool call(Cpu& cpu, const Op* op, Stub stub, void* at) {
  if (simd_traps(cpu)) [[unlikely]]
    return call_trapping<gpr, memory, flags>(cpu, op, stub, at);
  const u64 result = stub(place<0, gpr, memory>(cpu, op, at), place<1, gpr, memory>(cpu, op, at),
                          place<2, gpr, memory>(cpu, op, at), place<3, gpr, memory>(cpu, op, at));
  if constexpr (flags) cpu.flags.unpack(result);
  return true;
}

// `gpr`, `memory`: which operand is of that kind.
template <int gpr, int memory, bool flags>
void compute(Cpu& cpu, const Op* op) {
  DOPPEL_CHECK_AVX(cpu, op);
  const Stub stub = stub_of(cpu, op);
  u8* at = nullptr;
  if constexpr (memory != none) {
    at = vex_source(cpu, op);
    if (!at) [[unlikely]]
      return faulted(cpu, op);
  }
  if (!call<gpr, memory, flags>(cpu, op, stub, at)) [[unlikely]]
    return;
  return next(cpu, op);
}

// An exception must not have stored anything: the result goes to memory only after that is clear.
void compute_to_memory(Cpu& cpu, const Op* op) {
  DOPPEL_CHECK_AVX(cpu, op);
  const Stub stub = stub_of(cpu, op);
  const Linear linear = vex_linear(cpu, op, AccessKind::write);
  if (!linear.ok) [[unlikely]]
    return faulted(cpu, op);
  u8* host = store_target(cpu, linear.address, op->bytes);
  if (!host || simd_traps(cpu)) [[unlikely]] {
    const auto segment = static_cast<x86::Segment>(op->segment);
    if (!probe_write(cpu, linear.address, op->bytes, segment)) return faulted(cpu, op);
    if (!call<none, 0, false>(cpu, op, stub, cpu.scratch)) return;
    if (!store_bytes(cpu, linear.address, cpu.scratch, op->bytes, segment)) return faulted(cpu, op);
    return next(cpu, op);
  }
  if (!call<none, 0, false>(cpu, op, stub, host)) return;
  return next(cpu, op);
}

int position(const Instruction& instruction, OperandKind kind) {
  for (int i = 0; i < 4; ++i)
    if (instruction.operands[static_cast<unsigned>(i)].kind == kind) return i;
  return none;
}

template <bool flags>
Handler pick(int gpr, int memory) {
  switch (gpr << 4 | (memory & 15)) {
    case -1: return compute<none, none, flags>;
    case (none << 4) | 1: return compute<none, 1, flags>;
    case (none << 4) | 2: return compute<none, 2, flags>;
    case 0 << 4 | 15: return compute<0, none, flags>;
    case 0 << 4 | 1: return compute<0, 1, flags>;
    case 1 << 4 | 15: return compute<1, none, flags>;
    case 2 << 4 | 15: return compute<2, none, flags>;
    default: return nullptr;
  }
}

}  // namespace

Binding bind_vex(const Instruction& instruction, Op& op) {
  const int memory = position(instruction, OperandKind::memory), gpr = position(instruction, OperandKind::gpr);
  const StubShape shape = stub_shape(instruction);
  op.immediate = std::bit_cast<u64>(shape);
  if (memory != none) op.bytes = instruction.operands[static_cast<unsigned>(memory)].bytes;
  if (shape.kind(3) == StubOperand::vector) (memory == 2 ? op.c : op.base) = instruction.operands[3].index;
  if (memory == 0) return {gpr == none ? compute_to_memory : nullptr};
  return {shape.flags ? pick<true>(gpr, memory) : pick<false>(gpr, memory)};
}

}  // namespace doppel::interpreter
