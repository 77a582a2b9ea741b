// JMP and CALL far to code segments, and to tasks. Intel SDM vol. 2 "JMP", "CALL"; vol. 3 §5.8, §7.3.
#include "engine/interpreter/memory_access.h"
#include "engine/interpreter/system/task.h"
#include "engine/interpreter/system/transfer.h"

namespace doppel::interpreter {

using namespace x86;

bool check_target(Cpu& cpu, const SegmentRegister& code, u64 rip) {
  const bool ok = is_code64(cpu, code) ? is_canonical(rip) : rip <= code.limit;
  return ok || refuse(cpu, general_protection, 0);
}

namespace {

PushStack current_stack(Cpu& cpu) { return {cpu, cpu.s.segments[ss], cpu.gpr[rsp], cpu.cpl(), cpu.long64, 0}; }

bool push_return(Cpu& cpu, unsigned bytes, u64 next_rip) {
  PushStack stack = current_stack(cpu);
  if (!stack.push(cpu.s.segments[cs].selector, bytes) || !stack.push(next_rip, bytes)) return false;
  cpu.gpr[rsp] = stack.pointer();
  return true;
}

bool real_mode_transfer(Cpu& cpu, u16 selector, u64 offset, unsigned call_bytes, u64 next_rip) {
  if (offset > cpu.s.segments[cs].limit) return refuse(cpu, general_protection, 0);
  if (call_bytes && !push_return(cpu, call_bytes, next_rip)) return false;
  SegmentRegister& code = cpu.s.segments[cs];
  code = cpu.vm86() ? vm86_segment(selector) : real_mode_segment(code, selector);
  cpu.rip = offset;
  cpu.update_mode();
  return true;
}

// A code segment named directly: no change of privilege.
bool transfer_to_code(Cpu& cpu, u16 selector, TableEntry& entry, u64 offset, unsigned call_bytes, u64 next_rip) {
  const u16 rights = entry.descriptor.rights();
  const unsigned cpl = cpu.cpl();
  const unsigned dpl = access_rights::dpl(rights);
  const bool allowed = access_rights::is_conforming_code(rights) ? dpl <= cpl
                                                                 : selector::rpl(selector) <= cpl && dpl == cpl;
  const u32 error = selector::error_code(selector);
  if (!allowed || !has_valid_size(cpu, rights)) return refuse(cpu, general_protection, error);
  if (!entry.descriptor.present()) return refuse(cpu, segment_not_present, error);
  const SegmentRegister code = entry.descriptor.to_register(selector);
  if (!check_target(cpu, code, offset) || !mark_accessed(cpu, entry)) return false;
  if (call_bytes && !push_return(cpu, call_bytes, next_rip)) return false;
  set_code_segment(cpu, entry.descriptor.to_register(selector), cpl);
  cpu.rip = offset;
  cpu.update_mode();
  return true;
}

bool far_transfer(Cpu& cpu, u16 selector, u64 offset, unsigned call_bytes, u64 next_rip) {
  if (cpu.real_or_vm86()) return real_mode_transfer(cpu, selector, offset, call_bytes, next_rip);
  if (selector::is_null(selector)) return refuse(cpu, general_protection, 0);
  TableEntry entry = read_descriptor(cpu, selector, {});
  if (!entry.ok) return false;
  const u16 rights = entry.descriptor.rights();
  if (access_rights::is_code(rights)) return transfer_to_code(cpu, selector, entry, offset, call_bytes, next_rip);
  if (entry.descriptor.is_system()) {
    const bool long_mode = cpu.s.long_mode();
    switch (entry.descriptor.system_type()) {
      case SystemType::call_gate16:
        if (long_mode) break;
        [[fallthrough]];
      case SystemType::call_gate:
        return call_bytes ? call_through_gate(cpu, selector, entry, next_rip) : jump_through_gate(cpu, selector, entry);
      case SystemType::task_gate:
      case SystemType::tss16_available:
      case SystemType::tss_available:
        if (long_mode) break;
        return transfer_to_task(cpu, selector, entry, call_bytes != 0, next_rip);
      default: break;
    }
  }
  return refuse(cpu, general_protection, selector::error_code(selector));
}

}  // namespace

bool far_jump(Cpu& cpu, u16 selector, u64 offset, u64 next_rip) {
  return far_transfer(cpu, selector, offset, 0, next_rip);
}

bool far_call(Cpu& cpu, u16 selector, u64 offset, unsigned bytes, u64 next_rip) {
  return far_transfer(cpu, selector, offset, bytes, next_rip);
}

bool transfer_to_task(Cpu& cpu, u16 selector, const TableEntry& entry, bool call, u64 next_rip) {
  const unsigned dpl = entry.descriptor.dpl();
  const u32 error = selector::error_code(selector);
  if (dpl < cpu.cpl() || dpl < selector::rpl(selector)) return refuse(cpu, general_protection, error);
  TaskTarget target;
  if (entry.descriptor.system_type() == SystemType::task_gate) {
    if (!entry.descriptor.present()) return refuse(cpu, segment_not_present, error);
    target = check_task_gate_target(cpu, Gate{entry.descriptor.raw}.target_selector(), {});
  } else {
    target = check_task_gate_target(cpu, selector, {});
  }
  if (!target.ok) return false;
  return switch_task(cpu, target, call ? TaskSwitch::call : TaskSwitch::jump, next_rip, cpu.get_rflags() & ~rflags::rf,
                     0);
}

}  // namespace doppel::interpreter
