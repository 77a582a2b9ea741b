// IN and OUT, and the I/O permission check. Intel SDM vol. 1 §19.5; vol. 2.
#include "engine/interpreter/debug.h"
#include "engine/interpreter/system/handlers.h"
#include "engine/interpreter/system/supervisor_access.h"

namespace doppel::interpreter {

using namespace x86;

namespace {

// The permission bitmap of a 32- or 64-bit TSS; two bytes are read, so that an access may straddle them.
bool bitmap_allows(Cpu& cpu, u16 port, unsigned bytes) {
  const SegmentRegister& tr = cpu.s.tr;
  const bool wide = SegmentRegister::Present::get(tr.attributes) && (SegmentRegister::Type::get(tr.attributes) & 8);
  if (!wide || tr.limit < tss32::minimum_limit) return refuse(cpu, general_protection, 0);
  const Loaded<u16> base = load_supervisor<u16>(cpu, tr.base + tss32::io_map_base);
  if (!base.ok) return false;
  const u32 position = u32{base.value} + port / 8;
  if (position + 1 > tr.limit) return refuse(cpu, general_protection, 0);
  const Loaded<u16> bits = load_supervisor<u16>(cpu, tr.base + position);
  if (!bits.ok) return false;
  const u64 wanted = low_bits(bytes) << (port & 7);
  return !(bits.value & wanted) || refuse(cpu, general_protection, 0);
}

template <class T>
void finish_in(Cpu& cpu, const Op* op, u16 port) {
  if (!io_allowed(cpu, port, sizeof(T))) [[unlikely]]
    return faulted(cpu, op);
  cpu.set_reg<T>(rax * 8, static_cast<T>(port_read(cpu, port, sizeof(T))));
  return next_or_attend(cpu, op);
}
template <class T>
void finish_out(Cpu& cpu, const Op* op, u16 port) {
  if (!io_allowed(cpu, port, sizeof(T))) [[unlikely]]
    return faulted(cpu, op);
  port_write(cpu, port, sizeof(T), cpu.reg<T>(rax * 8));
  return next_or_attend(cpu, op);
}

template <class T, bool by_register>
void execute_in(Cpu& cpu, const Op* op) {
  return finish_in<T>(cpu, op, by_register ? static_cast<u16>(cpu.gpr[rdx]) : static_cast<u8>(op->immediate));
}
template <class T, bool by_register>
void execute_out(Cpu& cpu, const Op* op) {
  return finish_out<T>(cpu, op, by_register ? static_cast<u16>(cpu.gpr[rdx]) : static_cast<u8>(op->immediate));
}

template <class T>
Handler in_handler(bool by_register) {
  return by_register ? execute_in<T, true> : execute_in<T, false>;
}
template <class T>
Handler out_handler(bool by_register) {
  return by_register ? execute_out<T, true> : execute_out<T, false>;
}

}  // namespace

bool io_allowed(Cpu& cpu, u16 port, unsigned bytes) {
  if (!cpu.protected_mode()) return true;
  if (!cpu.vm86() && cpu.s.cpl() <= cpu.iopl()) [[likely]]
    return true;
  return bitmap_allows(cpu, port, bytes);
}

u64 port_read(Cpu& cpu, u16 port, unsigned bytes) {
  const u64 value = cpu.ports.read(port, bytes);
  if (cpu.trace && cpu.trace->port_io) cpu.trace->port_io(false, port, bytes, value, cpu.gpr[slot_rip]);
  if (cpu.debug_accesses) note_io_access(cpu, port, bytes);
  return value;
}

void port_write(Cpu& cpu, u16 port, unsigned bytes, u64 value) {
  if (cpu.trace && cpu.trace->port_io) cpu.trace->port_io(true, port, bytes, value, cpu.gpr[slot_rip]);
  cpu.ports.write(port, bytes, value);
  if (cpu.debug_accesses) note_io_access(cpu, port, bytes);
}

// I/O ends its block: a device's answer may depend on how many instructions were executed before.
Binding bind_in(const Instruction& instruction, Op&) {
  const bool by_register = instruction.operands[1].kind != OperandKind::immediate;
  switch (instruction.operands[0].bytes) {
    case 1: return {in_handler<u8>(by_register), true};
    case 2: return {in_handler<u16>(by_register), true};
    default: return {in_handler<u32>(by_register), true};
  }
}

Binding bind_out(const Instruction& instruction, Op&) {
  const bool by_register = instruction.operands[0].kind != OperandKind::immediate;
  switch (instruction.operands[1].bytes) {
    case 1: return {out_handler<u8>(by_register), true};
    case 2: return {out_handler<u16>(by_register), true};
    default: return {out_handler<u32>(by_register), true};
  }
}

}  // namespace doppel::interpreter
