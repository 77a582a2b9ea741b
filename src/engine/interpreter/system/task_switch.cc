// Task switches. Intel SDM vol. 3 §7.3 (steps and checks, table 7-1), §7.4 (nesting).
#include <array>

#include "engine/interpreter/system.h"
#include "engine/interpreter/system/address_space.h"
#include "engine/interpreter/system/supervisor_access.h"
#include "engine/interpreter/system/task.h"

namespace doppel::interpreter {

using namespace x86;

namespace {

constexpr u64 dr7_local_enables = 0x155;  // L0–L3 and LE
constexpr u64 dr6_task_switch = 1 << 15;
constexpr u64 tss_flags = 0x3f'7fd5;  // what a TSS's EFLAGS may hold

struct TaskImage {
  u32 cr3 = 0, eip = 0, eflags = 0;
  std::array<u32, 8> registers{};
  std::array<u16, 6> segments{};
  u16 ldt = 0;
  bool trap = false;
};

bool is_wide_tss(const SegmentRegister& tr) { return SegmentRegister::Type::get(tr.attributes) & 8; }

bool read_image(Cpu& cpu, u64 base, bool wide, TaskImage& image) {
  bool ok = true;
  const auto read = [&](u32 offset, unsigned bytes) -> u32 {
    if (!ok) return 0;
    const Loaded<u64> value = load_system(cpu, base + offset, bytes);
    ok = value.ok;
    return static_cast<u32>(value.value);
  };
  if (wide) {
    image.cr3 = read(tss32::cr3, 4);
    image.eip = read(tss32::eip, 4);
    image.eflags = read(tss32::eflags, 4);
    for (u32 i = 0; i < 8; ++i) image.registers[i] = read(tss32::registers + i * 4, 4);
    for (u32 i = 0; i < 6; ++i) image.segments[i] = static_cast<u16>(read(tss32::segments + i * 4, 2));
    image.ldt = static_cast<u16>(read(tss32::ldt, 2));
    image.trap = read(tss32::trap, 2) & 1;
  } else {
    image.eip = read(tss16::ip, 2);
    image.eflags = read(tss16::flags, 2);
    for (u32 i = 0; i < 8; ++i) image.registers[i] = read(tss16::registers + i * 2, 2);
    for (u32 i = 0; i < 4; ++i) image.segments[i] = static_cast<u16>(read(tss16::segments + i * 2, 2));
    image.ldt = static_cast<u16>(read(tss16::ldt, 2));
  }
  return ok;
}

// The outgoing task's dynamic fields.
bool save_state(Cpu& cpu, u64 return_rip, u64 flags) {
  const SegmentRegister& tr = cpu.s.tr;
  bool ok = true;
  const auto write = [&](u32 offset, u64 value, unsigned bytes) {
    ok = ok && store_system(cpu, tr.base + offset, value, bytes);
  };
  if (is_wide_tss(tr)) {
    write(tss32::eip, return_rip, 4);
    write(tss32::eflags, flags, 4);
    for (u32 i = 0; i < 8; ++i) write(tss32::registers + i * 4, static_cast<u32>(cpu.gpr[i]), 4);
    for (u32 i = 0; i < 6; ++i) write(tss32::segments + i * 4, cpu.s.segments[i].selector, 2);
  } else {
    write(tss16::ip, return_rip & 0xffff, 2);
    write(tss16::flags, flags & 0xffff, 2);
    for (u32 i = 0; i < 8; ++i) write(tss16::registers + i * 2, static_cast<u16>(cpu.gpr[i]), 2);
    for (u32 i = 0; i < 4; ++i) write(tss16::segments + i * 2, cpu.s.segments[i].selector, 2);
  }
  return ok;
}

// Busy bits and the back link, after which the new task is current.
bool link_tasks(Cpu& cpu, const TaskTarget& target, TaskSwitch how) {
  if (how == TaskSwitch::jump || how == TaskSwitch::iret) {
    const u64 address = cpu.s.gdtr.base + selector::offset(cpu.s.tr.selector);
    const Loaded<u64> old = load_system(cpu, address + 5, 1);
    if (!old.ok || !store_system(cpu, address + 5, old.value & ~tss_busy_bit, 1)) return false;
  } else if (!store_system(cpu, target.entry.descriptor.base(), cpu.s.tr.selector, 2)) {
    return false;
  }
  if (how == TaskSwitch::iret) return true;
  return write_rights_byte(cpu, target.entry, static_cast<u8>(target.entry.descriptor.rights() | tss_busy_bit));
}

bool load_task_ldt(Cpu& cpu, u16 selector, u32 ext) {
  cpu.s.ldtr = null_segment(selector);
  if (selector::is_null(selector)) return true;
  const u32 error = selector::error_code(selector) | ext;
  if (selector::Local::get(selector)) return refuse(cpu, invalid_tss, error);
  const TableEntry entry = read_descriptor(cpu, selector, {invalid_tss, ext});
  if (!entry.ok) return false;
  if (!entry.descriptor.is_system(SystemType::ldt) || !entry.descriptor.present())
    return refuse(cpu, invalid_tss, error);
  cpu.s.ldtr = entry.descriptor.to_register(selector);
  return true;
}

bool load_task_code(Cpu& cpu, u16 selector, u32 ext) {
  const u32 error = selector::error_code(selector) | ext;
  if (selector::is_null(selector)) return refuse(cpu, invalid_tss, error);
  TableEntry entry = read_descriptor(cpu, selector, {invalid_tss, ext});
  if (!entry.ok) return false;
  const u16 rights = entry.descriptor.rights();
  const unsigned rpl = selector::rpl(selector);
  const bool dpl_ok = access_rights::is_conforming_code(rights) ? access_rights::dpl(rights) <= rpl
                                                                : access_rights::dpl(rights) == rpl;
  if (!access_rights::is_code(rights) || !dpl_ok) return refuse(cpu, invalid_tss, error);
  if (!entry.descriptor.present()) return refuse(cpu, segment_not_present, error);
  if (!mark_accessed(cpu, entry)) return false;
  cpu.s.segments[cs] = entry.descriptor.to_register(selector);
  return true;
}

// Everything that may fault in the new task's context.
bool load_task_segments(Cpu& cpu, const TaskImage& image, u32 ext) {
  if (!load_task_ldt(cpu, image.ldt, ext)) return false;
  if (cpu.vm86()) return true;  // loaded with the registers
  const unsigned cpl = selector::rpl(image.segments[cs]);
  if (!load_task_code(cpu, image.segments[cs], ext)) return false;
  if (selector::is_null(image.segments[ss])) return refuse(cpu, invalid_tss, ext);
  const CheckedSegment stack = check_stack_segment(cpu, image.segments[ss], cpl, {invalid_tss, ext});
  if (!stack.ok) return false;
  cpu.s.segments[ss] = stack.value;
  for (const Segment each : {ds, es, fs, gs}) {
    const CheckedSegment data = check_data_segment(cpu, image.segments[each], cpl, {invalid_tss, ext});
    if (!data.ok) return false;
    cpu.s.segments[each] = data.value;
  }
  if (image.eip > cpu.s.segments[cs].limit) return refuse(cpu, general_protection, ext);
  return true;
}

bool load_task_paging(Cpu& cpu, u32 cr3) {
  if (!(cpu.s.cr0 & cr0::pg)) return true;
  cpu.s.cr3 = cr3;
  const bool ok = !(cpu.s.cr4 & cr4::pae) || load_pdptrs(cpu, cr3);
  switch_address_space(cpu, 0, false);
  return ok;
}

void load_task_registers(Cpu& cpu, const TaskImage& image, bool nested) {
  for (unsigned i = 0; i < 8; ++i) cpu.gpr[i] = image.registers[i];
  cpu.rip = image.eip;
  const u64 flags = (image.eflags & tss_flags) | rflags::fixed | (nested ? rflags::nt : 0);
  const unsigned cpl = selector::rpl(image.segments[cs]);
  for (unsigned i = 0; i < 6; ++i) {
    const u16 selector = image.segments[i];
    cpu.s.segments[i] = flags & rflags::vm ? vm86_segment(selector) : null_segment(selector, i == ss ? cpl : 0);
  }
  cpu.s.dr[7] &= ~dr7_local_enables;
  cpu.s.cr0 |= cr0::ts;
  cpu.set_rflags(flags);
  cpu.update_mode();
}

}  // namespace

InnerStack read_inner_stack(Cpu& cpu, unsigned cpl, u32 ext) {
  const SegmentRegister& tr = cpu.s.tr;
  const bool wide = is_wide_tss(tr);
  const u32 offset = wide ? tss32::stacks + cpl * 8 : tss16::stacks + cpl * 4;
  if (offset + (wide ? 5 : 3) > tr.limit) {
    refuse(cpu, invalid_tss, selector::error_code(tr.selector) | ext);
    return {};
  }
  const Loaded<u64> pointer = load_system(cpu, tr.base + offset, wide ? 4 : 2);
  if (!pointer.ok) return {};
  const Loaded<u64> selector = load_system(cpu, tr.base + offset + (wide ? 4 : 2), 2);
  return {static_cast<u16>(selector.value), pointer.value, selector.ok};
}

InnerStack read_tss64_stack(Cpu& cpu, u32 offset, u32 ext) {
  const SegmentRegister& tr = cpu.s.tr;
  if (offset + 7 > tr.limit) {
    refuse(cpu, invalid_tss, selector::error_code(tr.selector) | ext);
    return {};
  }
  const Loaded<u64> pointer = load_supervisor<u64>(cpu, tr.base + offset);
  if (pointer.ok && !is_canonical(pointer.value)) return {0, 0, refuse(cpu, stack_fault, ext)};
  return {0, pointer.value, pointer.ok};
}

TaskTarget check_task_gate_target(Cpu& cpu, u16 selector, Blame blame) {
  const u32 error = selector::error_code(selector) | blame.ext;
  if (selector::is_null(selector) || selector::Local::get(selector)) {
    refuse(cpu, blame.vector, error);
    return {};
  }
  const TableEntry entry = read_descriptor(cpu, selector, blame);
  if (!entry.ok) return {};
  bool ok = entry.descriptor.is_system(SystemType::tss_available) ||
            entry.descriptor.is_system(SystemType::tss16_available);
  if (!ok)
    refuse(cpu, blame.vector, error);
  else if (!entry.descriptor.present())
    ok = refuse(cpu, segment_not_present, error);
  return {selector, entry, ok};
}

bool switch_task(Cpu& cpu, const TaskTarget& target, TaskSwitch how, u64 return_rip, u64 flags, u32 ext) {
  const Descriptor& descriptor = target.entry.descriptor;
  if (descriptor.limit() < (target.wide() ? tss32::minimum_limit : tss16::minimum_limit))
    return refuse(cpu, invalid_tss, selector::error_code(target.selector) | ext);
  if (cpu.s.tr.limit < (is_wide_tss(cpu.s.tr) ? tss32::ldt - 1 : tss16::ldt - 1))
    return refuse(cpu, invalid_tss, selector::error_code(cpu.s.tr.selector) | ext);

  TaskImage image;
  if (!read_image(cpu, descriptor.base(), target.wide(), image)) return false;
  if (how == TaskSwitch::iret) flags &= ~rflags::nt;
  if (!save_state(cpu, return_rip, flags) || !link_tasks(cpu, target, how)) return false;

  // From here on it is the new task.
  cpu.s.tr = descriptor.to_register(target.selector);
  cpu.s.tr.attributes |= tss_busy_bit;
  const bool paging_ok = !target.wide() || load_task_paging(cpu, image.cr3);
  load_task_registers(cpu, image, how == TaskSwitch::call || how == TaskSwitch::event);
  if (image.trap) cpu.pending_debug |= dr6_task_switch;
  if (!paging_ok) return false;
  const bool loaded = load_task_segments(cpu, image, ext);
  cpu.update_mode();
  return loaded;
}

}  // namespace doppel::interpreter
