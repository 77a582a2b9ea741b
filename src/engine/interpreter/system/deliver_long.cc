// IA-32e mode: 16-byte gates, interrupt stack table, always a full frame. Intel SDM vol. 3 §6.14.
#include "engine/interpreter/system/deliver.h"
#include "engine/interpreter/system/supervisor_access.h"
#include "engine/interpreter/system/task.h"

namespace doppel::interpreter {

using namespace x86;

namespace {

struct Frame {
  u64 words[6];  // ascending addresses: [error code,] RIP, CS, RFLAGS, RSP, SS
  unsigned count;
};

// All of the frame through the TLB if it lies in one page, word by word otherwise.
bool store_frame(Cpu& cpu, u64 to, const u64* words, unsigned count, bool supervisor) {
  const unsigned bytes = count * 8;
  if (u8* host = writable_at(supervisor ? supervisor_table(cpu) : *cpu.tlb, to, bytes)) [[likely]] {
    std::memcpy(host, words, bytes);
    note_store(cpu, host, bytes);
    return true;
  }
  // Top down, as pushes go.
  for (unsigned i = count; i-- > 0;) {
    const u64 address = to + i * 8;
    if (!(supervisor ? store_system(cpu, address, words[i], 8) : store_slow(cpu, address, words[i], 8, ss)))
      return false;
  }
  return true;
}

struct StackChoice {
  u64 pointer;
  bool ok;
};

StackChoice choose_stack(Cpu& cpu, const Gate& gate, unsigned cpl, unsigned new_cpl, u32 ext) {
  if (const unsigned index = gate.stack_table_index())
    return [&] {
      const InnerStack stack = read_tss64_stack(cpu, tss64::interrupt_stacks + (index - 1) * 8, ext);
      return StackChoice{stack.pointer, stack.ok};
    }();
  if (new_cpl == cpl) return {cpu.gpr[rsp], true};
  const InnerStack stack = read_tss64_stack(cpu, tss64::stacks + new_cpl * 8, ext);
  return {stack.pointer, stack.ok};
}

struct GateRead {
  Gate gate;
  bool ok;
};

GateRead read_gate(Cpu& cpu, const Event& event) {
  const u32 position = u32{event.vector} * 16;
  if (position + 15 > cpu.s.idtr.limit) return {{}, refuse(cpu, general_protection, event.gate_error())};
  const Loaded<u64> low = load_supervisor<u64>(cpu, cpu.s.idtr.base + position);
  if (!low.ok) return {{}, false};
  const Loaded<u64> high = load_supervisor<u64>(cpu, cpu.s.idtr.base + position + 8);
  if (!high.ok) return {{}, false};
  const Gate gate{low.value, high.value};
  const bool type_ok = gate.is_system() &&
                       (gate.type() == SystemType::interrupt_gate || gate.type() == SystemType::trap_gate);
  if (!type_ok || (event.by_instruction() && gate.dpl() < cpu.cpl()))
    return {gate, refuse(cpu, general_protection, event.gate_error())};
  if (!gate.present()) return {gate, refuse(cpu, segment_not_present, event.gate_error())};
  return {gate, true};
}

bool check_handler(Cpu& cpu, const TableEntry& entry, u16 target, unsigned cpl, u32 ext) {
  const u16 rights = entry.descriptor.rights();
  const u32 error = selector::error_code(target) | ext;
  if (!access_rights::is_code(rights) || access_rights::dpl(rights) > cpl)
    return refuse(cpu, general_protection, error);
  if (!entry.descriptor.present()) return refuse(cpu, segment_not_present, error);
  if ((rights & (access_rights::long_mode | access_rights::big)) != access_rights::long_mode)
    return refuse(cpu, general_protection, error);
  return true;
}

}  // namespace

bool deliver_long(Cpu& cpu, const Event& event) {
  const GateRead read = read_gate(cpu, event);
  if (!read.ok) return false;
  const Gate& gate = read.gate;
  const u16 target = gate.target_selector();
  const u32 ext = event.ext();
  if (selector::is_null(target)) return refuse(cpu, general_protection, ext);
  TableEntry entry = read_descriptor(cpu, target, {general_protection, ext});
  const unsigned cpl = cpu.cpl();
  if (!entry.ok || !check_handler(cpu, entry, target, cpl, ext)) return false;

  const u16 rights = entry.descriptor.rights();
  const unsigned new_cpl = access_rights::is_conforming_code(rights) ? cpl : access_rights::dpl(rights);
  const StackChoice stack = choose_stack(cpu, gate, cpl, new_cpl, ext);
  if (!stack.ok) return false;
  if (!is_canonical(gate.offset())) return refuse(cpu, general_protection, ext);
  if (!mark_accessed(cpu, entry)) return false;

  const u64 words[6] = {event.error,
                        cpu.rip,
                        cpu.s.segments[cs].selector,
                        flags_image(cpu, event),
                        cpu.gpr[rsp],
                        cpu.s.segments[ss].selector};
  const unsigned count = event.has_error ? 6 : 5;
  const u64 top = stack.pointer & ~u64{15};
  const u64 to = top - count * 8;
  if (!is_canonical(to) || !is_canonical(top - 1)) return refuse(cpu, stack_fault, ext);
  const bool supervisor = new_cpl < 3 && (new_cpl != cpl || !cpu.long64);
  if (!store_frame(cpu, to, words + (6 - count), count, supervisor)) return false;

  const bool plain = new_cpl == cpl && cpu.long64 && !(cpu.other_flags & rflags::tf);
  if (new_cpl != cpl) cpu.s.segments[ss] = null_segment(static_cast<u16>(new_cpl), new_cpl);
  cpu.s.segments[cs] = entry.descriptor.to_register(static_cast<u16>((target & ~3u) | new_cpl));
  cpu.gpr[rsp] = to;
  cpu.rip = gate.offset();
  enter_handler_flags(cpu, gate.type() == SystemType::interrupt_gate);
  if (!plain) cpu.update_mode();
  return true;
}

}  // namespace doppel::interpreter
