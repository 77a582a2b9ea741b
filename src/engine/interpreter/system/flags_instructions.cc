// CLI, STI, PUSHF, POPF, CLAC, STAC, HLT. Intel SDM vol. 2; vol. 3 §6.8. CR4.VME and CR4.PVI do not exist on this processor.
#include "engine/interpreter/system/handlers.h"

namespace doppel::interpreter {

using namespace x86;

namespace {

// CLI, STI and the IF bit of POPF: CPL <= IOPL (in virtual-8086 mode CPL is 3). #GP(0) otherwise.
[[gnu::always_inline]] inline bool may_set_interrupt_flag(const Cpu& cpu) {
  return !cpu.protected_mode() || (cpu.vm86() ? 3 : cpu.s.cpl()) <= cpu.iopl();
}

void execute_cli(Cpu& cpu, const Op* op) {
  if (!may_set_interrupt_flag(cpu)) [[unlikely]]
    return raise(cpu, op, general_protection, 0);
  cpu.other_flags &= ~rflags::if_;
  return next(cpu, op);
}

// Interrupts are looked at between blocks only. Within a block, then, the instruction after STI runs before any is seen, which is
// what the shadow asks for; only an STI at a block's end, or with an interrupt waiting, has to say that there is a shadow.
void execute_sti(Cpu& cpu, const Op* op) {
  if (!may_set_interrupt_flag(cpu)) [[unlikely]]
    return raise(cpu, op, general_protection, 0);
  if (cpu.other_flags & rflags::if_) return next(cpu, op);
  cpu.other_flags |= rflags::if_;
  const bool last = op + 1 == cpu.block->ops + cpu.block->count;
  if (!last && !cpu.events.load(std::memory_order_relaxed)) [[likely]]
    return next(cpu, op);
  cpu.s.sti_shadow = true;
  cpu.update_mode();
  cpu.request_attention();
  return go_on_after(cpu, op);
}

// ---- PUSHF ----

template <class T>
void execute_pushf(Cpu& cpu, const Op* op) {
  if (cpu.vm86() && cpu.iopl() < 3) [[unlikely]]
    return raise(cpu, op, general_protection, 0);
  const u64 image = cpu.get_rflags() & ~(rflags::vm | rflags::rf);
  if (!push<T>(cpu, static_cast<T>(image))) [[unlikely]]
    return faulted(cpu, op);
  return next(cpu, op);
}

// ---- POPF ----

// Which flags POPF may change here. RF is cleared by the 32- and 64-bit forms.
inline u64 popf_mask(const Cpu& cpu, unsigned bytes) {
  u64 mask = rflags::status | rflags::tf | rflags::df | rflags::nt;
  if (bytes >= 4) mask |= rflags::ac | rflags::id | rflags::rf;
  if (may_set_interrupt_flag(cpu)) mask |= rflags::if_;
  if (!cpu.protected_mode() || (!cpu.vm86() && cpu.s.cpl() == 0)) mask |= rflags::iopl;
  return mask;
}

template <class T>
void execute_popf(Cpu& cpu, const Op* op) {
  if (cpu.vm86() && cpu.iopl() < 3) [[unlikely]]
    return raise(cpu, op, general_protection, 0);
  const Loaded<T> image = pop<T>(cpu);
  if (!image.ok) [[unlikely]]
    return faulted(cpu, op);
  set_stack_pointer(cpu, cpu.gpr[rsp] + sizeof(T));
  const u64 mask = popf_mask(cpu, sizeof(T));
  const u64 value = (cpu.get_rflags() & ~mask) | (u64{image.value} & mask & ~rflags::rf);
  if ((value ^ cpu.other_flags) & (rflags::tf | rflags::ac)) [[unlikely]] {
    cpu.set_rflags(value);
    return go_on_after(cpu, op);
  }
  put_rflags(cpu, value);
  return next_or_attend(cpu, op);
}

// ---- CLAC, STAC: below CPL 3 RFLAGS.AC only chooses between the two supervisor tables of the TLB ----

template <bool set>
void execute_access_check(Cpu& cpu, const Op* op) {
  if (cpu.cpl() != 0) [[unlikely]]
    return raise(cpu, op, invalid_opcode);
  cpu.other_flags = set ? cpu.other_flags | rflags::ac : cpu.other_flags & ~rflags::ac;
  TlbEntries* const guarded = cpu.tlbs.table(TlbTable::supervisor_smap);
  TlbEntries* const open = cpu.tlbs.table(TlbTable::supervisor);
  if (set && cpu.tlb == guarded) cpu.tlb = open;
  if (!set && cpu.tlb == open && (cpu.s.cr4 & cr4::smap)) cpu.tlb = guarded;
  return next(cpu, op);
}

void execute_hlt(Cpu& cpu, const Op* op) {
  if (!privileged(cpu)) return faulted(cpu, op);
  cpu.rip = cpu.next_rip(op);
  leave_after(cpu, op);
  cpu.leave = Leave::halt;
}

}  // namespace

Binding bind_interrupt_flag(const Instruction& instruction, Op&) {
  return {instruction.mnemonic == ZYDIS_MNEMONIC_CLI ? execute_cli : execute_sti, false};
}

Binding bind_pushf(const Instruction& instruction, Op&) {
  switch (instruction.mnemonic) {
    case ZYDIS_MNEMONIC_PUSHFQ: return {execute_pushf<u64>, false};
    case ZYDIS_MNEMONIC_PUSHFD: return {execute_pushf<u32>, false};
    default: return {execute_pushf<u16>, false};
  }
}

Binding bind_popf(const Instruction& instruction, Op&) {
  switch (instruction.mnemonic) {
    case ZYDIS_MNEMONIC_POPFQ: return {execute_popf<u64>, false};
    case ZYDIS_MNEMONIC_POPFD: return {execute_popf<u32>, false};
    default: return {execute_popf<u16>, false};
  }
}

Binding bind_access_check(const Instruction& instruction, Op&) {
  return {instruction.mnemonic == ZYDIS_MNEMONIC_STAC ? execute_access_check<true> : execute_access_check<false>, false};
}

Binding bind_halt(const Instruction&, Op&) { return {execute_hlt, true}; }

}  // namespace doppel::interpreter
