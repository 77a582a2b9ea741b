// Task-state segments: stacks of inner levels, task switches. Intel SDM vol. 3 §7, edition 085.
#pragma once

#include "engine/interpreter/system/segments.h"

namespace doppel::interpreter {

struct InnerStack {
  u16 selector = 0;
  u64 pointer = 0;
  bool ok = false;
};
// SS:ESP for privilege level `cpl` from the current 16- or 32-bit TSS; #TS(TR) if it is too short.
InnerStack read_inner_stack(Cpu& cpu, unsigned cpl, u32 ext);
// The stack pointer at `offset` of the current 64-bit TSS; #TS(TR) if it is too short.
InnerStack read_tss64_stack(Cpu& cpu, u32 offset, u32 ext);

// An available TSS to switch to.
struct TaskTarget {
  u16 selector = 0;
  TableEntry entry;
  bool ok = false;

  bool wide() const { return static_cast<unsigned>(entry.descriptor.system_type()) & 8; }
};
// What a task gate names: an available TSS in the GDT, present.
TaskTarget check_task_gate_target(Cpu& cpu, u16 selector, Blame blame);

enum class TaskSwitch : u8 { jump, call, event, iret };

// Switches to `target`; the old task is to resume at `return_rip` with `flags`. False: a fault is recorded; cpu.s.tr says
// whether it belongs to the old task (nothing changed) or to the new one (registers loaded, cpu.rip is its).
bool switch_task(Cpu& cpu, const TaskTarget& target, TaskSwitch how, u64 return_rip, u64 flags, u32 ext);

}  // namespace doppel::interpreter
