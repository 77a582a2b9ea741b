// MOV between general registers, memory and immediates, MOVZX, MOVSX, MOVSXD, LEA, CMOVcc, XLAT, BSWAP. Intel SDM vol. 2.
// Moves to and from segment, control and debug registers are in system/.
#include "engine/interpreter/integer/binders.h"
#include "engine/interpreter/integer/operands.h"

namespace doppel::interpreter {
namespace {

using x86::Operand;

// ---- MOV ----

template <class T>
void mov_reg_reg(Cpu& cpu, const Op* op) {
  cpu.set_reg<T>(op->a, cpu.reg<T>(op->b));
  return next(cpu, op);
}

template <class T>
void mov_reg_imm(Cpu& cpu, const Op* op) {
  cpu.set_reg<T>(op->a, static_cast<T>(op->immediate));
  return next(cpu, op);
}

// Loads, with zero- or sign-extension from From to To.
template <class To, class From>
[[gnu::noinline]] void load_any(Cpu& cpu, const Op* op) {
  const auto value = load_operand<std::make_unsigned_t<From>>(cpu, op);
  if (!value.ok) [[unlikely]]
    return faulted(cpu, op);
  cpu.set_reg<To>(op->a, static_cast<To>(static_cast<From>(value.value)));
  return next(cpu, op);
}

template <class To, class From>
void load_plain(Cpu& cpu, const Op* op) {
  const u8* host = load_target<From>(cpu, plain_linear(cpu, op));
  if (!host) [[unlikely]]
    return load_any<To, From>(cpu, op);
  cpu.set_reg<To>(op->a, static_cast<To>(get<From>(host)));
  return next(cpu, op);
}

template <class T, bool immediate>
[[gnu::always_inline]] inline T stored(Cpu& cpu, const Op* op) {
  if constexpr (immediate)
    return static_cast<T>(op->immediate);
  else
    return cpu.reg<T>(op->b);
}

template <class T, bool immediate>
[[gnu::noinline]] void store_any(Cpu& cpu, const Op* op) {
  if (!store_operand<T>(cpu, op, stored<T, immediate>(cpu, op))) [[unlikely]]
    return faulted(cpu, op);
  return next(cpu, op);
}

template <class T, bool immediate>
void store_plain(Cpu& cpu, const Op* op) {
  u8* host = store_target<T>(cpu, plain_linear(cpu, op));
  if (!host) [[unlikely]]
    return store_any<T, immediate>(cpu, op);
  put<T>(host, stored<T, immediate>(cpu, op));
  return next(cpu, op);
}

// ---- MOVZX, MOVSX, MOVSXD ----

template <class To, class From>
void extend_reg(Cpu& cpu, const Op* op) {
  cpu.set_reg<To>(op->a, static_cast<To>(static_cast<From>(cpu.reg<std::make_unsigned_t<From>>(op->b))));
  return next(cpu, op);
}

template <class From>
Handler extension(const x86::Instruction& instruction, bool plain) {
  return by_word_width(instruction.operands[0].bytes, [&]<class To>() -> Handler {
    if (!is_memory(instruction.operands[1])) return extend_reg<To, From>;
    return plain ? load_plain<To, From> : load_any<To, From>;
  });
}

// ---- LEA ----

template <class T>
[[gnu::noinline]] void lea_any(Cpu& cpu, const Op* op) {
  cpu.set_reg<T>(op->a, static_cast<T>(effective_address_slow(cpu, op)));
  return next(cpu, op);
}

template <class T>
void lea_plain(Cpu& cpu, const Op* op) {
  cpu.set_reg<T>(op->a, static_cast<T>(plain_linear(cpu, op)));
  return next(cpu, op);
}

// [base + displacement], the most common shape.
template <class T>
void lea_base(Cpu& cpu, const Op* op) {
  cpu.set_reg<T>(op->a, static_cast<T>(cpu.gpr[op->base] + static_cast<u64>(static_cast<i64>(op->displacement))));
  return next(cpu, op);
}

// ---- CMOVcc: the load happens whatever the condition, and a 32-bit destination is always zero-extended ----

// Without a branch: guests use CMOV where a branch would be hard to predict.
template <class T>
[[gnu::always_inline]] inline T select(bool second, T a, T b) {
  const T mask = static_cast<T>(-T{second});
  return static_cast<T>(a ^ ((a ^ b) & mask));
}

template <unsigned code, class T>
void cmov_reg(Cpu& cpu, const Op* op) {
  cpu.set_reg<T>(op->a, select(condition<code>(cpu.flags), cpu.reg<T>(op->a), cpu.reg<T>(op->b)));
  return next(cpu, op);
}

template <unsigned code, class T, bool plain>
void cmov_mem(Cpu& cpu, const Op* op) {
  const Loaded<T> from = fetch_operand<T, plain>(cpu, op);
  if (!from.ok) [[unlikely]] {
    if constexpr (plain) return cmov_mem<code, T, false>(cpu, op);
    return faulted(cpu, op);
  }
  cpu.set_reg<T>(op->a, select(condition<code>(cpu.flags), cpu.reg<T>(op->a), from.value));
  return next(cpu, op);
}

// ---- XLAT, BSWAP ----

void xlat(Cpu& cpu, const Op* op) {
  u64 offset = cpu.gpr[x86::rbx] + cpu.reg<u8>(x86::rax * 8);
  if (op->bytes < 8) offset &= low_bits(8 * op->bytes);
  const auto segment = static_cast<x86::Segment>(op->segment);
  const Linear linear = segment_linear(cpu, segment, offset, 1, AccessKind::read);
  if (!linear.ok) return faulted(cpu, op);
  const Loaded<u8> value = load<u8>(cpu, linear.address, segment);
  if (!value.ok) return faulted(cpu, op);
  cpu.reg<u8>(x86::rax * 8) = value.value;
  return next(cpu, op);
}

// With a 16-bit operand the result is undefined; processors give zero.
template <class T>
void bswap(Cpu& cpu, const Op* op) {
  const T value = cpu.reg<T>(op->a);
  if constexpr (sizeof(T) == 8)
    cpu.set_reg<T>(op->a, __builtin_bswap64(value));
  else if constexpr (sizeof(T) == 4)
    cpu.set_reg<T>(op->a, __builtin_bswap32(value));
  else
    cpu.set_reg<T>(op->a, 0);
  return next(cpu, op);
}

}  // namespace

Binding bind_mov(const x86::Instruction& instruction, Op& op) {
  const bool plain = is_fast(op);
  const Form form = form_of(instruction);
  if (form == Form::other) return {};
  return {by_width(instruction.operands[0].bytes, [&]<class T>() -> Handler {
    switch (form) {
      case Form::reg_reg: return mov_reg_reg<T>;
      case Form::reg_imm: return mov_reg_imm<T>;
      case Form::reg_mem: return plain ? load_plain<T, T> : load_any<T, T>;
      case Form::mem_reg: return plain ? store_plain<T, false> : store_any<T, false>;
      default: return plain ? store_plain<T, true> : store_any<T, true>;
    }
  })};
}

Binding bind_movzx(const x86::Instruction& instruction, Op& op) {
  const bool plain = is_fast(op);
  return {instruction.operands[1].bytes == 1 ? extension<u8>(instruction, plain) : extension<u16>(instruction, plain)};
}

Binding bind_movsx(const x86::Instruction& instruction, Op& op) {
  const bool plain = is_fast(op);
  switch (instruction.operands[1].bytes) {
    case 1: return {extension<i8>(instruction, plain)};
    case 2: return {extension<i16>(instruction, plain)};
    default: return {extension<i32>(instruction, plain)};
  }
}

Binding bind_lea(const x86::Instruction& instruction, Op& op) {
  // The segment takes no part: without it, more operands are plain.
  const bool plain = !(op.flags & (op_flag::address32 | op_flag::address16 | op_flag::rip_exact));
  return {by_word_width(instruction.operands[0].bytes, [&]<class T>() -> Handler {
    if (!plain) return lea_any<T>;
    return op.index == slot_zero ? lea_base<T> : lea_plain<T>;
  })};
}

Binding bind_cmov(const x86::Instruction& instruction, Op& op) {
  const Operand& from = instruction.operands[1];
  return {by_condition(instruction.opcode & 15, [&]<unsigned code>() -> Handler {
    return by_word_width(from.bytes, [&]<class T>() -> Handler {
      if (!is_memory(from)) return cmov_reg<code, T>;
      return is_fast(op) ? cmov_mem<code, T, true> : cmov_mem<code, T, false>;
    });
  })};
}

Binding bind_xlat(const x86::Instruction& instruction, Op& op) {
  op.bytes = instruction.address_bytes;
  op.segment = instruction.memory.segment;
  return {xlat};
}

Binding bind_bswap(const x86::Instruction& instruction, Op&) {
  return {by_word_width(instruction.operands[0].bytes, []<class T>() -> Handler { return bswap<T>; })};
}

}  // namespace doppel::interpreter
