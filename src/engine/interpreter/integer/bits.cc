// BT, BTS, BTR, BTC, BSF, BSR, POPCNT, CRC32. Intel SDM vol. 2.
//
// A bit test with a register offset reaches the whole memory around its operand (offset / width words away, signed).
// Bit tests change CF only. BSF and BSR of zero set ZF and leave the destination alone, all of it.
#include <bit>

#include "engine/interpreter/integer/binders.h"
#include "engine/interpreter/integer/host_flags.h"
#include "engine/interpreter/integer/operands.h"

namespace doppel::interpreter {
namespace {

struct Bt {
  static constexpr bool writes = false;
  template <class T>
  static T compute(T value, T) {
    return value;
  }
};
struct Bts {
  static constexpr bool writes = true;
  template <class T>
  static T compute(T value, T bit) {
    return value | bit;
  }
};
struct Btr {
  static constexpr bool writes = true;
  template <class T>
  static T compute(T value, T bit) {
    return static_cast<T>(value & ~bit);
  }
};
struct Btc {
  static constexpr bool writes = true;
  template <class T>
  static T compute(T value, T bit) {
    return value ^ bit;
  }
};

template <class T>
constexpr unsigned offset_mask = 8 * sizeof(T) - 1;

template <class T, bool immediate>
[[gnu::always_inline]] inline T bit_offset(Cpu& cpu, const Op* op) {
  return immediate ? static_cast<T>(op->immediate) : cpu.reg<T>(op->b);
}

template <class Operation, class T, bool immediate>
void bit_reg(Cpu& cpu, const Op* op) {
  const T a = cpu.reg<T>(op->a);
  const unsigned offset = bit_offset<T, immediate>(cpu, op) & offset_mask<T>;
  replace_cf(cpu.flags, (a >> offset) & 1);
  if constexpr (Operation::writes)
    cpu.set_reg<T>(op->a, Operation::template compute<T>(a, static_cast<T>(T{1} << offset)));
  return next(cpu, op);
}

// Where the word with the bit is: the operand, moved by whole words for a register offset.
template <class T, bool immediate>
[[gnu::always_inline]] inline Linear bit_word(Cpu& cpu, const Op* op, T offset, AccessKind kind) {
  if constexpr (immediate) return operand_linear(cpu, op, sizeof(T), kind);
  const i64 word = static_cast<i64>(static_cast<std::make_signed_t<T>>(offset)) >> std::countr_zero(8 * sizeof(T));
  const u64 address = effective_address(cpu, op) + static_cast<u64>(word) * sizeof(T);
  if (op->flags & op_flag::plain) return {address, true};
  const u64 wrapped = op->flags & op_flag::address32   ? static_cast<u32>(address)
                      : op->flags & op_flag::address16 ? static_cast<u16>(address)
                                                       : address;
  return segment_linear(cpu, static_cast<x86::Segment>(op->segment), wrapped, sizeof(T), kind);
}

template <class Operation, class T, bool immediate>
void bit_mem(Cpu& cpu, const Op* op) {
  const T offset = bit_offset<T, immediate>(cpu, op);
  const Linear linear = bit_word<T, immediate>(cpu, op, offset,
                                               Operation::writes ? AccessKind::write : AccessKind::read);
  if (!linear.ok) [[unlikely]]
    return faulted(cpu, op);
  const unsigned shift = offset & offset_mask<T>;
  Loaded<T> old;
  if constexpr (Operation::writes)
    old = modify_at<T>(cpu, op, linear.address, [bit = static_cast<T>(T{1} << shift)](T value) {
      return Operation::template compute<T>(value, bit);
    });
  else
    old = load<T>(cpu, linear.address, static_cast<x86::Segment>(op->segment));
  if (!old.ok) [[unlikely]]
    return faulted(cpu, op);
  replace_cf(cpu.flags, (old.value >> shift) & 1);
  return next(cpu, op);
}

template <class Operation>
Binding bind_bit(const x86::Instruction& instruction, Op&) {
  const auto& [to, offset, third, fourth] = instruction.operands;
  const bool immediate = is_immediate(offset);
  return {by_word_width(to.bytes, [&]<class T>() -> Handler {
    if (is_memory(to)) return immediate ? bit_mem<Operation, T, true> : bit_mem<Operation, T, false>;
    return immediate ? bit_reg<Operation, T, true> : bit_reg<Operation, T, false>;
  })};
}

// Only ZF is defined: host_flags.h.
template <class T, bool memory, bool reverse>
void bit_scan(Cpu& cpu, const Op* op) {
  const Loaded<T> from = source<T, memory>(cpu, op, op->b);
  if (!from.ok) [[unlikely]]
    return faulted(cpu, op);
  HostFlags flags(cpu.flags);
  T to = cpu.reg<T>(op->a);
  if constexpr (reverse) {
    DOPPEL_ON_HOST(flags, "bsr %[from], %[to]", [to] "+r"(to), [from] "r"(from.value));
  } else {
    DOPPEL_ON_HOST(flags, "bsf %[from], %[to]", [to] "+r"(to), [from] "r"(from.value));
  }
  flags.put(cpu.flags);
  if (from.value != 0) cpu.set_reg<T>(op->a, to);
  return next(cpu, op);
}

template <bool reverse>
Binding bind_scan(const x86::Instruction& instruction, Op&) {
  const auto& from = instruction.operands[1];
  return {by_word_width(from.bytes, [&]<class T>() -> Handler {
    return is_memory(from) ? bit_scan<T, true, reverse> : bit_scan<T, false, reverse>;
  })};
}

// ZF of the source; all other status flags, PF too, become 0.
template <class T, bool memory>
void popcnt(Cpu& cpu, const Op* op) {
  const Loaded<T> from = source<T, memory>(cpu, op, op->b);
  if (!from.ok) [[unlikely]]
    return faulted(cpu, op);
  cpu.set_reg<T>(op->a, static_cast<T>(std::popcount(from.value)));
  cpu.flags.unpack(from.value == 0 ? x86::rflags::zf : 0);
  return next(cpu, op);
}

// CRC-32C (polynomial 0x11edc6f41, bits reflected), a byte at a time.
struct Crc32cTable {
  u32 entries[256];
};
constexpr Crc32cTable make_crc32c_table() {
  Crc32cTable table{};
  for (u32 i = 0; i < 256; ++i) {
    u32 value = i;
    for (int bit = 0; bit < 8; ++bit) value = value & 1 ? value >> 1 ^ 0x82f6'3b78u : value >> 1;
    table.entries[i] = value;
  }
  return table;
}
constexpr Crc32cTable crc32c_table = make_crc32c_table();

// The destination's upper half becomes 0 whatever its width.
template <class T, bool memory>
void crc32(Cpu& cpu, const Op* op) {
  const Loaded<T> from = source<T, memory>(cpu, op, op->b);
  if (!from.ok) [[unlikely]]
    return faulted(cpu, op);
  u32 crc = cpu.reg<u32>(op->a);
  u64 rest = from.value;
  for (unsigned i = 0; i < sizeof(T); ++i, rest >>= 8)
    crc = crc >> 8 ^ crc32c_table.entries[static_cast<u8>(crc ^ rest)];
  cpu.set_reg<u32>(op->a, crc);
  return next(cpu, op);
}

}  // namespace

Binding bind_bt(const x86::Instruction& instruction, Op& op) { return bind_bit<Bt>(instruction, op); }
Binding bind_bts(const x86::Instruction& instruction, Op& op) { return bind_bit<Bts>(instruction, op); }
Binding bind_btr(const x86::Instruction& instruction, Op& op) { return bind_bit<Btr>(instruction, op); }
Binding bind_btc(const x86::Instruction& instruction, Op& op) { return bind_bit<Btc>(instruction, op); }
Binding bind_bsf(const x86::Instruction& instruction, Op& op) { return bind_scan<false>(instruction, op); }
Binding bind_bsr(const x86::Instruction& instruction, Op& op) { return bind_scan<true>(instruction, op); }

Binding bind_popcnt(const x86::Instruction& instruction, Op&) {
  const auto& from = instruction.operands[1];
  return {by_word_width(from.bytes,
                        [&]<class T>() -> Handler { return is_memory(from) ? popcnt<T, true> : popcnt<T, false>; })};
}

Binding bind_crc32(const x86::Instruction& instruction, Op&) {
  const auto& from = instruction.operands[1];
  return {
      by_width(from.bytes, [&]<class T>() -> Handler { return is_memory(from) ? crc32<T, true> : crc32<T, false>; })};
}

}  // namespace doppel::interpreter
