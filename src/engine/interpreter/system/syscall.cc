// SYSCALL/SYSRET and SYSENTER/SYSEXIT. Intel SDM vol. 2; vol. 3 §5.8.7, §5.8.8.
#include "engine/interpreter/system/handlers.h"
#include "isa/x86/paging.h"

namespace doppel::interpreter {

using namespace x86;

namespace {

// The flat segments that these instructions load without looking at any table.
[[gnu::always_inline]] inline SegmentRegister flat_code(u16 selector, unsigned dpl, u16 size) {
  return {.base = 0,
          .limit = 0xffff'ffff,
          .selector = selector,
          .attributes = static_cast<u16>(access_rights::flat_code | access_rights::granular | size |
                                         access_rights::of_dpl(dpl))};
}
[[gnu::always_inline]] inline SegmentRegister flat_stack(u16 selector, unsigned dpl) {
  return {.base = 0,
          .limit = 0xffff'ffff,
          .selector = selector,
          .attributes = static_cast<u16>(access_rights::flat_data | access_rights::granular | access_rights::big |
                                         access_rights::of_dpl(dpl))};
}

void change_privilege(Cpu& cpu, u64 flags_before, u64 flags) {
  put_other_flags(cpu, flags);
  const bool more = (flags_before ^ flags) & (rflags::tf | rflags::vm | rflags::ac);
  more || cpu.single_step ? cpu.update_mode() : cpu.update_privilege();
}

void execute_syscall(Cpu& cpu, const Op* op) {
  if (!has_system_calls(cpu)) [[unlikely]]
    return raise(cpu, op, invalid_opcode);
  const SystemCall to = enter_system(cpu, cpu.next_rip(op), cpu.get_rflags());
  cpu.flags.unpack(to.flags);
  return jump(cpu, to.rip);
}

constexpr u64 sysret_flags = 0x3c'7fd7;

void execute_sysret(Cpu& cpu, const Op* op) {
  if (!has_system_calls(cpu)) [[unlikely]]
    return raise(cpu, op, invalid_opcode);
  const bool to64 = op->bytes == 8;
  if (cpu.cpl() != 0 || (to64 && !is_canonical(cpu.gpr[rcx]))) [[unlikely]]
    return raise(cpu, op, general_protection, 0);
  const SystemCall to = leave_system(cpu, to64);
  cpu.flags.unpack(to.flags);
  return jump(cpu, to.rip);
}

void execute_sysenter(Cpu& cpu, const Op* op) {
  const auto selector = static_cast<u16>(cpu.s.sysenter_cs & 0xfffc);
  if (!cpu.protected_mode() || selector == 0) return raise(cpu, op, general_protection, 0);
  const bool long_mode = cpu.s.long_mode();
  cpu.other_flags &= ~(rflags::vm | rflags::if_ | rflags::rf);
  cpu.s.segments[cs] = flat_code(selector, 0, long_mode ? access_rights::long_mode : access_rights::big);
  cpu.s.segments[ss] = flat_stack(static_cast<u16>(selector + 8), 0);
  cpu.gpr[rsp] = long_mode ? cpu.s.sysenter_esp : static_cast<u32>(cpu.s.sysenter_esp);
  cpu.update_mode();
  return jump(cpu, long_mode ? cpu.s.sysenter_eip : static_cast<u32>(cpu.s.sysenter_eip));
}

void execute_sysexit(Cpu& cpu, const Op* op) {
  const auto selector = static_cast<u16>(cpu.s.sysenter_cs & 0xfffc);
  if (!cpu.protected_mode() || cpu.cpl() != 0 || selector == 0) return raise(cpu, op, general_protection, 0);
  const bool to64 = op->bytes == 8;
  if (to64 && !(is_canonical(cpu.gpr[rcx]) && is_canonical(cpu.gpr[rdx]))) return raise(cpu, op, general_protection, 0);
  const u64 rip = to64 ? cpu.gpr[rdx] : static_cast<u32>(cpu.gpr[rdx]);
  cpu.gpr[rsp] = to64 ? cpu.gpr[rcx] : static_cast<u32>(cpu.gpr[rcx]);
  const auto code = static_cast<u16>((selector + (to64 ? 32 : 16)) | 3);
  cpu.s.segments[cs] = flat_code(code, 3, to64 ? access_rights::long_mode : access_rights::big);
  cpu.s.segments[ss] = flat_stack(static_cast<u16>((code + 8) | 3), 3);
  cpu.update_mode();
  return jump(cpu, rip);
}

}  // namespace

SystemCall enter_system(Cpu& cpu, u64 next, u64 flags) {
  flags &= ~rflags::rf;
  cpu.gpr[rcx] = next;
  cpu.gpr[r11] = flags;
  const auto selector = static_cast<u16>((cpu.s.star >> 32) & 0xfffc);
  cpu.s.segments[cs] = flat_code(selector, 0, access_rights::long_mode);
  cpu.s.segments[ss] = flat_stack(static_cast<u16>(selector + 8), 0);
  const u64 masked = flags & ~cpu.s.fmask;
  cpu.step_trap_suppressed = cpu.s.fmask & rflags::tf;
  change_privilege(cpu, flags, masked);
  return {cpu.s.lstar, masked};
}

SystemCall leave_system(Cpu& cpu, bool to64) {
  const u64 base = cpu.s.star >> 48, flags = cpu.gpr[r11] & sysret_flags;
  cpu.s.segments[cs] = to64 ? flat_code(static_cast<u16>((base + 16) | 3), 3, access_rights::long_mode)
                            : flat_code(static_cast<u16>(base | 3), 3, access_rights::big);
  cpu.s.segments[ss] = flat_stack(static_cast<u16>((base + 8) | 3), 3);
  if (to64) {
    change_privilege(cpu, cpu.other_flags, flags);
  } else {
    put_other_flags(cpu, flags);
    cpu.update_mode();
  }
  return {to64 ? cpu.gpr[rcx] : static_cast<u32>(cpu.gpr[rcx]), flags};
}

Binding bind_syscall(const Instruction& instruction, Op& op) {
  op.bytes = instruction.operand_bytes;
  return {instruction.mnemonic == ZYDIS_MNEMONIC_SYSCALL ? execute_syscall : execute_sysret, true};
}

Binding bind_sysenter(const Instruction& instruction, Op& op) {
  op.bytes = instruction.operand_bytes;
  return {instruction.mnemonic == ZYDIS_MNEMONIC_SYSENTER ? execute_sysenter : execute_sysexit, true};
}

}  // namespace doppel::interpreter
