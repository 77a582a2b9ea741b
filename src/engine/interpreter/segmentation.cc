// Effective and linear addresses outside of the plain 64-bit case: segment limits and rights, 16- and 32-bit addressing.
// Intel SDM vol. 3 §5.3 (limit checking), §3.4.5.1 (types); vol. 1 §3.3.7 (64-bit mode).
#include "engine/interpreter/memory_access.h"

namespace doppel::interpreter {

using namespace x86;

namespace {

Linear refuse(Cpu& cpu, Segment segment) {
  set_fault(cpu, segment == ss ? stack_fault : general_protection, 0);
  return {0, false};
}

// Segment descriptor types, bits of SegmentRegister::Type.
constexpr u64 type_code = 8, type_expand_down = 4 /* data */, type_readable = 2 /* code */,
              type_writable = 2 /* data */;

bool rights_allow(const SegmentRegister& segment, AccessKind kind) {
  if (!SegmentRegister::Present::get(segment.attributes)) return false;  // null selector
  const u64 type = SegmentRegister::Type::get(segment.attributes);
  if (type & type_code) return kind == AccessKind::fetch || (kind == AccessKind::read && (type & type_readable));
  return kind != AccessKind::write || (type & type_writable);
}

bool within_limit(const SegmentRegister& segment, u64 offset, unsigned bytes) {
  const u64 type = SegmentRegister::Type::get(segment.attributes);
  const u64 last = offset + bytes - 1;
  if ((type & type_code) || !(type & type_expand_down)) return last <= segment.limit;
  const u64 top = SegmentRegister::Big::get(segment.attributes) ? 0xffff'ffffu : 0xffffu;
  return offset > segment.limit && last <= top;
}

// A writable data segment that reaches to 4 GiB, as all of a 32-bit operating system's are: nothing to check below the very top.
bool reaches_everything(const SegmentRegister& reg, u64 offset, unsigned bytes) {
  constexpr u16 kind_mask = 0x9e;      // P, S, code, expand-down, writable
  constexpr u16 writable_data = 0x92;  // P, S, writable
  return reg.limit == 0xffff'ffff && (reg.attributes & kind_mask) == writable_data && offset + bytes - 1 <= 0xffff'ffff;
}

}  // namespace

Linear segment_linear(Cpu& cpu, Segment segment, u64 offset, unsigned bytes, AccessKind kind) {
  const SegmentRegister& reg = cpu.s.segments[segment];
  if (cpu.long64) return {segment >= fs ? reg.base + offset : offset, true};
  if (reaches_everything(reg, offset, bytes)) [[likely]]
    return {static_cast<u32>(reg.base + offset), true};
  if (!cpu.real_or_vm86() && !rights_allow(reg, kind)) return refuse(cpu, segment);
  if (!within_limit(reg, offset, bytes)) return refuse(cpu, segment);
  return {static_cast<u32>(reg.base + offset), true};
}

u64 effective_address_slow(Cpu& cpu, const Op* op) {
  u64 base = cpu.gpr[op->base];
  if (op->flags & op_flag::rip_exact) base = cpu.op_rip(op) + op->length;
  if (op->flags & op_flag::wide) base = op->immediate;  // MOV with a 64-bit offset
  const u64 sum = base + (cpu.gpr[op->index] << op->scale) + static_cast<u64>(static_cast<i64>(op->displacement));
  if (op->flags & op_flag::address32) return static_cast<u32>(sum);
  if (op->flags & op_flag::address16) return static_cast<u16>(sum);
  return sum;
}

Linear operand_linear_slow(Cpu& cpu, const Op* op, unsigned bytes, AccessKind kind) {
  if ((op->flags & (op_flag::address32 | op_flag::wide | op_flag::rip_exact)) == op_flag::address32 && !cpu.long64)
      [[likely]] {
    const SegmentRegister& reg = cpu.s.segments[op->segment];
    const u64 offset = static_cast<u32>(cpu.gpr[op->base] + (cpu.gpr[op->index] << op->scale) +
                                        static_cast<u64>(static_cast<i64>(op->displacement)));
    if (reaches_everything(reg, offset, bytes)) [[likely]]
      return {static_cast<u32>(reg.base + offset), true};
  }
  return segment_linear(cpu, static_cast<Segment>(op->segment), effective_address_slow(cpu, op), bytes, kind);
}

u64 stack_mask(const Cpu& cpu) {
  if (cpu.long64) return ~u64{0};
  return SegmentRegister::Big::get(cpu.s.segments[ss].attributes) ? 0xffff'ffffu : 0xffffu;
}

Loaded<u64> stack_load_slow(Cpu& cpu, u64 offset, unsigned bytes) {
  const Linear linear = segment_linear(cpu, ss, offset, bytes, AccessKind::read);
  if (!linear.ok) return {0, false};
  switch (bytes) {
    case 2: {
      const auto value = load<u16>(cpu, linear.address, ss);
      return {value.value, value.ok};
    }
    case 4: {
      const auto value = load<u32>(cpu, linear.address, ss);
      return {value.value, value.ok};
    }
    default: return load<u64>(cpu, linear.address, ss);
  }
}

bool stack_store_slow(Cpu& cpu, u64 offset, u64 value, unsigned bytes) {
  const Linear linear = segment_linear(cpu, ss, offset, bytes, AccessKind::write);
  if (!linear.ok) return false;
  switch (bytes) {
    case 2: return store<u16>(cpu, linear.address, static_cast<u16>(value), ss);
    case 4: return store<u32>(cpu, linear.address, static_cast<u32>(value), ss);
    default: return store<u64>(cpu, linear.address, value, ss);
  }
}

}  // namespace doppel::interpreter
