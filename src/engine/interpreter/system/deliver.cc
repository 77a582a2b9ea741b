// Event delivery: what happens before and after the mode-specific attempt, and how faults during delivery combine.
// Intel SDM vol. 3 §6.15 (double fault), table 6-5.
#include "engine/interpreter/system/deliver.h"

namespace doppel::interpreter {

using namespace x86;

namespace {

enum class FaultClass : u8 { benign, contributory, page_fault };

FaultClass class_of(const Event& event) {
  if (event.kind != EventKind::exception) return FaultClass::benign;
  switch (event.vector) {
    case divide_error:
    case invalid_tss:
    case segment_not_present:
    case stack_fault:
    case general_protection: return FaultClass::contributory;
    case page_fault: return FaultClass::page_fault;
    default: return FaultClass::benign;
  }
}

bool makes_double_fault(FaultClass first, FaultClass second) {
  if (first == FaultClass::contributory) return second == FaultClass::contributory;
  return first == FaultClass::page_fault && second != FaultClass::benign;
}

constexpr u64 dr6_breakpoints = 0xf, dr6_general_detect = 1 << 13, dr6_task_switch = 1 << 15;
constexpr u64 dr7_general_detect = 1 << 13;
constexpr u64 debugctl_lbr_btf = 3;  // a debug exception turns them off, SDM vol. 3 §18.4

// Registers that tell the handler what happened, before it is entered.
void record(Cpu& cpu, const Event& event) {
  if (event.kind != EventKind::exception) return;
  if (event.vector == page_fault) cpu.s.cr2 = event.address;
  if (event.vector == debug) cpu.s.dr[6] = (cpu.s.dr[6] & ~dr6_breakpoints) | event.address;
}

bool is_debug(const Event& event) {
  return event.vector == debug && (event.kind == EventKind::exception || event.kind == EventKind::icebp);
}

bool is_fault(const Event& event) {
  if (event.kind != EventKind::exception) return false;
  return event.vector != debug && event.vector != breakpoint && event.vector != overflow &&
         event.vector != double_fault && event.vector != machine_check;
}

}  // namespace

u64 flags_image(const Cpu& cpu, const Event& event) {
  const u64 image = cpu.get_rflags();
  if (event.by_instruction()) return image & ~rflags::rf;
  const bool general_detect = event.kind == EventKind::exception && event.vector == debug &&
                              (event.address & dr6_general_detect);
  return is_fault(event) || general_detect ? image | rflags::rf : image;
}

void enter_handler_flags(Cpu& cpu, bool interrupt_gate) {
  cpu.other_flags &= ~(rflags::tf | rflags::nt | rflags::rf | rflags::vm);
  if (interrupt_gate) cpu.other_flags &= ~rflags::if_;
}

bool try_deliver(Cpu& cpu, const Event& event) {
  if (cpu.s.long_mode()) return deliver_long(cpu, event);
  return cpu.protected_mode() ? deliver_protected(cpu, event) : deliver_real(cpu, event);
}

namespace {

// What comes of a fault that was met while `first` was being delivered.
Event combine(Cpu& cpu, const Event& first, const Event& second) {
  const bool both = makes_double_fault(class_of(first), class_of(second));
  const Event result = both ? Event{.kind = EventKind::exception, .vector = double_fault, .has_error = true} : second;
  if (cpu.trace && cpu.trace->exception) {
    cpu.store_state();
    cpu.trace->exception(result.vector, result.error, cpu.s);
  }
  return result;
}

Event exception_of(const Fault& fault) {
  return {.kind = EventKind::exception,
          .vector = fault.vector,
          .has_error = fault.has_error,
          .error = fault.error,
          .address = fault.address};
}

}  // namespace

void deliver(Cpu& cpu, EventKind kind, const Fault& fault) {
  Event event = exception_of(fault);
  event.kind = kind;
  record(cpu, event);
  if (is_fault(event)) cpu.pending_debug &= dr6_task_switch;  // traps of the instruction that did not complete
  if (cpu.s.sti_shadow || cpu.s.mov_ss_shadow) {
    cpu.s.sti_shadow = cpu.s.mov_ss_shadow = false;
    cpu.update_mode();
  }
  cpu.leave = Leave::next_block;
  cpu.in_delivery = true;
  while (!try_deliver(cpu, event)) {
    const Event second = exception_of(cpu.fault);
    record(cpu, second);
    if (event.kind == EventKind::exception && event.vector == double_fault) {
      cpu.leave = Leave::triple_fault;
      break;
    }
    event = combine(cpu, event, second);
  }
  cpu.in_delivery = false;
  if (cpu.leave == Leave::triple_fault) return;
  if (kind == EventKind::nmi) cpu.s.nmi_blocked = true;
  if (is_debug(event)) {
    cpu.s.dr[7] &= ~dr7_general_detect;
    cpu.s.debugctl &= ~debugctl_lbr_btf;
  }
  deliver_task_trap(cpu);
}

void deliver_task_trap(Cpu& cpu) {
  if (!(cpu.pending_debug & dr6_task_switch)) [[likely]]
    return;
  // This ends: a handler that is a task with its own T flag is busy the second time.
  cpu.pending_debug &= ~dr6_task_switch;
  deliver(cpu, EventKind::exception, {.vector = debug, .address = dr6_task_switch});
}

}  // namespace doppel::interpreter
