// RETF and IRET: to the same or an outer privilege level, to virtual-8086 mode, to the previous task.
// Intel SDM vol. 2 "RET", "IRET/IRETD/IRETQ"; vol. 3 §7.4, §21.2.
#include "engine/interpreter/memory_access.h"
#include "engine/interpreter/system/supervisor_access.h"
#include "engine/interpreter/system/task.h"
#include "engine/interpreter/system/transfer.h"

namespace doppel::interpreter {

using namespace x86;

namespace {

constexpr u64 vm86_return_mask = rflags::iopl | rflags::vm | rflags::vif |
                                 rflags::vip;  // IRET in V86 leaves these alone

CheckedSegment check_return_code(Cpu& cpu, u16 selector) {
  const u32 error = selector::error_code(selector);
  if (selector::is_null(selector)) return {{}, refuse(cpu, general_protection, 0)};
  TableEntry entry = read_descriptor(cpu, selector, {});
  if (!entry.ok) return {};
  const u16 rights = entry.descriptor.rights();
  const unsigned rpl = selector::rpl(selector);
  const unsigned dpl = access_rights::dpl(rights);
  const bool dpl_ok = access_rights::is_conforming_code(rights) ? dpl <= rpl : dpl == rpl;
  if (rpl < cpu.cpl() || !access_rights::is_code(rights) || !dpl_ok || !has_valid_size(cpu, rights))
    return {{}, refuse(cpu, general_protection, error)};
  if (!entry.descriptor.present()) return {{}, refuse(cpu, segment_not_present, error)};
  if (!mark_accessed(cpu, entry)) return {};
  return {entry.descriptor.to_register(selector), true};
}

// SS of the stack that is returned to; 64-bit code below CPL 3 may have none.
CheckedSegment check_return_stack(Cpu& cpu, u16 selector, const SegmentRegister& code) {
  const unsigned cpl = selector::rpl(code.selector);
  if (!selector::is_null(selector)) return check_stack_segment(cpu, selector, cpl, {});
  if (!is_code64(cpu, code) || cpl == 3 || selector::rpl(selector) != cpl)
    return {{}, refuse(cpu, general_protection, 0)};
  return {null_segment(selector, cpl), true};
}

// RSP after a return that loads SS: what SS.B does not cover stays.
void load_stack_pointer(Cpu& cpu, const SegmentRegister& stack, const SegmentRegister& code, u64 value) {
  if (is_code64(cpu, code))
    cpu.gpr[rsp] = value;
  else if (stack.attributes & access_rights::big)
    cpu.gpr[rsp] = static_cast<u32>(value);
  else
    cpu.gpr[rsp] = (cpu.gpr[rsp] & ~u64{0xffff}) | (value & 0xffff);
}

void enter_outer(Cpu& cpu, const SegmentRegister& code, const SegmentRegister& stack, u64 rip, u64 stack_pointer) {
  const unsigned cpl = selector::rpl(code.selector);
  const bool outward = cpl > cpu.cpl();
  load_stack_pointer(cpu, stack, code, stack_pointer);
  cpu.s.segments[ss] = stack;
  cpu.s.segments[cs] = code;
  cpu.rip = rip;
  if (outward) drop_inner_segments(cpu, cpl);
}

// Which flags IRET may change at this privilege.
u64 return_flags_mask(unsigned cpl, unsigned iopl, unsigned bytes) {
  u64 mask = rflags::status | rflags::tf | rflags::df | rflags::nt;
  if (bytes >= 4) mask |= rflags::rf | rflags::ac | rflags::id;
  if (cpl <= iopl) mask |= rflags::if_;
  if (cpl == 0) mask |= rflags::iopl | (bytes >= 4 ? rflags::vif | rflags::vip : 0);
  return mask;
}

u64 merged_flags(const Cpu& cpu, u64 image, u64 mask) {
  return (cpu.get_rflags() & ~mask) | (image & mask) | rflags::fixed;
}

void unblock_nmi(Cpu& cpu) {
  cpu.s.nmi_blocked = false;
  if (cpu.events.load(std::memory_order_relaxed) & event::nmi) cpu.request_attention();
}

struct ReturnFrame {
  u64 rip = 0, code = 0, flags = 0;
};

bool pop_frame(PopStack& stack, unsigned bytes, ReturnFrame& frame) {
  return stack.pop(bytes, frame.rip) && stack.pop(bytes, frame.code) && stack.pop(bytes, frame.flags);
}

bool real_mode_return(Cpu& cpu, unsigned bytes) {
  PopStack stack(cpu);
  ReturnFrame frame;
  if (!pop_frame(stack, bytes, frame)) return false;
  if (frame.rip > cpu.s.segments[cs].limit) return refuse(cpu, general_protection, 0);
  const auto selector = static_cast<u16>(frame.code);
  u64 mask = bytes == 2 ? 0xffff : 0x25'7fd5 | rflags::fixed;
  if (cpu.vm86()) mask &= ~vm86_return_mask;
  SegmentRegister& code = cpu.s.segments[cs];
  code = cpu.vm86() ? vm86_segment(selector) : real_mode_segment(code, selector);
  cpu.gpr[rsp] = stack.pointer();
  cpu.rip = frame.rip;
  cpu.set_rflags(merged_flags(cpu, frame.flags,
                              mask & (rflags::status | rflags::tf | rflags::if_ | rflags::df | rflags::iopl |
                                      rflags::nt | rflags::rf | rflags::ac | rflags::id)));
  cpu.update_mode();
  return true;
}

bool return_to_vm86(Cpu& cpu, PopStack& stack, const ReturnFrame& frame) {
  u64 pointer, selectors[5];  // ESP, then SS ES DS FS GS
  if (!stack.pop(4, pointer)) return false;
  for (u64& selector : selectors)
    if (!stack.pop(4, selector)) return false;
  if (static_cast<u32>(frame.rip) > 0xffff) return refuse(cpu, general_protection, 0);
  cpu.gpr[rsp] = pointer;
  constexpr Segment order[5] = {ss, es, ds, fs, gs};
  for (unsigned i = 0; i < 5; ++i) cpu.s.segments[order[i]] = vm86_segment(static_cast<u16>(selectors[i]));
  cpu.s.segments[cs] = vm86_segment(static_cast<u16>(frame.code));
  cpu.rip = static_cast<u16>(frame.rip);
  constexpr u64 valid = 0x3f'7fd5;
  cpu.set_rflags((frame.flags & valid) | rflags::fixed);
  cpu.update_mode();
  return true;
}

bool return_to_previous_task(Cpu& cpu, u64 next_rip) {
  const Loaded<u64> link = load_system(cpu, cpu.s.tr.base + tss32::link, 2);
  if (!link.ok) return false;
  const auto selector = static_cast<u16>(link.value);
  const u32 error = selector::error_code(selector);
  if (selector::is_null(selector) || selector::Local::get(selector)) return refuse(cpu, invalid_tss, error);
  const TableEntry entry = read_descriptor(cpu, selector, {.vector = invalid_tss});
  if (!entry.ok) return false;
  if (!entry.descriptor.is_system(SystemType::tss_busy) && !entry.descriptor.is_system(SystemType::tss16_busy))
    return refuse(cpu, invalid_tss, error);
  if (!entry.descriptor.present()) return refuse(cpu, segment_not_present, error);
  return switch_task(cpu, {selector, entry, true}, TaskSwitch::iret, next_rip, cpu.get_rflags() & ~rflags::rf, 0);
}

}  // namespace

bool far_return(Cpu& cpu, unsigned bytes, u16 release) {
  PopStack stack(cpu);
  u64 rip, selector;
  if (!stack.pop(bytes, rip) || !stack.pop(bytes, selector)) return false;
  const auto code_selector = static_cast<u16>(selector);
  if (cpu.real_or_vm86()) {
    SegmentRegister& code = cpu.s.segments[cs];
    if (rip > code.limit) return refuse(cpu, general_protection, 0);
    code = cpu.vm86() ? vm86_segment(code_selector) : real_mode_segment(code, code_selector);
    stack.skip(release);
    cpu.gpr[rsp] = stack.pointer();
    cpu.rip = rip;
    cpu.update_mode();
    return true;
  }
  const unsigned cpl = cpu.cpl();
  const CheckedSegment code = check_return_code(cpu, code_selector);
  if (!code.ok) return false;
  stack.skip(release);
  if (selector::rpl(code_selector) == cpl) {
    if (!check_target(cpu, code.value, rip)) return false;
    cpu.gpr[rsp] = stack.pointer();
    cpu.s.segments[cs] = code.value;
    cpu.rip = rip;
    cpu.update_mode();
    return true;
  }
  u64 outer_pointer, outer_selector;
  if (!stack.pop(bytes, outer_pointer) || !stack.pop(bytes, outer_selector)) return false;
  const CheckedSegment outer = check_return_stack(cpu, static_cast<u16>(outer_selector), code.value);
  if (!outer.ok || !check_target(cpu, code.value, rip)) return false;
  enter_outer(cpu, code.value, outer.value, rip, outer_pointer + release);
  cpu.update_mode();
  return true;
}

bool interrupt_return64(Cpu& cpu) {
  if (cpu.other_flags & rflags::nt) return refuse(cpu, general_protection, 0);
  if (cpu.s.nmi_blocked) unblock_nmi(cpu);
  const u64 from = cpu.gpr[rsp];
  const Loaded<u64> rip = load<u64>(cpu, from, ss);
  const Loaded<u64> code_selector = load<u64>(cpu, from + 8, ss);
  if (!rip.ok || !code_selector.ok) return false;
  const Loaded<u64> image = load<u64>(cpu, from + 16, ss);
  const Loaded<u64> pointer = load<u64>(cpu, from + 24, ss);
  if (!image.ok || !pointer.ok) return false;
  const Loaded<u64> stack_selector = load<u64>(cpu, from + 32, ss);
  if (!stack_selector.ok) return false;

  const CheckedSegment code = check_return_code(cpu, static_cast<u16>(code_selector.value));
  if (!code.ok) return false;
  const CheckedSegment stack = check_return_stack(cpu, static_cast<u16>(stack_selector.value), code.value);
  if (!stack.ok || !check_target(cpu, code.value, rip.value)) return false;

  const unsigned cpl = cpu.cpl();
  const u64 flags = merged_flags(cpu, image.value, return_flags_mask(cpl, cpu.iopl(), 8));
  const bool same_mode = selector::rpl(code.value.selector) == cpl && is_code64(cpu, code.value);
  enter_outer(cpu, code.value, stack.value, rip.value, pointer.value);
  cpu.set_rflags(flags);
  if (!same_mode) cpu.update_mode();
  return true;
}

bool interrupt_return(Cpu& cpu, unsigned bytes, u64 next_rip) {
  if (cpu.vm86() && cpu.iopl() < 3) return refuse(cpu, general_protection, 0);
  if (cpu.s.nmi_blocked) unblock_nmi(cpu);
  if (cpu.real_or_vm86()) return real_mode_return(cpu, bytes);
  if (cpu.other_flags & rflags::nt) {
    if (cpu.s.long_mode()) return refuse(cpu, general_protection, 0);
    return return_to_previous_task(cpu, next_rip);
  }
  const unsigned cpl = cpu.cpl();
  PopStack stack(cpu);
  ReturnFrame frame;
  if (!pop_frame(stack, bytes, frame)) return false;
  if (bytes == 4 && (frame.flags & rflags::vm) && cpl == 0 && !cpu.s.long_mode())
    return return_to_vm86(cpu, stack, frame);

  const CheckedSegment code = check_return_code(cpu, static_cast<u16>(frame.code));
  if (!code.ok) return false;
  const u64 flags = merged_flags(cpu, frame.flags, return_flags_mask(cpl, cpu.iopl(), bytes));
  if (cpu.long64 || selector::rpl(code.value.selector) > cpl) {
    u64 outer_pointer, outer_selector;
    if (!stack.pop(bytes, outer_pointer) || !stack.pop(bytes, outer_selector)) return false;
    const CheckedSegment outer = check_return_stack(cpu, static_cast<u16>(outer_selector), code.value);
    if (!outer.ok || !check_target(cpu, code.value, frame.rip)) return false;
    enter_outer(cpu, code.value, outer.value, frame.rip, outer_pointer);
  } else {
    if (!check_target(cpu, code.value, frame.rip)) return false;
    cpu.gpr[rsp] = stack.pointer();
    cpu.s.segments[cs] = code.value;
    cpu.rip = frame.rip;
  }
  cpu.set_rflags(flags);
  cpu.update_mode();
  return true;
}

}  // namespace doppel::interpreter
