// LGDT, LIDT, SGDT, SIDT; LLDT, LTR, SLDT, STR; LAR, LSL, VERR, VERW; ARPL. Intel SDM vol. 2; vol. 3 §2.4, §5.10.
#include "engine/interpreter/system/handlers.h"
#include "engine/interpreter/system/supervisor_access.h"
#include "isa/x86/paging.h"

namespace doppel::interpreter {

using namespace x86;

namespace {

// UMIP keeps the addresses of system tables from user code.
bool may_read_system_tables(Cpu& cpu) { return !(cpu.s.cr4 & cr4::umip) || privileged(cpu); }

// ---- GDTR and IDTR: limit (2 bytes), base (8 in 64-bit mode, else 4, of which a 16-bit operand loads 3) ----

template <DescriptorTable X86State::* table>
bool load_table(Cpu& cpu, const Op* op) {
  if (!privileged(cpu)) return false;
  const unsigned base_bytes = cpu.long64 ? 8 : 4;
  const Linear linear = operand_linear(cpu, op, 2 + base_bytes, AccessKind::read);
  if (!linear.ok) return false;
  const auto segment = static_cast<Segment>(op->segment);
  const Loaded<u64> limit = load_slow(cpu, linear.address, 2, segment);
  if (!limit.ok) return false;
  const Loaded<u64> base = load_slow(cpu, linear.address + 2, base_bytes, segment);
  if (!base.ok) return false;
  if (cpu.long64 && !is_canonical(base.value)) return refuse(cpu, general_protection, 0);
  cpu.s.*table = {.base = !cpu.long64 && op->bytes == 2 ? base.value & 0xff'ffff : base.value,
                  .limit = static_cast<u16>(limit.value)};
  return true;
}

template <DescriptorTable X86State::* table>
bool store_table(Cpu& cpu, const Op* op) {
  if (!may_read_system_tables(cpu)) return false;
  const DescriptorTable& value = cpu.s.*table;
  const unsigned base_bytes = cpu.long64 ? 8 : 4;
  const Linear linear = operand_linear(cpu, op, 2 + base_bytes, AccessKind::write);
  if (!linear.ok) return false;
  const auto segment = static_cast<Segment>(op->segment);
  return probe_write(cpu, linear.address, 2 + base_bytes, segment) &&
         store_slow(cpu, linear.address, value.limit, 2, segment) &&
         store_slow(cpu, linear.address + 2, value.base, base_bytes, segment);
}

// ---- LDTR and TR ----

// The descriptor of an LDT or TSS, whose base has 64 bits in IA-32e mode.
CheckedSegment system_segment(Cpu& cpu, const TableEntry& entry, u16 selector) {
  SegmentRegister value = entry.descriptor.to_register(selector);
  if (cpu.s.long_mode()) {
    const UpperHalf upper = read_upper_half(cpu, entry, selector, {});
    if (!upper.ok) return {};
    value.base |= upper.value << 32;
    const bool looks_like_descriptor = Bits<40, 5>::get(upper.value);
    if (looks_like_descriptor || !is_canonical(value.base))
      return {{}, refuse(cpu, general_protection, selector::error_code(selector))};
  }
  return {value, true};
}

bool lldt(Cpu& cpu, const Op* op) {
  if (cpu.real_or_vm86()) return refuse(cpu, invalid_opcode);
  if (!privileged(cpu)) return false;
  const Word word = read_word_operand(cpu, op, op->a);
  if (!word.ok) return false;
  const u16 selector = word.value;
  if (selector::is_null(selector)) {
    cpu.s.ldtr = null_segment(selector);
    return true;
  }
  const u32 error = selector::error_code(selector);
  if (selector::Local::get(selector)) return refuse(cpu, general_protection, error);
  const TableEntry entry = read_descriptor(cpu, selector, {});
  if (!entry.ok) return false;
  if (!entry.descriptor.is_system(SystemType::ldt)) return refuse(cpu, general_protection, error);
  if (!entry.descriptor.present()) return refuse(cpu, segment_not_present, error);
  const CheckedSegment segment = system_segment(cpu, entry, selector);
  if (segment.ok) cpu.s.ldtr = segment.value;
  return segment.ok;
}

bool ltr(Cpu& cpu, const Op* op) {
  if (cpu.real_or_vm86()) return refuse(cpu, invalid_opcode);
  if (!privileged(cpu)) return false;
  const Word word = read_word_operand(cpu, op, op->a);
  if (!word.ok) return false;
  const u16 selector = word.value;
  const u32 error = selector::error_code(selector);
  if (selector::is_null(selector)) return refuse(cpu, general_protection, 0);
  if (selector::Local::get(selector)) return refuse(cpu, general_protection, error);
  const TableEntry entry = read_descriptor(cpu, selector, {});
  if (!entry.ok) return false;
  const bool narrow_ok = !cpu.s.long_mode() && entry.descriptor.is_system(SystemType::tss16_available);
  if (!narrow_ok && !entry.descriptor.is_system(SystemType::tss_available))
    return refuse(cpu, general_protection, error);
  if (!entry.descriptor.present()) return refuse(cpu, segment_not_present, error);
  const CheckedSegment segment = system_segment(cpu, entry, selector);
  if (!segment.ok || !write_rights_byte(cpu, entry, static_cast<u8>(entry.descriptor.rights() | tss_busy_bit)))
    return false;
  cpu.s.tr = segment.value;
  cpu.s.tr.attributes |= tss_busy_bit;
  return true;
}

template <SegmentRegister X86State::* which>
bool store_selector(Cpu& cpu, const Op* op) {
  if (cpu.real_or_vm86()) return refuse(cpu, invalid_opcode);
  if (!may_read_system_tables(cpu)) return false;
  return write_status_operand(cpu, op, (cpu.s.*which).selector);
}

// ---- LAR, LSL, VERR, VERW: what is asked about a selector never faults ----

struct Inspected {
  Descriptor descriptor;
  bool visible = false;  // the selector names a descriptor that this privilege may ask about
  bool ok = true;        // false: a page fault while reading it
};

Inspected inspect(Cpu& cpu, u16 selector) {
  if (selector::is_null(selector)) return {};
  const TableEntry entry = read_descriptor(cpu, selector, {});
  if (!entry.ok) return {.ok = cpu.fault.vector != page_fault};
  const u16 rights = entry.descriptor.rights();
  const unsigned dpl = access_rights::dpl(rights);
  const bool visible = access_rights::is_conforming_code(rights) ||
                       (dpl >= cpu.cpl() && dpl >= selector::rpl(selector));
  return {entry.descriptor, visible};
}

constexpr u32 type_set(std::initializer_list<SystemType> types) {
  u32 set = 0;
  for (SystemType type : types) set |= 1u << static_cast<unsigned>(type);
  return set;
}
using enum SystemType;
constexpr u32 lar_types = type_set(
    {tss16_available, ldt, tss16_busy, call_gate16, task_gate, tss_available, tss_busy, call_gate});
constexpr u32 lar_types_long = type_set({ldt, tss_available, tss_busy, call_gate});
constexpr u32 lsl_types = type_set({tss16_available, ldt, tss16_busy, tss_available, tss_busy});
constexpr u32 lsl_types_long = type_set({ldt, tss_available, tss_busy});

bool has_type(const Inspected& inspected, u32 types) {
  return !inspected.descriptor.is_system() || (types >> static_cast<unsigned>(inspected.descriptor.system_type()) & 1);
}

bool lar(Cpu& cpu, const Op* op) {
  if (cpu.real_or_vm86()) return refuse(cpu, invalid_opcode);
  const Word word = read_word_operand(cpu, op, op->b);
  if (!word.ok) return false;
  const Inspected inspected = inspect(cpu, word.value);
  if (!inspected.ok) return false;
  const bool valid = inspected.visible && has_type(inspected, cpu.s.long_mode() ? lar_types_long : lar_types);
  // Bits 16–19 are undefined; processors give those of the limit.
  if (valid) write_register(cpu, op->a, inspected.descriptor.raw >> 32 & 0x00ff'ff00, op->bytes);
  set_zero_flag(cpu, valid);
  return true;
}

bool lsl(Cpu& cpu, const Op* op) {
  if (cpu.real_or_vm86()) return refuse(cpu, invalid_opcode);
  const Word word = read_word_operand(cpu, op, op->b);
  if (!word.ok) return false;
  const Inspected inspected = inspect(cpu, word.value);
  if (!inspected.ok) return false;
  const bool valid = inspected.visible && has_type(inspected, cpu.s.long_mode() ? lsl_types_long : lsl_types);
  if (valid) write_register(cpu, op->a, inspected.descriptor.limit(), op->bytes);
  set_zero_flag(cpu, valid);
  return true;
}

template <bool write>
bool verify(Cpu& cpu, const Op* op) {
  if (cpu.real_or_vm86()) return refuse(cpu, invalid_opcode);
  const Word word = read_word_operand(cpu, op, op->a);
  if (!word.ok) return false;
  const Inspected inspected = inspect(cpu, word.value);
  if (!inspected.ok) return false;
  const u16 rights = inspected.descriptor.rights();
  set_zero_flag(
      cpu, inspected.visible && (write ? access_rights::is_writable_data(rights) : access_rights::is_readable(rights)));
  return true;
}

// ---- ARPL ----

bool arpl(Cpu& cpu, const Op* op) {
  if (cpu.real_or_vm86()) return refuse(cpu, invalid_opcode);
  const u16 wanted = cpu.reg<u16>(op->b) & 3;
  const auto raise_rpl = [wanted](u16 old) { return (old & 3) < wanted ? static_cast<u16>((old & ~3) | wanted) : old; };
  u16 old;
  if (in_memory(op)) {
    const Loaded<u16> loaded = load_operand<u16>(cpu, op);  // written only if it changes (SDM vol. 2, ARPL)
    if (!loaded.ok) return false;
    old = loaded.value;
    if (raise_rpl(old) != old && !store_operand<u16>(cpu, op, raise_rpl(old))) return false;
  } else {
    old = cpu.reg<u16>(op->a);
    cpu.set_reg<u16>(op->a, raise_rpl(old));
  }
  set_zero_flag(cpu, (old & 3) < wanted);
  return true;
}

}  // namespace

Binding bind_descriptor_table(const Instruction& instruction, Op& op) {
  op.bytes = instruction.operand_bytes;
  switch (instruction.mnemonic) {
    case ZYDIS_MNEMONIC_LGDT: return {execute<load_table<&X86State::gdtr>>, false};
    case ZYDIS_MNEMONIC_LIDT: return {execute<load_table<&X86State::idtr>>, false};
    case ZYDIS_MNEMONIC_SGDT: return {execute<store_table<&X86State::gdtr>>, false};
    default: return {execute<store_table<&X86State::idtr>>, false};
  }
}

Binding bind_task_and_ldt(const Instruction& instruction, Op& op) {
  prepare_word_operand(instruction.operands[0], op.a, op);
  op.bytes = instruction.operands[0].bytes;
  switch (instruction.mnemonic) {
    case ZYDIS_MNEMONIC_LLDT: return {execute<lldt>, false};
    case ZYDIS_MNEMONIC_LTR: return {execute<ltr>, false};
    case ZYDIS_MNEMONIC_SLDT: return {execute<store_selector<&X86State::ldtr>>, false};
    default: return {execute<store_selector<&X86State::tr>>, false};
  }
}

Binding bind_verify(const Instruction& instruction, Op& op) {
  switch (instruction.mnemonic) {
    case ZYDIS_MNEMONIC_VERR:
      prepare_word_operand(instruction.operands[0], op.a, op);
      return {execute<verify<false>>, false};
    case ZYDIS_MNEMONIC_VERW:
      prepare_word_operand(instruction.operands[0], op.a, op);
      return {execute<verify<true>>, false};
    default: break;
  }
  op.a = gpr_offset(instruction.operands[0]);
  op.bytes = instruction.operands[0].bytes;
  prepare_word_operand(instruction.operands[1], op.b, op);
  return {instruction.mnemonic == ZYDIS_MNEMONIC_LAR ? execute<lar> : execute<lsl>, false};
}

Binding bind_arpl(const Instruction& instruction, Op& op) {
  prepare_word_operand(instruction.operands[0], op.a, op);
  op.b = gpr_offset(instruction.operands[1]);
  return {execute<arpl>, false};
}

}  // namespace doppel::interpreter
