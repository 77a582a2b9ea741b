#include "engine/interpreter/debug.h"

namespace doppel::interpreter {
namespace {

using namespace x86;

// DR7: enables in bits 0–7 (L, G pairs), then per breakpoint R/W (2 bits) and LEN (2 bits) from bit 16.
enum class Condition : u8 { execute, write, io, read_write };

constexpr unsigned lengths[4] = {1, 2, 8, 4};

u64 matches(const Cpu& cpu, u64 address, unsigned bytes, auto&& wanted) {
  u64 hit = 0;
  for (unsigned i = 0; i < 4; ++i) {
    if (!((cpu.s.dr[7] >> (i * 2)) & 3)) continue;
    const u64 control = cpu.s.dr[7] >> (16 + i * 4);
    if (!wanted(static_cast<Condition>(control & 3))) continue;
    const unsigned length = lengths[(control >> 2) & 3];
    const u64 start = cpu.s.dr[i] & ~u64{length - 1};
    if (address < start + length && start < address + bytes) hit |= u64{1} << i;
  }
  return hit;
}

}  // namespace

void note_data_access(Cpu& cpu, u64 linear, unsigned bytes, bool write) {
  cpu.pending_debug |= matches(cpu, linear, bytes, [write](Condition condition) {
    return condition == Condition::read_write || (write && condition == Condition::write);
  });
}

void note_io_access(Cpu& cpu, u16 port, unsigned bytes) {
  if (!(cpu.s.cr4 & cr4::de)) return;
  cpu.pending_debug |= matches(cpu, port, bytes, [](Condition condition) { return condition == Condition::io; });
}

u64 instruction_breakpoints(const Cpu& cpu, u64 linear) {
  return matches(cpu, linear, 1, [](Condition condition) { return condition == Condition::execute; });
}

}  // namespace doppel::interpreter
