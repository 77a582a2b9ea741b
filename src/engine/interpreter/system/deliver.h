// One attempt to deliver an event through the IDT, per mode. Internal to system/: others call deliver() (../system.h).
// Intel SDM vol. 3 §6 and vol. 2 "INT n/INTO/INT3/INT1", edition 085.
#pragma once

#include "engine/interpreter/system.h"
#include "engine/interpreter/system/segments.h"

namespace doppel::interpreter {

struct Event {
  EventKind kind;
  u8 vector;
  bool has_error = false;
  u32 error = 0;
  u64 address = 0;  // #PF: for CR2; #DB: bits for DR6

  // INT n, INT3 and INTO: gate privilege is checked, and faults do not say EXT.
  bool by_instruction() const { return kind == EventKind::software_interrupt || kind == EventKind::software_exception; }
  u32 ext() const { return by_instruction() ? 0 : x86::selector_error::ext; }
  u32 gate_error() const { return u32{vector} << 3 | x86::selector_error::idt | ext(); }
};

// Saves cpu.rip and enters the handler; false: a fault is recorded and no register has changed (except after a task switch, whose
// faults belong to the new task).
bool try_deliver(Cpu& cpu, const Event& event);
bool deliver_real(Cpu& cpu, const Event& event);
bool deliver_protected(Cpu& cpu, const Event& event);
bool deliver_long(Cpu& cpu, const Event& event);

// The debug trap of a task switch to a TSS with the T flag, if one is due (cpu.pending_debug).
void deliver_task_trap(Cpu& cpu);

// The RFLAGS image to save: RF as SDM vol. 3 §17.3.1.1 says.
u64 flags_image(const Cpu& cpu, const Event& event);
// TF, NT, RF and VM go; IF too for an interrupt gate.
void enter_handler_flags(Cpu& cpu, bool interrupt_gate);

}  // namespace doppel::interpreter
