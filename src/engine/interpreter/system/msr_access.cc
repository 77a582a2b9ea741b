// RDMSR and WRMSR. The registers are in isa/x86/msr.cc; this is what reading and writing them does.
#include <algorithm>

#include "base/log.h"
#include "engine/interpreter/system/handlers.h"
#include "isa/x86/msr.h"
#include "isa/x86/paging.h"

namespace doppel::interpreter {

using namespace x86;

namespace {

bool belongs_to_apic(u32 index) {
  return index == msr::apic_base || index == msr::tsc_deadline ||
         (index >= msr::x2apic_first && index <= msr::x2apic_last);
}

// #GP(0), and one line in the log the first time that this processor meets it.
[[gnu::cold]] bool refuse_msr(Cpu& cpu, u32 index, bool write) {
  constexpr std::size_t most_remembered = 256;
  const u64 key = index | u64{write} << 32;
  auto& known = cpu.refused_msrs;
  if (known.size() < most_remembered && std::ranges::find(known, key) == known.end()) {
    known.push_back(key);
    log::info("processor {}: {} of MSR {:#x} refused at {:#x}", cpu.index, write ? "write" : "read", index,
              cpu.gpr[slot_rip]);
  }
  return refuse(cpu, general_protection, 0);
}

void move_tsc(Cpu& cpu, u64 distance) {
  cpu.s.tsc_offset += distance;
  cpu.interrupts.tsc_offset_changed(cpu.s.tsc_offset);
}

u64 value_of(Cpu& cpu, const Msr& reg) {
  const X86State& s = cpu.s;
  switch (reg.kind) {
    case MsrKind::field:
    case MsrKind::canonical: return s.*reg.field | reg.constant;
    case MsrKind::constant:
    case MsrKind::read_only: return reg.constant;
    case MsrKind::command: return 0;
    case MsrKind::efer: return s.efer;
    case MsrKind::tsc: return read_tsc(cpu);
    case MsrKind::tsc_adjust: return s.tsc_adjust;
    case MsrKind::tsc_aux: return s.tsc_aux;
    case MsrKind::fs_base: return s.segments[fs].base;
    case MsrKind::gs_base: return s.segments[gs].base;
    case MsrKind::pat: return s.pat;
    case MsrKind::mtrr_variable: return s.mtrr_variable[reg.index - msr::mtrr_variable_first];
    case MsrKind::mtrr_fixed: return s.mtrr_fixed[mtrr_fixed_slot(reg.index)];
    case MsrKind::mtrr_default: return s.mtrr_default;
  }
  return 0;
}

bool store_if(bool valid, u64& to, u64 value) {
  if (valid) to = value;
  return valid;
}

// False: the value is refused.
bool assign(Cpu& cpu, const Msr& reg, u64 value) {
  X86State& s = cpu.s;
  switch (reg.kind) {
    case MsrKind::field: s.*reg.field = value; return true;
    case MsrKind::canonical: return store_if(is_canonical(value), s.*reg.field, value);
    case MsrKind::read_only: return false;
    case MsrKind::constant:
    case MsrKind::command: return true;
    case MsrKind::efer: return write_efer(cpu, value);
    case MsrKind::tsc: {
      const u64 distance = value - read_tsc(cpu);
      s.tsc_adjust += distance;
      move_tsc(cpu, distance);
      return true;
    }
    case MsrKind::tsc_adjust:
      move_tsc(cpu, value - s.tsc_adjust);
      s.tsc_adjust = value;
      return true;
    case MsrKind::tsc_aux: s.tsc_aux = static_cast<u32>(value); return true;
    case MsrKind::fs_base: return store_if(is_canonical(value), s.segments[fs].base, value);
    case MsrKind::gs_base: return store_if(is_canonical(value), s.segments[gs].base, value);
    case MsrKind::pat: return store_if(valid_pat(value), s.pat, value);
    case MsrKind::mtrr_variable: {
      const u32 slot = reg.index - msr::mtrr_variable_first;
      return store_if(slot & 1 ? valid_mtrr_mask(value) : valid_mtrr_base(value), s.mtrr_variable[slot], value);
    }
    case MsrKind::mtrr_fixed: return store_if(valid_mtrr_fixed(value), s.mtrr_fixed[mtrr_fixed_slot(reg.index)], value);
    case MsrKind::mtrr_default: return store_if(valid_mtrr_default(value), s.mtrr_default, value);
  }
  return false;
}

bool read_msr(Cpu& cpu, u32 index, u64& value) {
  if (belongs_to_apic(index)) {
    const std::optional<u64> answer = cpu.interrupts.read_msr(index);
    value = answer.value_or(0);
    return answer || refuse_msr(cpu, index, false);
  }
  const Msr* reg = find_msr(index);
  if (!reg || reg->kind == MsrKind::command) return refuse_msr(cpu, index, false);
  value = value_of(cpu, *reg);
  return true;
}

bool write_msr(Cpu& cpu, u32 index, u64 value) {
  if (belongs_to_apic(index)) {
    if (!cpu.interrupts.write_msr(index, value)) return refuse_msr(cpu, index, true);
    if (index == msr::apic_base) {  // its page may be elsewhere now
      cpu.tlbs.flush_all();
      cpu.forget_jumps();
    }
    return true;
  }
  const Msr* reg = find_msr(index);
  if (!reg) return refuse_msr(cpu, index, true);
  if ((value ^ value_of(cpu, *reg)) & ~reg->writable && reg->kind != MsrKind::tsc) return refuse_msr(cpu, index, true);
  return assign(cpu, *reg, value) || refuse_msr(cpu, index, true);
}

bool rdmsr(Cpu& cpu, const Op*) {
  if (!privileged(cpu)) return false;
  u64 value = 0;
  if (!read_msr(cpu, static_cast<u32>(cpu.gpr[rcx]), value)) return false;
  cpu.gpr[rax] = static_cast<u32>(value);
  cpu.gpr[rdx] = value >> 32;
  return true;
}

u64 wrmsr_value(const Cpu& cpu) { return static_cast<u32>(cpu.gpr[rax]) | cpu.gpr[rdx] << 32; }

[[gnu::noinline]] bool wrmsr(Cpu& cpu, const Op*) {
  return privileged(cpu) && write_msr(cpu, static_cast<u32>(cpu.gpr[rcx]), wrmsr_value(cpu));
}

// The registers that a 64-bit kernel writes at every task switch or timer tick come first.
void execute_wrmsr(Cpu& cpu, const Op* op) {
  if (cpu.cpl() == 0) [[likely]] {
    const u64 value = wrmsr_value(cpu);
    switch (static_cast<u32>(cpu.gpr[rcx])) {
      case msr::fs_base:
        if (!is_canonical(value)) break;
        cpu.s.segments[fs].base = value;
        return next(cpu, op);
      case msr::gs_base:
        if (!is_canonical(value)) break;
        cpu.s.segments[gs].base = value;
        return next(cpu, op);
      case msr::kernel_gs_base:
        if (!is_canonical(value)) break;
        cpu.s.kernel_gs_base = value;
        return next(cpu, op);
      default: break;
    }
  }
  if (!wrmsr(cpu, op)) return faulted(cpu, op);
  return go_on_after(cpu, op);
}

}  // namespace

u64 read_tsc(Cpu& cpu) { return cpu.clock.now() + cpu.s.tsc_offset; }

// They end their block: what they read or set may depend on how many instructions were executed before.
Binding bind_msr(const Instruction& instruction, Op&) {
  return {instruction.mnemonic == ZYDIS_MNEMONIC_RDMSR ? execute<rdmsr> : execute_wrmsr, true};
}

}  // namespace doppel::interpreter
