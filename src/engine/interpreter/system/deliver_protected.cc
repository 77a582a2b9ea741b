// Protected and virtual-8086 mode outside of IA-32e mode: 8-byte gates, task gates. Intel SDM vol. 3 §6.12, §21.3.1.
#include "engine/interpreter/system/deliver.h"
#include "engine/interpreter/system/supervisor_access.h"
#include "engine/interpreter/system/task.h"

namespace doppel::interpreter {

using namespace x86;

namespace {

bool is_idt_gate(const Gate& gate) {
  if (!gate.is_system()) return false;
  switch (gate.type()) {
    case SystemType::task_gate:
    case SystemType::interrupt_gate16:
    case SystemType::trap_gate16:
    case SystemType::interrupt_gate:
    case SystemType::trap_gate: return true;
    default: return false;
  }
}

bool deliver_task(Cpu& cpu, const Event& event, u16 selector) {
  const TaskTarget target = check_task_gate_target(cpu, selector, {general_protection, event.ext()});
  if (!target.ok) return false;
  const u64 image = flags_image(cpu, event);
  if (!switch_task(cpu, target, TaskSwitch::event, cpu.rip, image, event.ext())) return false;
  if (!event.has_error) return true;
  // The error code goes on the new task's stack, in its size.
  PushStack stack(cpu, cpu.s.segments[ss], cpu.gpr[rsp], cpu.cpl(), false, event.ext());
  if (!stack.push(event.error, target.wide() ? 4 : 2)) return false;
  cpu.gpr[rsp] = stack.pointer();
  return true;
}

struct Handler32 {
  SegmentRegister code;
  u32 offset;
  unsigned cpl;
  unsigned push_bytes;
  bool interrupt_gate;
};

void commit(Cpu& cpu, const Handler32& handler, const PushStack& stack) {
  cpu.gpr[rsp] = stack.pointer();
  cpu.s.segments[cs] = handler.code;
  cpu.s.segments[cs].selector = static_cast<u16>((handler.code.selector & ~3u) | handler.cpl);
  cpu.rip = handler.offset;
  enter_handler_flags(cpu, handler.interrupt_gate);
  cpu.update_mode();
}

bool push_frame(Cpu& cpu, const Event& event, PushStack& stack, unsigned bytes) {
  return stack.push(flags_image(cpu, event), bytes) && stack.push(cpu.s.segments[cs].selector, bytes) &&
         stack.push(cpu.rip, bytes) && (!event.has_error || stack.push(event.error, bytes));
}

bool deliver_same_level(Cpu& cpu, const Event& event, const Handler32& handler) {
  PushStack stack(cpu, cpu.s.segments[ss], cpu.gpr[rsp], handler.cpl, false, event.ext());
  if (!push_frame(cpu, event, stack, handler.push_bytes)) return false;
  commit(cpu, handler, stack);
  return true;
}

bool deliver_inner_level(Cpu& cpu, const Event& event, const Handler32& handler) {
  const InnerStack inner = read_inner_stack(cpu, handler.cpl, event.ext());
  if (!inner.ok) return false;
  if (selector::is_null(inner.selector)) return refuse(cpu, invalid_tss, event.ext());
  const CheckedSegment segment = check_stack_segment(cpu, inner.selector, handler.cpl, {invalid_tss, event.ext()});
  if (!segment.ok) return false;

  const auto& old = cpu.s.segments;
  const unsigned bytes = handler.push_bytes;
  const bool from_vm86 = cpu.vm86();
  PushStack stack(cpu, segment.value, inner.pointer, handler.cpl, false,
                  selector::error_code(inner.selector) | event.ext());
  if (from_vm86) {
    const bool saved = stack.push(old[gs].selector, bytes) && stack.push(old[fs].selector, bytes) &&
                       stack.push(old[ds].selector, bytes) && stack.push(old[es].selector, bytes);
    if (!saved) return false;
  }
  const bool saved = stack.push(old[ss].selector, bytes) && stack.push(cpu.gpr[rsp], bytes) &&
                     push_frame(cpu, event, stack, bytes);
  if (!saved) return false;
  if (from_vm86)
    for (const Segment each : {gs, fs, ds, es}) cpu.s.segments[each] = null_segment(0);
  cpu.s.segments[ss] = segment.value;
  commit(cpu, handler, stack);
  return true;
}

bool deliver_through_gate(Cpu& cpu, const Event& event, const Gate& gate) {
  const u16 target = gate.target_selector();
  const u32 error = selector::error_code(target) | event.ext();
  if (selector::is_null(target)) return refuse(cpu, general_protection, event.ext());
  TableEntry entry = read_descriptor(cpu, target, {general_protection, event.ext()});
  if (!entry.ok) return false;
  const u16 rights = entry.descriptor.rights();
  const unsigned cpl = cpu.cpl();
  if (!access_rights::is_code(rights) || access_rights::dpl(rights) > cpl)
    return refuse(cpu, general_protection, error);
  if (!entry.descriptor.present()) return refuse(cpu, segment_not_present, error);
  const bool conforming = access_rights::is_conforming_code(rights);
  const unsigned new_cpl = conforming ? cpl : access_rights::dpl(rights);
  if (cpu.vm86() && new_cpl != 0) return refuse(cpu, general_protection, error);

  const u32 offset = gate.wide() ? static_cast<u32>(gate.offset()) : static_cast<u16>(gate.offset());
  if (offset > entry.descriptor.limit()) return refuse(cpu, general_protection, event.ext());
  if (!mark_accessed(cpu, entry)) return false;
  const bool interrupt_gate = gate.type() == SystemType::interrupt_gate || gate.type() == SystemType::interrupt_gate16;
  const Handler32 handler{entry.descriptor.to_register(target), offset, new_cpl, gate.wide() ? 4u : 2u, interrupt_gate};
  return new_cpl < cpl ? deliver_inner_level(cpu, event, handler) : deliver_same_level(cpu, event, handler);
}

}  // namespace

bool deliver_protected(Cpu& cpu, const Event& event) {
  const u32 position = u32{event.vector} * 8;
  if (position + 7 > cpu.s.idtr.limit) return refuse(cpu, general_protection, event.gate_error());
  const Loaded<u64> raw = load_supervisor<u64>(cpu, cpu.s.idtr.base + position);
  if (!raw.ok) return false;
  const Gate gate{raw.value};
  if (!is_idt_gate(gate) || (event.by_instruction() && gate.dpl() < cpu.cpl()))
    return refuse(cpu, general_protection, event.gate_error());
  if (!gate.present()) return refuse(cpu, segment_not_present, event.gate_error());
  if (gate.type() == SystemType::task_gate) return deliver_task(cpu, event, gate.target_selector());
  return deliver_through_gate(cpu, event, gate);
}

}  // namespace doppel::interpreter
