// CR0, CR3, CR4 and EFER with their consistency checks, and the instructions that touch control registers and caches.
// Intel SDM vol. 2 "MOV—Move to/from Control Registers"; vol. 3 §2.5, §4.1, §4.10.4, §9.8.5. WBINVD and INVD do nothing here.
#include "engine/interpreter/system/address_space.h"
#include "engine/interpreter/system/handlers.h"
#include "engine/interpreter/system/supervisor_access.h"
#include "isa/x86/paging.h"

namespace doppel::interpreter {

using namespace x86;

namespace {

constexpr u64 cr0_writable = cr0::pe | cr0::mp | cr0::em | cr0::ts | cr0::ne | cr0::wp | cr0::am | cr0::nw | cr0::cd |
                             cr0::pg;
constexpr u64 cr4_writable = cr4::tsd | cr4::de | cr4::pse | cr4::pae | cr4::mce | cr4::pge | cr4::pce | cr4::osfxsr |
                             cr4::osxmmexcpt | cr4::umip | cr4::fsgsbase | cr4::pcide | cr4::osxsave | cr4::smep |
                             cr4::smap;
constexpr u64 efer_writable = efer::sce | efer::lme | efer::nxe;
constexpr u64 pcid_mask = 0xfff;
constexpr u64 cr3_keep = u64{1} << 63;

bool pae_paging(u64 cr0, u64 cr4, u64 efer) { return (cr0 & cr0::pg) && (cr4 & cr4::pae) && !(efer & efer::lma); }

bool refuse_gp(Cpu& cpu) { return refuse(cpu, general_protection, 0); }

void drop_translations(Cpu& cpu) {
  cpu.tlbs.flush_all();
  cpu.forget_jumps();
}

// CR0.PG 0 → 1 with EFER.LME: what must hold to enter IA-32e mode.
bool may_enter_long_mode(const Cpu& cpu) {
  const bool tss16 = !(SegmentRegister::Type::get(cpu.s.tr.attributes) & 8) &&
                     SegmentRegister::Present::get(cpu.s.tr.attributes) && !selector::is_null(cpu.s.tr.selector);
  return (cpu.s.cr4 & cr4::pae) && !SegmentRegister::Long::get(cpu.s.segments[cs].attributes) && !tss16;
}

}  // namespace

bool load_pdptrs(Cpu& cpu, u64 cr3) {
  // Bits 2:1, 8:5 and those beyond the physical address width are reserved in a present entry (SDM vol. 3 table 4-8).
  constexpr u64 reserved = ~physical_mask | 0x1e6;
  std::array<u64, 4> loaded{};
  const u64 table = cr3 & 0xffff'ffe0;
  for (unsigned i = 0; i < 4; ++i) {
    const PhysicalMemory::HostRange range = cpu.memory.host_range(table + i * 8);
    loaded[i] = range.data && range.size >= 8 ? get<u64>(range.data) : cpu.memory.mmio().read(table + i * 8, 8);
    if (pte::Present::get(loaded[i]) && (loaded[i] & reserved)) return refuse_gp(cpu);
  }
  cpu.s.pdptrs = loaded;
  return true;
}

bool write_cr0(Cpu& cpu, u64 value) {
  const u64 old = cpu.s.cr0;
  if (value >> 32) return refuse_gp(cpu);
  value = (value & cr0_writable) | cr0::et;
  if ((value & cr0::pg) && !(value & cr0::pe)) return refuse_gp(cpu);
  if ((value & cr0::nw) && !(value & cr0::cd)) return refuse_gp(cpu);
  const bool paging_on = (value & ~old) & cr0::pg;
  const bool paging_off = (old & ~value) & cr0::pg;
  if (paging_off && (cpu.long64 || (cpu.s.cr4 & cr4::pcide))) return refuse_gp(cpu);
  if (paging_on && (cpu.s.efer & efer::lme) && !may_enter_long_mode(cpu)) return refuse_gp(cpu);

  u64 efer = cpu.s.efer;
  if (paging_on && (efer & efer::lme)) efer |= efer::lma;
  if (paging_off) efer &= ~efer::lma;
  const bool reload = (value ^ old) & (cr0::pg | cr0::cd | cr0::nw);
  if (reload && pae_paging(value, cpu.s.cr4, efer) && !load_pdptrs(cpu, cpu.s.cr3)) return false;

  cpu.s.cr0 = value;
  cpu.s.efer = efer;
  if ((value ^ old) & (cr0::pg | cr0::wp | cr0::pe)) return drop_translations(cpu), true;
  cpu.update_mode();
  return true;
}

bool write_cr3(Cpu& cpu, u64 value) {
  const bool pcide = cpu.s.cr4 & cr4::pcide;
  const bool keep = pcide && (value & cr3_keep);
  if (pcide) value &= ~cr3_keep;
  if (cpu.s.long_mode()) {
    if (value & ~physical_mask) return refuse_gp(cpu);
  } else {
    value &= 0xffff'ffff;
    if (pae_paging(cpu.s.cr0, cpu.s.cr4, cpu.s.efer) && !load_pdptrs(cpu, value)) return false;
  }
  cpu.s.cr3 = value;
  switch_address_space(cpu, pcide ? static_cast<u16>(value & pcid_mask) : 0, keep);
  cpu.update_mode();
  return true;
}

bool write_cr4(Cpu& cpu, u64 value) {
  const u64 old = cpu.s.cr4;
  const u64 changed = value ^ old;
  if (value & ~cr4_writable) return refuse_gp(cpu);
  if (cpu.s.long_mode() && !(value & cr4::pae)) return refuse_gp(cpu);
  if ((changed & value & cr4::pcide) && (!cpu.s.long_mode() || (cpu.s.cr3 & pcid_mask))) return refuse_gp(cpu);
  constexpr u64 reload = cr4::pae | cr4::pge | cr4::pse | cr4::smep;
  if ((changed & reload) && pae_paging(cpu.s.cr0, value, cpu.s.efer) && !load_pdptrs(cpu, cpu.s.cr3)) return false;

  cpu.s.cr4 = value;
  if (changed & cr4::pcide) switch_address_space(cpu, static_cast<u16>(cpu.s.cr3 & pcid_mask), false);
  if (changed & (cr4::pge | cr4::pcide | cr4::pae | cr4::pse | cr4::smep)) return drop_translations(cpu), true;
  cpu.update_mode();
  return true;
}

bool write_efer(Cpu& cpu, u64 value) {
  const u64 old = cpu.s.efer;
  if (value & ~(efer_writable | efer::lma)) return refuse_gp(cpu);
  if (((value ^ old) & efer::lme) && (cpu.s.cr0 & cr0::pg)) return refuse_gp(cpu);
  cpu.s.efer = (value & efer_writable) | (old & efer::lma);  // LMA is the processor's
  if ((value ^ old) & efer::nxe) return drop_translations(cpu), true;
  cpu.update_mode();
  return true;
}

namespace {

// ---- MOV to and from control registers; op->immediate is the control register's number ----

bool mov_from_control(Cpu& cpu, const Op* op) {
  if (!privileged(cpu)) return false;
  u64 value = 0;
  switch (op->immediate) {
    case 0: value = cpu.s.cr0; break;
    case 2: value = cpu.s.cr2; break;
    case 3: value = cpu.s.cr3; break;
    case 4: value = cpu.s.cr4; break;
    default: value = cpu.interrupts.task_priority(); break;
  }
  write_register(cpu, op->a, value, op->bytes);
  return true;
}

bool mov_to_control(Cpu& cpu, const Op* op) {
  if (!privileged(cpu)) return false;
  const u64 value = op->bytes == 4 ? cpu.reg<u32>(op->a) : cpu.reg<u64>(op->a);
  switch (op->immediate) {
    case 0: return write_cr0(cpu, value);
    case 2: cpu.s.cr2 = value; return true;
    case 3: return write_cr3(cpu, value);
    case 4: return write_cr4(cpu, value);
    default:
      if (value > 15) return refuse_gp(cpu);
      cpu.interrupts.set_task_priority(static_cast<u8>(value));
      return true;
  }
}

void execute_mov_to_cr3(Cpu& cpu, const Op* op) {
  if (!privileged(cpu) || !write_cr3(cpu, op->bytes == 4 ? cpu.reg<u32>(op->a) : cpu.reg<u64>(op->a))) [[unlikely]]
    return faulted(cpu, op);
  return jump(cpu, cpu.next_rip(op));
}

// ---- LMSW, SMSW, CLTS ----

bool lmsw(Cpu& cpu, const Op* op) {
  if (!privileged(cpu)) return false;
  const Word word = read_word_operand(cpu, op, op->a);
  if (!word.ok) return false;
  constexpr u64 loaded = cr0::pe | cr0::mp | cr0::em | cr0::ts;
  const u64 kept = cpu.s.cr0 & (~loaded | cr0::pe);  // PE can be set here, not cleared
  return write_cr0(cpu, kept | (word.value & loaded));
}

bool smsw(Cpu& cpu, const Op* op) {
  if ((cpu.s.cr4 & cr4::umip) && !privileged(cpu)) return false;
  return write_status_operand(cpu, op, cpu.s.cr0);
}

bool clts(Cpu& cpu, const Op*) {
  if (!privileged(cpu)) return false;
  cpu.s.cr0 &= ~cr0::ts;
  cpu.update_mode();
  return true;
}

// ---- caches and the TLB ----

bool invalidate_caches(Cpu& cpu, const Op*) { return privileged(cpu); }

void flush_page(Cpu& cpu, u64 linear) { cpu.forget_jumps_to(cpu.tlbs.flush_page(linear)); }

bool invlpg(Cpu& cpu, const Op* op) {
  if (!privileged(cpu)) return false;
  u64 linear = effective_address(cpu, op);
  if (!cpu.long64)
    linear = static_cast<u32>(linear + cpu.s.segments[op->segment].base);
  else if (op->segment >= fs)
    linear += cpu.s.segments[op->segment].base;
  if (!is_canonical(linear)) return true;
  flush_page(cpu, linear);
  return true;
}

enum class InvalidateBy : u64 { address, pcid, all, all_but_global };

bool invpcid(Cpu& cpu, const Op* op) {
  if (!privileged(cpu)) return false;
  const Linear operand = operand_linear(cpu, op, 16, AccessKind::read);
  if (!operand.ok) return false;
  const auto segment = static_cast<Segment>(op->segment);
  const Loaded<u64> low = load<u64>(cpu, operand.address, segment);
  if (!low.ok) return false;
  const Loaded<u64> linear = load<u64>(cpu, operand.address + 8, segment);
  if (!linear.ok) return false;
  const u64 type = cpu.long64 ? cpu.reg<u64>(op->a) : cpu.reg<u32>(op->a);
  const u64 pcid = low.value & pcid_mask;
  if (type > 3 || (low.value & ~pcid_mask)) return refuse_gp(cpu);
  const auto by = static_cast<InvalidateBy>(type);
  const bool names_pcid = by == InvalidateBy::address || by == InvalidateBy::pcid;
  if (names_pcid && pcid != 0 && !(cpu.s.cr4 & cr4::pcide)) return refuse_gp(cpu);
  if (by == InvalidateBy::address && !is_canonical(linear.value)) return refuse_gp(cpu);
  switch (by) {
    case InvalidateBy::address: flush_page(cpu, linear.value); return true;
    case InvalidateBy::pcid: cpu.tlbs.flush_pcid(static_cast<u16>(pcid)); break;
    default: cpu.tlbs.flush_all(); break;
  }
  cpu.forget_jumps();
  return true;
}

}  // namespace

Binding bind_mov_control(const Instruction& instruction, Op& op) {
  const bool write = instruction.operands[0].kind == OperandKind::control;
  const Operand& control = instruction.operands[write ? 0 : 1];
  const Operand& general = instruction.operands[write ? 1 : 0];
  op.immediate = control.index;
  op.a = gpr_offset(general);
  op.bytes = general.bytes;
  const bool exists = control.index == 0 || control.index == 2 || control.index == 3 || control.index == 4 ||
                      control.index == 8;
  if (!exists) return {execute_invalid_opcode, true};
  if (!write) return {execute<mov_from_control>, false};
  if (control.index == 3) return {execute_mov_to_cr3, true};
  return {execute_then_leave<mov_to_control>, true};
}

Binding bind_machine_status(const Instruction& instruction, Op& op) {
  if (instruction.mnemonic == ZYDIS_MNEMONIC_CLTS) return {execute<clts>, false};
  prepare_word_operand(instruction.operands[0], op.a, op);
  op.bytes = instruction.operands[0].bytes;
  if (instruction.mnemonic == ZYDIS_MNEMONIC_LMSW) return {execute_then_leave<lmsw>, true};
  return {execute<smsw>, false};
}

Binding bind_cache_and_tlb(const Instruction& instruction, Op& op) {
  switch (instruction.mnemonic) {
    case ZYDIS_MNEMONIC_INVLPG: return {execute_then_leave<invlpg>, true};
    case ZYDIS_MNEMONIC_INVPCID: op.a = gpr_offset(instruction.operands[0]); return {execute_then_leave<invpcid>, true};
    default: return {execute<invalidate_caches>, false};
  }
}

}  // namespace doppel::interpreter
