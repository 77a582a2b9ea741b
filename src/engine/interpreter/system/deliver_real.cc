// Real mode: the IDT holds 4-byte far pointers. Intel SDM vol. 3 §21.1.4.
#include "engine/interpreter/system/deliver.h"
#include "engine/interpreter/system/supervisor_access.h"

namespace doppel::interpreter {

using namespace x86;

bool deliver_real(Cpu& cpu, const Event& event) {
  const u32 entry = u32{event.vector} * 4;
  if (entry + 3 > cpu.s.idtr.limit) return refuse(cpu, general_protection, event.gate_error());
  const Loaded<u32> vector = load_supervisor<u32>(cpu, cpu.s.idtr.base + entry);
  if (!vector.ok) return false;

  PushStack stack(cpu, cpu.s.segments[ss], cpu.gpr[rsp], 0, false, 0);
  const bool pushed = stack.push(flags_image(cpu, event) & 0xffff, 2) && stack.push(cpu.s.segments[cs].selector, 2) &&
                      stack.push(cpu.rip & 0xffff, 2);
  if (!pushed) return false;
  const u16 offset = static_cast<u16>(vector.value);
  if (offset > cpu.s.segments[cs].limit) return refuse(cpu, general_protection, event.ext());

  cpu.gpr[rsp] = stack.pointer();
  enter_handler_flags(cpu, true);
  cpu.other_flags &= ~rflags::ac;
  const auto selector = static_cast<u16>(vector.value >> 16);
  cpu.s.segments[cs] = real_mode_segment(cpu.s.segments[cs], selector);
  cpu.rip = offset;
  cpu.update_mode();
  return true;
}

}  // namespace doppel::interpreter
