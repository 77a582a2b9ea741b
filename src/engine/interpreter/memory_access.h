// How handlers reach guest memory: a TLB probe in line, everything else out of line (memory_access.cc, translate.cc).
//
// A failed access has recorded its fault in cpu.fault; the handler returns faulted(cpu, op). Values come back in registers
// (Loaded), never through pointers to locals, so that handlers can end in tail calls. Little-endian host assumed.
#pragma once

#include "engine/interpreter/bind.h"
#include "engine/interpreter/cpu.h"

namespace doppel::interpreter {

template <class T>
struct Loaded {
  T value;
  bool ok;
};

// ---- out of line: translation, segmentation, page crossing, MMIO, watch points ----

struct Linear {
  u64 address;
  bool ok;
};
// Segment base, limit and access rights (64-bit mode: base of FS/GS only; canonical form is checked by translation).
// `offset` is the effective address, already truncated to the address size. Records #GP(0) / #SS(0).
Linear segment_linear(Cpu& cpu, x86::Segment segment, u64 offset, unsigned bytes, AccessKind kind);
// The effective address of any memory operand (offset in its segment), truncated to the address size.
u64 effective_address_slow(Cpu& cpu, const Op* op);
Linear operand_linear_slow(Cpu& cpu, const Op* op, unsigned bytes, AccessKind kind);

// `segment` only decides between #SS and #GP for a non-canonical address. 1–8 bytes.
Loaded<u64> load_slow(Cpu& cpu, u64 linear, unsigned bytes, x86::Segment segment);
bool store_slow(Cpu& cpu, u64 linear, u64 value, unsigned bytes, x86::Segment segment);
// Any size up to 64 bytes (vectors, FXSAVE pieces): into / from `buffer`; stores check all pages before they write any.
bool load_bytes(Cpu& cpu, u64 linear, void* buffer, unsigned bytes, x86::Segment segment);
bool store_bytes(Cpu& cpu, u64 linear, const void* buffer, unsigned bytes, x86::Segment segment);
// Faults exactly as a write of `bytes` would, without writing (read-modify-write, REP, ENTER).
bool probe_write(Cpu& cpu, u64 linear, unsigned bytes, x86::Segment segment);
bool probe_read(Cpu& cpu, u64 linear, unsigned bytes, x86::Segment segment);
// Host address of RAM that may be written (permissions checked, dirty bit set) if all `bytes` lie in one page of RAM; nullptr with
// cpu.fault.vector == no_fault otherwise (MMIO, ROM, page crossing: use load and store), or with a fault recorded.
u8* writable_host(Cpu& cpu, u64 linear, unsigned bytes, x86::Segment segment);
constexpr u8 no_fault = 0xff;
// After a store through a host pointer whose page has flags: code invalidation, dirty log.
void note_store(Cpu& cpu, const u8* host, unsigned bytes);

// Accesses the processor makes by itself (descriptor tables, TSS, IDT): supervisor rights whatever the CPL. 1–8 bytes.
Loaded<u64> load_system(Cpu& cpu, u64 linear, unsigned bytes);
bool store_system(Cpu& cpu, u64 linear, u64 value, unsigned bytes);

// ---- in line ----

template <class T>
[[gnu::always_inline]] inline T get(const u8* host) {
  T value;
  std::memcpy(&value, host, sizeof(T));
  return value;
}
template <class T>
[[gnu::always_inline]] inline void put(u8* host, T value) {
  std::memcpy(host, &value, sizeof(T));
}

// Where a table has the `bytes` bytes at `linear`, if the slot's tag is `tag`, or nullptr.
[[gnu::always_inline]] inline u8* tagged_at(const TlbEntries& table, u64 linear, unsigned bytes, u64 tag) {
  const u64 offset = linear ^ tag;
  return offset <= page_size - bytes ? reinterpret_cast<u8*>(table.host[Tlb::slot_of(linear)] + offset) : nullptr;
}
[[gnu::always_inline]] inline u8* readable_at(const TlbEntries& table, u64 linear, unsigned bytes) {
  return tagged_at(table, linear, bytes, table.read_tag[Tlb::slot_of(linear)]);
}
// The same for writing, if no one watches the page.
[[gnu::always_inline]] inline u8* storable_at(const TlbEntries& table, u64 linear, unsigned bytes) {
  return tagged_at(table, linear, bytes, table.write_tag[Tlb::slot_of(linear)]);
}
// If someone does.
[[gnu::always_inline]] inline u8* watched_at(const TlbEntries& table, u64 linear, unsigned bytes) {
  return tagged_at(table, linear, bytes, Tlb::watched_tag(table.write_tag[Tlb::slot_of(linear)]));
}
// For writing, whoever watches the page: note_store follows.
[[gnu::always_inline]] inline u8* writable_at(const TlbEntries& table, u64 linear, unsigned bytes) {
  u8* const host = storable_at(table, linear, bytes);
  return host ? host : watched_at(table, linear, bytes);
}

// Host address of `bytes` bytes for a plain load, or nullptr: take the slow path.
[[gnu::always_inline]] inline u8* load_target(const Cpu& cpu, u64 linear, unsigned bytes) {
  return readable_at(*cpu.tlb, linear, bytes);
}
// The same for a plain store, which no one watches.
[[gnu::always_inline]] inline u8* store_target(const Cpu& cpu, u64 linear, unsigned bytes) {
  return storable_at(*cpu.tlb, linear, bytes);
}
template <class T>
[[gnu::always_inline]] inline const u8* load_target(const Cpu& cpu, u64 linear) {
  return load_target(cpu, linear, sizeof(T));
}
template <class T>
[[gnu::always_inline]] inline u8* store_target(const Cpu& cpu, u64 linear) {
  return store_target(cpu, linear, sizeof(T));
}

template <class T>
[[gnu::always_inline]] inline Loaded<T> load(Cpu& cpu, u64 linear, x86::Segment segment = x86::ds) {
  if (const u8* host = load_target<T>(cpu, linear)) [[likely]]
    return {get<T>(host), true};
  const Loaded<u64> slow = load_slow(cpu, linear, sizeof(T), segment);
  return {static_cast<T>(slow.value), slow.ok};
}

template <class T>
[[gnu::always_inline]] inline bool store(Cpu& cpu, u64 linear, T value, x86::Segment segment = x86::ds) {
  if (u8* host = store_target<T>(cpu, linear)) [[likely]] {
    put(host, value);
    return true;
  }
  return store_slow(cpu, linear, value, sizeof(T), segment);
}

// The linear address of the memory operand; checks segment limits and rights outside 64-bit mode.
[[gnu::always_inline]] inline Linear operand_linear(Cpu& cpu, const Op* op, unsigned bytes, AccessKind kind) {
  if (op->flags & op_flag::plain) [[likely]]
    return {cpu.gpr[op->base] + (cpu.gpr[op->index] << op->scale) + static_cast<u64>(static_cast<i64>(op->displacement)),
            true};
  return operand_linear_slow(cpu, op, bytes, kind);
}
// The effective address alone (LEA, far operands, bit strings that add to it).
[[gnu::always_inline]] inline u64 effective_address(Cpu& cpu, const Op* op) {
  if (op->flags & op_flag::plain) [[likely]]
    return cpu.gpr[op->base] + (cpu.gpr[op->index] << op->scale) + static_cast<u64>(static_cast<i64>(op->displacement));
  return effective_address_slow(cpu, op);
}

template <class T>
[[gnu::always_inline]] inline Loaded<T> load_operand(Cpu& cpu, const Op* op) {
  const Linear linear = operand_linear(cpu, op, sizeof(T), AccessKind::read);
  if (!linear.ok) [[unlikely]]
    return {0, false};
  return load<T>(cpu, linear.address, static_cast<x86::Segment>(op->segment));
}

template <class T>
[[gnu::always_inline]] inline bool store_operand(Cpu& cpu, const Op* op, T value) {
  const Linear linear = operand_linear(cpu, op, sizeof(T), AccessKind::write);
  if (!linear.ok) [[unlikely]]
    return false;
  return store<T>(cpu, linear.address, value, static_cast<x86::Segment>(op->segment));
}

// The slow half of modify_operand: MMIO, page crossing, watched pages.
template <class T, class F>
[[gnu::noinline]] Loaded<T> modify_slow(Cpu& cpu, u64 linear, x86::Segment segment, bool locked, F compute) {
  u8* host = writable_host(cpu, linear, sizeof(T), segment);
  if (!host) {
    if (cpu.fault.vector != no_fault) return {0, false};
    const Loaded<u64> old = load_slow(cpu, linear, sizeof(T), segment);
    if (!old.ok) return {0, false};
    if (!store_slow(cpu, linear, compute(static_cast<T>(old.value)), sizeof(T), segment)) return {0, false};
    return {static_cast<T>(old.value), true};
  }
  T old = get<T>(host);
  if (locked) {
    while (!__atomic_compare_exchange_n(reinterpret_cast<T*>(host), &old, compute(old), false, __ATOMIC_SEQ_CST,
                                        __ATOMIC_SEQ_CST)) {
    }
  } else {
    put<T>(host, compute(old));
  }
  note_store(cpu, host, sizeof(T));
  return {old, true};
}

// Read-modify-write of the memory operand: returns the old value; `compute` maps old to new (and may run more than once).
// A fault leaves memory untouched and is a write fault. With the LOCK prefix it is atomic against all other vCPUs.
template <class T, class F>
[[gnu::always_inline]] inline Loaded<T> modify_operand(Cpu& cpu, const Op* op, F compute) {
  const Linear linear = operand_linear(cpu, op, sizeof(T), AccessKind::write);
  if (!linear.ok) [[unlikely]]
    return {0, false};
  const auto segment = static_cast<x86::Segment>(op->segment);
  if (!(op->flags & op_flag::lock)) [[likely]] {
    if (u8* host = store_target<T>(cpu, linear.address)) [[likely]] {
      const T old = get<T>(host);
      put<T>(host, compute(old));
      return {old, true};
    }
  }
  return modify_slow<T>(cpu, linear.address, segment, op->flags & op_flag::lock, compute);
}

// ---- stack ----

// Pushes and pops use SS and its size (64-bit mode: flat). push leaves RSP alone on a fault. For several pushes that must be all or
// nothing, use Stack in system/.
template <class T>
[[gnu::always_inline]] inline bool push(Cpu& cpu, T value);
template <class T>
[[gnu::always_inline]] inline Loaded<T> pop(Cpu& cpu);

Loaded<u64> stack_load_slow(Cpu& cpu, u64 offset, unsigned bytes);
bool stack_store_slow(Cpu& cpu, u64 offset, u64 value, unsigned bytes);
// RSP, ESP or SP as SS.B says; writing keeps the upper bits that do not belong to it.
u64 stack_mask(const Cpu& cpu);
[[gnu::always_inline]] inline void set_stack_pointer(Cpu& cpu, u64 value) {
  if (cpu.long64) [[likely]] {
    cpu.gpr[x86::rsp] = value;
    return;
  }
  const u64 mask = stack_mask(cpu);
  cpu.gpr[x86::rsp] = (cpu.gpr[x86::rsp] & ~mask) | (value & mask);
}

template <class T>
inline bool push(Cpu& cpu, T value) {
  if (cpu.long64) [[likely]] {
    const u64 to = cpu.gpr[x86::rsp] - sizeof(T);
    if (!store<T>(cpu, to, value, x86::ss)) [[unlikely]]
      return false;
    cpu.gpr[x86::rsp] = to;
    return true;
  }
  const u64 to = (cpu.gpr[x86::rsp] - sizeof(T)) & stack_mask(cpu);
  if (!stack_store_slow(cpu, to, value, sizeof(T))) return false;
  set_stack_pointer(cpu, to);
  return true;
}

// Does not move RSP: the caller does when nothing can fail any more (advance by sizeof(T)).
template <class T>
inline Loaded<T> pop(Cpu& cpu) {
  if (cpu.long64) [[likely]]
    return load<T>(cpu, cpu.gpr[x86::rsp], x86::ss);
  const Loaded<u64> value = stack_load_slow(cpu, cpu.gpr[x86::rsp] & stack_mask(cpu), sizeof(T));
  return {static_cast<T>(value.value), value.ok};
}

}  // namespace doppel::interpreter
