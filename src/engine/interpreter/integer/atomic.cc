// XCHG, XADD, CMPXCHG, CMPXCHG8B, CMPXCHG16B. Intel SDM vol. 2.
//
// With LOCK (XCHG with memory: always) they are atomic against all vCPUs: one host instruction on the RAM itself. A locked operand
// that crosses a page or lies in memory-mapped I/O is read and written separately.
// A failing compare writes the old value back, so it needs write permission, too.
#include "engine/interpreter/integer/binders.h"
#include "engine/interpreter/integer/operands.h"

namespace doppel::interpreter {
namespace {

constexpr u8 ax = x86::rax * 8, bx = x86::rbx * 8, cx = x86::rcx * 8, dx = x86::rdx * 8;

template <class T>
void xchg_reg(Cpu& cpu, const Op* op) {
  const T a = cpu.reg<T>(op->a), b = cpu.reg<T>(op->b);
  cpu.set_reg<T>(op->b, a);
  cpu.set_reg<T>(op->a, b);
  return next(cpu, op);
}

// The register is in op->b.
template <class T>
void xchg_mem(Cpu& cpu, const Op* op) {
  const Loaded<T> old = modify<T>(cpu, op, [value = cpu.reg<T>(op->b)](T) { return value; });
  if (!old.ok) [[unlikely]]
    return faulted(cpu, op);
  cpu.set_reg<T>(op->b, old.value);
  return next(cpu, op);
}

template <class T>
void xadd_reg(Cpu& cpu, const Op* op) {
  const T a = cpu.reg<T>(op->a), b = cpu.reg<T>(op->b), sum = static_cast<T>(a + b);
  cpu.set_reg<T>(op->b, a);
  cpu.set_reg<T>(op->a, sum);  // last: XADD r, r keeps the sum
  cpu.flags.set_add(a, b, sum);
  return next(cpu, op);
}

template <class T>
void xadd_mem(Cpu& cpu, const Op* op) {
  const T b = cpu.reg<T>(op->b);
  const Loaded<T> a = modify<T>(cpu, op, [b](T old) { return static_cast<T>(old + b); });
  if (!a.ok) [[unlikely]]
    return faulted(cpu, op);
  cpu.set_reg<T>(op->b, a.value);
  cpu.flags.set_add(a.value, b, static_cast<T>(a.value + b));
  return next(cpu, op);
}

// What is not written is not zero-extended either.
template <class T>
void cmpxchg_reg(Cpu& cpu, const Op* op) {
  const T expected = cpu.reg<T>(ax), old = cpu.reg<T>(op->a);
  cpu.flags.set_sub(expected, old, static_cast<T>(expected - old));
  if (old == expected)
    cpu.set_reg<T>(op->a, cpu.reg<T>(op->b));
  else
    cpu.set_reg<T>(ax, old);
  return next(cpu, op);
}

template <class T>
void cmpxchg_mem(Cpu& cpu, const Op* op) {
  const T expected = cpu.reg<T>(ax);
  const Loaded<T> old = modify<T>(
      cpu, op, [expected, value = cpu.reg<T>(op->b)](T now) { return now == expected ? value : now; });
  if (!old.ok) [[unlikely]]
    return faulted(cpu, op);
  cpu.flags.set_sub(expected, old.value, static_cast<T>(expected - old.value));
  if (old.value != expected) cpu.set_reg<T>(ax, old.value);
  return next(cpu, op);
}

void set_zf(Cpu& cpu, bool zf) { cpu.flags.unpack((cpu.flags.pack() & ~x86::rflags::zf) | (zf ? x86::rflags::zf : 0)); }

void cmpxchg8b(Cpu& cpu, const Op* op) {
  const u64 expected = u64{cpu.reg<u32>(dx)} << 32 | cpu.reg<u32>(ax);
  const u64 value = u64{cpu.reg<u32>(cx)} << 32 | cpu.reg<u32>(bx);
  const Loaded<u64> old = modify<u64>(cpu, op, [expected, value](u64 now) { return now == expected ? value : now; });
  if (!old.ok) [[unlikely]]
    return faulted(cpu, op);
  set_zf(cpu, old.value == expected);
  if (old.value != expected) {
    cpu.set_reg<u32>(ax, static_cast<u32>(old.value));
    cpu.set_reg<u32>(dx, static_cast<u32>(old.value >> 32));
  }
  return next(cpu, op);
}

// Returns what was there.
u128 compare_exchange(u8* host, u128 expected, u128 value) {
  return __sync_val_compare_and_swap(reinterpret_cast<u128*>(host), expected, value);
}

bool compare_exchange_pair(Cpu& cpu, u8* host) {
  const u128 expected = static_cast<u128>(cpu.gpr[x86::rdx]) << 64 | cpu.gpr[x86::rax];
  const u128 value = static_cast<u128>(cpu.gpr[x86::rcx]) << 64 | cpu.gpr[x86::rbx];
  const u128 old = compare_exchange(host, expected, value);
  if (old == expected) return true;
  cpu.gpr[x86::rax] = static_cast<u64>(old);
  cpu.gpr[x86::rdx] = static_cast<u64>(old >> 64);
  return false;
}

// Not in RAM. Both halves were probed for writing.
bool cmpxchg16b_apart(Cpu& cpu, u64 linear, x86::Segment segment, bool& equal) {
  const Loaded<u64> low = load_slow(cpu, linear, 8, segment);
  if (!low.ok) return false;
  const Loaded<u64> high = load_slow(cpu, linear + 8, 8, segment);
  if (!high.ok) return false;
  equal = low.value == cpu.gpr[x86::rax] && high.value == cpu.gpr[x86::rdx];
  const u64 new_low = equal ? cpu.gpr[x86::rbx] : low.value, new_high = equal ? cpu.gpr[x86::rcx] : high.value;
  if (!store_slow(cpu, linear, new_low, 8, segment) || !store_slow(cpu, linear + 8, new_high, 8, segment)) return false;
  if (!equal) {
    cpu.gpr[x86::rax] = low.value;
    cpu.gpr[x86::rdx] = high.value;
  }
  return true;
}

[[gnu::noinline]] bool cmpxchg16b_at(Cpu& cpu, u64 linear, x86::Segment segment) {
  bool equal;
  if (u8* host = writable_host(cpu, linear, 16, segment)) {
    equal = compare_exchange_pair(cpu, host);
    note_store(cpu, host, 16);
  } else if (cpu.fault.vector != no_fault || !cmpxchg16b_apart(cpu, linear, segment, equal)) {
    return false;
  }
  set_zf(cpu, equal);
  return true;
}

void cmpxchg16b(Cpu& cpu, const Op* op) {
  const Linear linear = operand_linear(cpu, op, 16, AccessKind::write);
  if (!linear.ok) [[unlikely]]
    return faulted(cpu, op);
  if (linear.address & 15) [[unlikely]]
    return raise(cpu, op, x86::general_protection, 0);
  if (!cmpxchg16b_at(cpu, linear.address, static_cast<x86::Segment>(op->segment))) [[unlikely]]
    return faulted(cpu, op);
  return next(cpu, op);
}

}  // namespace

Binding bind_xchg(const x86::Instruction& instruction, Op& op) {
  switch (form_of(instruction)) {
    case Form::reg_reg:
      return {by_width(instruction.operands[0].bytes, []<class T>() -> Handler { return xchg_reg<T>; })};
    case Form::reg_mem: op.b = op.a; break;
    case Form::mem_reg: break;
    default: return {};
  }
  op.flags |= op_flag::lock;
  return {by_width(instruction.operands[0].bytes, []<class T>() -> Handler { return xchg_mem<T>; })};
}

Binding bind_xadd(const x86::Instruction& instruction, Op&) {
  const auto& to = instruction.operands[0];
  return {by_width(to.bytes, [&]<class T>() -> Handler { return is_memory(to) ? xadd_mem<T> : xadd_reg<T>; })};
}

Binding bind_cmpxchg(const x86::Instruction& instruction, Op&) {
  const auto& to = instruction.operands[0];
  return {by_width(to.bytes, [&]<class T>() -> Handler { return is_memory(to) ? cmpxchg_mem<T> : cmpxchg_reg<T>; })};
}

Binding bind_cmpxchg8b(const x86::Instruction&, Op&) { return {cmpxchg8b}; }
Binding bind_cmpxchg16b(const x86::Instruction&, Op&) { return {cmpxchg16b}; }

}  // namespace doppel::interpreter
