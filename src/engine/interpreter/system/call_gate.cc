// Call gates: 16-, 32- and 64-bit, with a switch to an inner stack. Intel SDM vol. 3 §5.8.3–§5.8.5.
#include "engine/interpreter/memory_access.h"
#include "engine/interpreter/system/supervisor_access.h"
#include "engine/interpreter/system/task.h"
#include "engine/interpreter/system/transfer.h"

namespace doppel::interpreter {

using namespace x86;

namespace {

struct GateTarget {
  u16 selector = 0;
  u64 offset = 0;
  unsigned bytes = 0;  // of what is pushed
  unsigned parameters = 0;
  TableEntry entry;
  bool ok = false;
};

// The checks that JMP and CALL share.
bool resolve(Cpu& cpu, u16 gate_selector, const TableEntry& gate_entry, GateTarget& target) {
  Gate gate{gate_entry.descriptor.raw};
  const u32 gate_error = selector::error_code(gate_selector);
  if (gate.dpl() < cpu.cpl() || gate.dpl() < selector::rpl(gate_selector))
    return refuse(cpu, general_protection, gate_error);
  const bool long_mode = cpu.s.long_mode();
  if (long_mode) {
    const UpperHalf upper = read_upper_half(cpu, gate_entry, gate_selector, {});
    if (!upper.ok) return false;
    if (Bits<40, 5>::get(upper.value))
      return refuse(cpu, general_protection, gate_error);  // must look like no descriptor
    gate.high = upper.value;
  }
  if (!gate.present()) return refuse(cpu, segment_not_present, gate_error);

  target.selector = gate.target_selector();
  target.offset = gate.wide() ? gate.offset() : static_cast<u16>(gate.offset());
  target.bytes = long_mode ? 8 : gate.wide() ? 4 : 2;
  target.parameters = long_mode ? 0 : gate.parameter_count();
  if (selector::is_null(target.selector)) return refuse(cpu, general_protection, 0);
  target.entry = read_descriptor(cpu, target.selector, {});
  if (!target.entry.ok) return false;
  const u16 rights = target.entry.descriptor.rights();
  const u32 error = selector::error_code(target.selector);
  if (!access_rights::is_code(rights) || access_rights::dpl(rights) > cpu.cpl())
    return refuse(cpu, general_protection, error);
  constexpr u16 size = access_rights::long_mode | access_rights::big;
  if (long_mode && (rights & size) != access_rights::long_mode) return refuse(cpu, general_protection, error);
  if (!target.entry.descriptor.present()) return refuse(cpu, segment_not_present, error);
  return check_target(cpu, target.entry.descriptor.to_register(target.selector), target.offset) &&
         mark_accessed(cpu, target.entry);
}

void enter(Cpu& cpu, const GateTarget& target, const PushStack& stack, unsigned cpl) {
  cpu.gpr[rsp] = stack.pointer();
  set_code_segment(cpu, target.entry.descriptor.to_register(target.selector), cpl);
  cpu.rip = target.offset;
  cpu.update_mode();
}

bool call_same_level(Cpu& cpu, const GateTarget& target, u64 next_rip) {
  const unsigned cpl = cpu.cpl();
  PushStack stack(cpu, cpu.s.segments[ss], cpu.gpr[rsp], cpl, cpu.long64 || cpu.s.long_mode(), 0);
  if (!stack.push(cpu.s.segments[cs].selector, target.bytes) || !stack.push(next_rip, target.bytes)) return false;
  enter(cpu, target, stack, cpl);
  return true;
}

bool copy_parameters(Cpu& cpu, const GateTarget& target, PushStack& stack) {
  const u64 mask = stack_mask(cpu);
  for (unsigned i = target.parameters; i-- > 0;) {
    const Loaded<u64> value = stack_load_slow(cpu, (cpu.gpr[rsp] + i * target.bytes) & mask, target.bytes);
    if (!value.ok || !stack.push(value.value, target.bytes)) return false;
  }
  return true;
}

bool call_inner_level(Cpu& cpu, const GateTarget& target, unsigned cpl, u64 next_rip) {
  SegmentRegister segment = null_segment(static_cast<u16>(cpl), cpl);
  InnerStack inner;
  const bool long_mode = cpu.s.long_mode();
  if (long_mode) {
    inner = read_tss64_stack(cpu, tss64::stacks + cpl * 8, 0);
    if (!inner.ok) return false;
  } else {
    inner = read_inner_stack(cpu, cpl, 0);
    if (!inner.ok) return false;
    if (selector::is_null(inner.selector)) return refuse(cpu, invalid_tss, 0);
    const CheckedSegment checked = check_stack_segment(cpu, inner.selector, cpl, {.vector = invalid_tss});
    if (!checked.ok) return false;
    segment = checked.value;
  }
  PushStack stack(cpu, segment, inner.pointer, cpl, long_mode, selector::error_code(inner.selector));
  const unsigned bytes = target.bytes;
  const bool pushed = stack.push(cpu.s.segments[ss].selector, bytes) && stack.push(cpu.gpr[rsp], bytes) &&
                      copy_parameters(cpu, target, stack) && stack.push(cpu.s.segments[cs].selector, bytes) &&
                      stack.push(next_rip, bytes);
  if (!pushed) return false;
  cpu.s.segments[ss] = segment;
  enter(cpu, target, stack, cpl);
  return true;
}

}  // namespace

bool jump_through_gate(Cpu& cpu, u16 selector, const TableEntry& entry) {
  GateTarget target;
  if (!resolve(cpu, selector, entry, target)) return false;
  const u16 rights = target.entry.descriptor.rights();
  if (!access_rights::is_conforming_code(rights) && access_rights::dpl(rights) != cpu.cpl())
    return refuse(cpu, general_protection, selector::error_code(target.selector));
  set_code_segment(cpu, target.entry.descriptor.to_register(target.selector), cpu.cpl());
  cpu.rip = target.offset;
  cpu.update_mode();
  return true;
}

bool call_through_gate(Cpu& cpu, u16 selector, const TableEntry& entry, u64 next_rip) {
  GateTarget target;
  if (!resolve(cpu, selector, entry, target)) return false;
  const u16 rights = target.entry.descriptor.rights();
  const unsigned dpl = access_rights::dpl(rights);
  if (!access_rights::is_conforming_code(rights) && dpl < cpu.cpl())
    return call_inner_level(cpu, target, dpl, next_rip);
  return call_same_level(cpu, target, next_rip);
}

}  // namespace doppel::interpreter
