#include "engine/interpreter/system/segments.h"

#include "engine/interpreter/system.h"
#include "engine/interpreter/system/supervisor_access.h"

namespace doppel::interpreter {

using namespace x86;

TableEntry read_descriptor(Cpu& cpu, u16 selector, Blame blame) {
  const bool local = selector::Local::get(selector);
  const bool table_exists = !local || SegmentRegister::Present::get(cpu.s.ldtr.attributes);
  const u64 base = local ? cpu.s.ldtr.base : cpu.s.gdtr.base;
  const u32 limit = local ? cpu.s.ldtr.limit : cpu.s.gdtr.limit;
  const u32 offset = selector::offset(selector);
  if (!table_exists || offset + 7 > limit) {
    refuse(cpu, blame.vector, selector::error_code(selector) | blame.ext);
    return {};
  }
  const Loaded<u64> raw = load_supervisor<u64>(cpu, base + offset);
  return {{raw.value}, base + offset, raw.ok};
}

UpperHalf read_upper_half(Cpu& cpu, const TableEntry& entry, u16 selector, Blame blame) {
  const bool local = selector::Local::get(selector);
  const u32 limit = local ? cpu.s.ldtr.limit : cpu.s.gdtr.limit;
  if (selector::offset(selector) + 15 > limit)
    return {0, refuse(cpu, blame.vector, selector::error_code(selector) | blame.ext)};
  const Loaded<u64> high = load_supervisor<u64>(cpu, entry.address + 8);
  return {high.value, high.ok};
}

bool write_rights_byte(Cpu& cpu, const TableEntry& entry, u8 rights) {
  return store_supervisor<u8>(cpu, entry.address + 5, rights);
}

bool mark_accessed(Cpu& cpu, TableEntry& entry) {
  if (entry.descriptor.rights() & access_rights::accessed) [[likely]]
    return true;
  entry.descriptor.raw |= u64{access_rights::accessed} << 40;
  return write_rights_byte(cpu, entry, static_cast<u8>(entry.descriptor.rights()));
}

CheckedSegment check_stack_segment(Cpu& cpu, u16 selector, unsigned cpl, Blame blame) {
  TableEntry entry = read_descriptor(cpu, selector, blame);
  if (!entry.ok) return {};
  const u16 rights = entry.descriptor.rights();
  const u32 error = selector::error_code(selector) | blame.ext;
  bool ok = selector::rpl(selector) == cpl && access_rights::is_writable_data(rights) &&
            access_rights::dpl(rights) == cpl;
  if (!ok)
    refuse(cpu, blame.vector, error);
  else if (!entry.descriptor.present())
    ok = refuse(cpu, stack_fault, error);
  else
    ok = mark_accessed(cpu, entry);
  return {entry.descriptor.to_register(selector), ok};
}

CheckedSegment check_data_segment(Cpu& cpu, u16 selector, unsigned cpl, Blame blame) {
  if (selector::is_null(selector)) return {null_segment(selector), true};
  TableEntry entry = read_descriptor(cpu, selector, blame);
  if (!entry.ok) return {};
  const u16 rights = entry.descriptor.rights();
  const u32 error = selector::error_code(selector) | blame.ext;
  bool ok = access_rights::is_readable(rights);
  if (!access_rights::is_conforming_code(rights))
    ok = ok && access_rights::dpl(rights) >= cpl && access_rights::dpl(rights) >= selector::rpl(selector);
  if (!ok)
    refuse(cpu, blame.vector, error);
  else if (!entry.descriptor.present())
    ok = refuse(cpu, segment_not_present, error);
  else
    ok = mark_accessed(cpu, entry);
  return {entry.descriptor.to_register(selector), ok};
}

SegmentRegister real_mode_segment(const SegmentRegister& old, u16 selector) {
  constexpr u16 kept = access_rights::big | access_rights::granular;
  const bool usable = SegmentRegister::Present::get(old.attributes);
  return {.base = u64{selector} << 4,
          .limit = usable ? old.limit : 0xffff,
          .selector = selector,
          .attributes = static_cast<u16>((usable ? old.attributes & kept : 0) | access_rights::flat_data)};
}

bool load_segment(Cpu& cpu, Segment segment, u16 selector) {
  SegmentRegister& reg = cpu.s.segments[segment];
  if (cpu.real_or_vm86()) {
    reg = cpu.vm86() ? vm86_segment(selector) : real_mode_segment(reg, selector);
    if (segment == ss) cpu.update_mode();
    return true;
  }
  const unsigned cpl = cpu.cpl();
  if (segment != ss) {
    const CheckedSegment loaded = check_data_segment(cpu, selector, cpl, {});
    if (loaded.ok) reg = loaded.value;
    return loaded.ok;
  }
  if (selector::is_null(selector)) {
    // Only 64-bit code below CPL 3 may run without a stack segment.
    if (!cpu.long64 || cpl == 3 || selector::rpl(selector) != cpl) return refuse(cpu, general_protection, 0);
    reg = null_segment(selector, cpl);
    return true;
  }
  const CheckedSegment loaded = check_stack_segment(cpu, selector, cpl, {});
  if (!loaded.ok) return false;
  reg = loaded.value;
  if (!cpu.long64) cpu.update_mode();
  return true;
}

bool within_limit(const SegmentRegister& segment, u64 offset, unsigned bytes) {
  const u64 last = offset + bytes - 1;
  if (!access_rights::is_expand_down(segment.attributes)) return last <= segment.limit;
  return offset > segment.limit && last <= (SegmentRegister::Big::get(segment.attributes) ? 0xffff'ffffu : 0xffffu);
}

void drop_inner_segments(Cpu& cpu, unsigned new_cpl) {
  for (const Segment each : {es, ds, fs, gs}) {
    SegmentRegister& segment = cpu.s.segments[each];
    const u16 rights = segment.attributes;
    if (!(rights & access_rights::present)) continue;  // null already; FS and GS keep their 64-bit base
    if (access_rights::dpl(rights) >= new_cpl || access_rights::is_conforming_code(rights)) continue;
    segment.selector = 0;
    segment.limit = 0;
    segment.attributes = 0;
  }
}

namespace {

u64 pointer_mask(const SegmentRegister& segment, bool flat) {
  if (flat) return ~u64{0};
  return SegmentRegister::Big::get(segment.attributes) ? 0xffff'ffffu : 0xffffu;
}

}  // namespace

PushStack::PushStack(Cpu& cpu, const SegmentRegister& segment, u64 pointer, unsigned cpl, bool flat, u32 error)
    : cpu_(cpu),
      segment_(segment),
      pointer_(pointer),
      mask_(pointer_mask(segment, flat)),
      supervisor_(cpl < 3 && (cpu.user || !flat)),
      flat_(flat),
      error_(error) {}

bool PushStack::push(u64 value, unsigned bytes) {
  const u64 offset = (pointer_ - bytes) & mask_;
  u64 linear = offset;
  if (flat_) {
    if (!is_canonical(offset) || !is_canonical(offset + bytes - 1)) return refuse(cpu_, stack_fault, error_);
  } else {
    if (!within_limit(segment_, offset, bytes)) return refuse(cpu_, stack_fault, error_);
    linear = static_cast<u32>(segment_.base + offset);
  }
  const bool ok = supervisor_ ? store_system(cpu_, linear, value, bytes) : store_slow(cpu_, linear, value, bytes, ss);
  if (ok) pointer_ = (pointer_ & ~mask_) | offset;
  return ok;
}

PopStack::PopStack(Cpu& cpu) : cpu_(cpu), pointer_(cpu.gpr[rsp]), mask_(stack_mask(cpu)) {}

bool PopStack::pop(unsigned bytes, u64& value) {
  const Loaded<u64> loaded = cpu_.long64 ? load_slow(cpu_, pointer_, bytes, ss)
                                         : stack_load_slow(cpu_, pointer_ & mask_, bytes);
  value = loaded.value;
  if (loaded.ok) skip(bytes);
  return loaded.ok;
}

}  // namespace doppel::interpreter
