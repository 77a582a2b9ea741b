#include "engine/interpreter/x87/save_area.h"

#include "engine/interpreter/fpu_environment.h"
#include "engine/interpreter/x87/environment.h"

namespace doppel::interpreter {

// ---- registers and image ----

void put_x87(const Cpu& cpu, SaveArea& area, bool rex_w) {
  const Fpu& f = cpu.s.fpu;
  area.control = f.control;
  area.status = f.status;
  area.valid = f.valid;
  area.reserved = 0;
  area.opcode = f.opcode;
  area.instruction_pointer = rex_w ? f.instruction_pointer
                                   : static_cast<u32>(f.instruction_pointer) | u64{f.instruction_selector} << 32;
  area.data_pointer = rex_w ? f.data_pointer : static_cast<u32>(f.data_pointer) | u64{f.data_selector} << 32;
  for (unsigned i = 0; i < 8; ++i) {
    const x86::Float80& value = f.registers[physical(f, i)];
    area.st[i] = {value.significand, value.sign_exponent};
  }
}

void put_mxcsr(Cpu& cpu, SaveArea& area) {
  collect_mxcsr(cpu);
  area.mxcsr = cpu.s.mxcsr;
  area.mxcsr_mask = mxcsr_writable;
}

void put_xmm(const Cpu& cpu, SaveArea& area) {
  for (unsigned i = 0; i < xmm_count(cpu); ++i) area.xmm[i] = {cpu.s.vectors[i].words[0], cpu.s.vectors[i].words[1]};
}

void put_ymm_high(const Cpu& cpu, SaveArea& area) {
  for (unsigned i = 0; i < xmm_count(cpu); ++i)
    area.ymm_high[i] = {cpu.s.vectors[i].words[2], cpu.s.vectors[i].words[3]};
}

void take_x87(Cpu& cpu, const SaveArea& area, bool rex_w) {
  Fpu& f = cpu.s.fpu;
  set_control(f, area.control);
  set_status(f, area.status);
  f.valid = area.valid;
  f.opcode = area.opcode & 0x7ff;
  f.instruction_pointer = rex_w ? area.instruction_pointer : static_cast<u32>(area.instruction_pointer);
  f.data_pointer = rex_w ? area.data_pointer : static_cast<u32>(area.data_pointer);
  f.instruction_selector = rex_w ? 0 : static_cast<u16>(area.instruction_pointer >> 32);
  f.data_selector = rex_w ? 0 : static_cast<u16>(area.data_pointer >> 32);
  for (unsigned i = 0; i < 8; ++i) st(f, i) = {area.st[i].low, static_cast<u16>(area.st[i].high)};
}

void take_mxcsr(Cpu& cpu, u32 value) {
  cpu.s.mxcsr = value;
  apply_mxcsr(cpu);
}

void take_xmm(Cpu& cpu, const SaveArea& area) {
  for (unsigned i = 0; i < xmm_count(cpu); ++i) {
    cpu.s.vectors[i].words[0] = area.xmm[i].low;
    cpu.s.vectors[i].words[1] = area.xmm[i].high;
  }
}

void take_ymm_high(Cpu& cpu, const SaveArea& area) {
  for (unsigned i = 0; i < xmm_count(cpu); ++i) {
    cpu.s.vectors[i].words[2] = area.ymm_high[i].low;
    cpu.s.vectors[i].words[3] = area.ymm_high[i].high;
  }
}

// ---- image and guest memory ----

Linear area_linear(Cpu& cpu, const Op* op, unsigned bytes, unsigned alignment, AccessKind kind) {
  const Linear linear = operand_linear(cpu, op, bytes, kind);
  if (!linear.ok) return linear;
  const bool canonical = !cpu.long64 || x86::is_canonical(linear.address);
  if (canonical && !(linear.address & (alignment - 1))) return linear;
  set_fault(cpu, !canonical && op->segment == x86::ss ? x86::stack_fault : x86::general_protection, 0);
  return {0, false};
}

namespace {

bool in_one_page(u64 linear, unsigned bytes) { return (linear & (page_size - 1)) + bytes <= page_size; }

bool writable_now(Cpu& cpu, u64 linear, unsigned bytes) {
  return in_one_page(linear, bytes) && store_target<u8>(cpu, linear) != nullptr;
}

// AMD's processors try the last byte first, whose offset wraps at the address size.
u64 last_byte(Cpu& cpu, const Op* op, u64 linear, unsigned bytes) {
  if (!cpu.long64 || !(op->flags & op_flag::address32)) return linear + bytes - 1;
  const u64 offset = effective_address(cpu, op);
  return linear - offset + static_cast<u32>(offset + bytes - 1);
}

}  // namespace

bool load_area(Cpu& cpu, const Op* op, u64 linear, SaveArea& area, unsigned bytes) {
  auto* to = reinterpret_cast<u8*>(&area);
  if (const u8* host = load_target(cpu, linear, bytes)) {
    std::memcpy(to, host, bytes);
    return true;
  }
  const auto segment = static_cast<x86::Segment>(op->segment);
  if (!probe_read(cpu, last_byte(cpu, op, linear, bytes), 1, segment)) return false;
  return load_part(cpu, op, linear, area, {0, bytes});
}

bool load_part(Cpu& cpu, const Op* op, u64 linear, SaveArea& area, AreaPart part) {
  auto* to = reinterpret_cast<u8*>(&area) + part.offset;
  for (unsigned at = 0; at < part.bytes; at += 8) {
    const Loaded<u64> word = load<u64>(cpu, linear + part.offset + at, static_cast<x86::Segment>(op->segment));
    if (!word.ok) return false;
    put(to + at, word.value);
  }
  return true;
}

bool probe_area(Cpu& cpu, const Op* op, u64 linear, unsigned bytes) {
  if (writable_now(cpu, linear, bytes)) return true;
  const auto segment = static_cast<x86::Segment>(op->segment);
  return probe_write(cpu, last_byte(cpu, op, linear, bytes), 1, segment) && probe_write(cpu, linear, bytes, segment);
}

bool store_part(Cpu& cpu, const Op* op, u64 linear, const SaveArea& area, AreaPart part) {
  const u8* from = reinterpret_cast<const u8*>(&area) + part.offset;
  const u64 to = linear + part.offset;
  if (writable_now(cpu, to, part.bytes)) {
    std::memcpy(store_target<u8>(cpu, to), from, part.bytes);
    return true;
  }
  const auto segment = static_cast<x86::Segment>(op->segment);
  for (unsigned at = 0; at < part.bytes; at += 8)
    if (!store<u64>(cpu, to + at, get<u64>(from + at), segment)) return false;
  return true;
}

}  // namespace doppel::interpreter
