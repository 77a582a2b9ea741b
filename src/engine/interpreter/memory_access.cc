// The slow half of guest memory access: whatever the TLB probe in memory_access.h does not answer.
#include "engine/interpreter/memory_access.h"

#include <algorithm>

#include "engine/interpreter/debug.h"
#include "engine/interpreter/translate.h"

namespace doppel::interpreter {
namespace {

using namespace x86;

constexpr u64 apic_page_bytes = 4096;

bool non_canonical(Cpu& cpu, u64 linear, Segment segment) {
  if (!cpu.long64 || is_canonical(linear)) [[likely]]
    return false;
  set_fault(cpu, segment == ss ? stack_fault : general_protection, 0);
  return true;
}

bool misaligned(Cpu& cpu, u64 linear, unsigned bytes) {
  if (!(linear & (bytes - 1)) || !cpu.user || !(cpu.s.cr0 & cr0::am) || !(cpu.other_flags & rflags::ac)) [[likely]]
    return false;
  set_fault(cpu, alignment_check, 0);
  return true;
}

bool in_apic_page(Cpu& cpu, u64 physical) { return (physical & ~(apic_page_bytes - 1)) == cpu.interrupts.apic_page(); }

u64 device_read(Cpu& cpu, u64 physical, unsigned bytes) {
  u64 value;
  if (in_apic_page(cpu, physical))
    value = cpu.interrupts.read_apic(physical & (apic_page_bytes - 4)) >> (physical & 3) * 8;
  else
    value = cpu.memory.mmio().read(physical, bytes);
  value &= low_bits(bytes * 8);
  if (cpu.trace && cpu.trace->mmio) cpu.trace->mmio(false, physical, bytes, value, cpu.gpr[slot_rip]);
  return value;
}

void device_write(Cpu& cpu, u64 physical, unsigned bytes, u64 value) {
  if (cpu.trace && cpu.trace->mmio) cpu.trace->mmio(true, physical, bytes, value, cpu.gpr[slot_rip]);
  if (!in_apic_page(cpu, physical)) return cpu.memory.mmio().write(physical, bytes, value);
  if (bytes == 4 && !(physical & 3))
    cpu.interrupts.write_apic(physical & (apic_page_bytes - 1), static_cast<u32>(value));
}

// Refuses an access of an instruction to a device, if it has to be executed alone first: see Cpu::repeatable. What the processor does
// by itself (descriptors, page tables) is not refused.
enum class By : u8 { instruction, processor };
bool refused(Cpu& cpu, By by) {
  if (by == By::processor || !cpu.must_be_alone()) [[likely]]
    return false;
  cpu.fault = {.vector = run_alone};
  return true;
}

u64 read_host(const u8* host, unsigned bytes) {
  switch (bytes) {
    case 1: return *host;
    case 2: return get<u16>(host);
    case 4: return get<u32>(host);
    case 8: return get<u64>(host);
    default: break;
  }
  u64 value = 0;
  std::memcpy(&value, host, bytes);
  return value;
}

void write_host(u8* host, u64 value, unsigned bytes) {
  switch (bytes) {
    case 1: *host = static_cast<u8>(value); return;
    case 2: return put<u16>(host, static_cast<u16>(value));
    case 4: return put<u32>(host, static_cast<u32>(value));
    case 8: return put<u64>(host, value);
    default: std::memcpy(host, &value, bytes);
  }
}

// One page only.
Loaded<u64> load_within_page(Cpu& cpu, u64 linear, unsigned bytes, TlbTable table, By by) {
  const HostTranslation page = translate_to_host(cpu, linear, AccessKind::read, table);
  if (!page.ok) return {0, false};
  if (page.host) return {read_host(page.host, bytes), true};
  if (refused(cpu, by)) return {0, false};
  return {device_read(cpu, page.physical, bytes), true};
}

void write_page(Cpu& cpu, const HostTranslation& page, u64 value, unsigned bytes) {
  if (!page.host) return device_write(cpu, page.physical, bytes, value);
  if (!page.writable) return;  // ROM ignores writes
  write_host(page.host, value, bytes);
  note_store(cpu, page.host, bytes);
}

unsigned room_in_page(u64 linear) { return static_cast<unsigned>(page_size - (linear & (page_size - 1))); }

Loaded<u64> load_with(Cpu& cpu, u64 linear, unsigned bytes, TlbTable table, By by) {
  const unsigned room = room_in_page(linear);
  if (bytes <= room) return load_within_page(cpu, linear, bytes, table, by);
  const Loaded<u64> low = load_within_page(cpu, linear, room, table, by);
  if (!low.ok) return low;
  const u64 rest = cpu.long64 || cpu.s.long_mode() ? linear + room : static_cast<u32>(linear + room);
  const Loaded<u64> high = load_within_page(cpu, rest, bytes - room, table, by);
  return {low.value | high.value << room * 8, high.ok};
}

bool store_with(Cpu& cpu, u64 linear, u64 value, unsigned bytes, TlbTable table, By by) {
  const HostTranslation first = translate_to_host(cpu, linear, AccessKind::write, table);
  if (!first.ok || (!first.host && refused(cpu, by))) return false;
  const unsigned room = room_in_page(linear);
  if (bytes <= room) {
    write_page(cpu, first, value, bytes);
    return true;
  }
  const u64 rest = cpu.long64 || cpu.s.long_mode() ? linear + room : static_cast<u32>(linear + room);
  const HostTranslation second = translate_to_host(cpu, rest, AccessKind::write, table);
  if (!second.ok || (!second.host && refused(cpu, by))) return false;
  write_page(cpu, first, value & low_bits(room * 8), room);
  write_page(cpu, second, value >> room * 8, bytes - room);
  return true;
}

// The current block was overwritten: what is left of it must be decoded afresh.
void resync_current_block(Cpu& cpu) {
  if (!cpu.block || cpu.block->count == 1 || cpu.block->valid()) return;
  auto* ops = const_cast<Op*>(cpu.block->ops);
  for (unsigned i = 0; i <= cpu.block->count; ++i)
    if (ops[i].handler != execute_end_of_block) ops[i].handler = execute_resync;
}

}  // namespace

void note_store(Cpu& cpu, const u8* host, unsigned bytes) {
  const auto offset = static_cast<u64>(host - cpu.ram);
  if (!cpu.page_flags[offset >> page_shift].load(std::memory_order_relaxed)) [[likely]]
    return;
  cpu.memory.note_write(offset, bytes);
  resync_current_block(cpu);  // also if another thread overwrote it first
}

Loaded<u64> load_slow(Cpu& cpu, u64 linear, unsigned bytes, Segment segment) {
  if (!cpu.long64) linear = static_cast<u32>(linear);
  if (non_canonical(cpu, linear, segment) || misaligned(cpu, linear, bytes)) return {0, false};
  if (cpu.long64 && non_canonical(cpu, linear + bytes - 1, segment)) return {0, false};
  const Loaded<u64> result = load_with(cpu, linear, bytes, current_table(cpu), By::instruction);
  if (result.ok && cpu.debug_accesses) note_data_access(cpu, linear, bytes, false);
  return result;
}

bool store_slow(Cpu& cpu, u64 linear, u64 value, unsigned bytes, Segment segment) {
  if (!cpu.long64) linear = static_cast<u32>(linear);
  if (non_canonical(cpu, linear, segment) || misaligned(cpu, linear, bytes)) return false;
  if (cpu.long64 && non_canonical(cpu, linear + bytes - 1, segment)) return false;
  if (!store_with(cpu, linear, value, bytes, current_table(cpu), By::instruction)) return false;
  if (cpu.debug_accesses) note_data_access(cpu, linear, bytes, true);
  return true;
}

bool load_bytes(Cpu& cpu, u64 linear, void* buffer, unsigned bytes, Segment segment) {
  auto* to = static_cast<u8*>(buffer);
  if (bytes > 8 && !probe_read(cpu, linear, bytes, segment)) return false;
  for (unsigned done = 0; done < bytes;) {
    const unsigned chunk = std::min(8u, bytes - done);
    const Loaded<u64> value = load_slow(cpu, linear + done, chunk, segment);
    if (!value.ok) return false;
    std::memcpy(to + done, &value.value, chunk);
    done += chunk;
  }
  return true;
}

bool store_bytes(Cpu& cpu, u64 linear, const void* buffer, unsigned bytes, Segment segment) {
  const auto* from = static_cast<const u8*>(buffer);
  if (bytes > 8 && !probe_write(cpu, linear, bytes, segment)) return false;
  for (unsigned done = 0; done < bytes;) {
    const unsigned chunk = std::min(8u, bytes - done);
    u64 value = 0;
    std::memcpy(&value, from + done, chunk);
    if (!store_slow(cpu, linear + done, value, chunk, segment)) return false;
    done += chunk;
  }
  return true;
}

namespace {

bool probe(Cpu& cpu, u64 linear, unsigned bytes, Segment segment, AccessKind kind) {
  for (u64 at = linear;;) {
    const u64 address = cpu.long64 ? at : static_cast<u32>(at);
    if (non_canonical(cpu, address, segment)) return false;
    const HostTranslation page = translate_to_host(cpu, address, kind, current_table(cpu));
    if (!page.ok || (!page.host && refused(cpu, By::instruction))) return false;
    const u64 next_page = align_down(at, page_size) + page_size;
    if (next_page - linear >= bytes) return true;
    at = next_page;
  }
}

}  // namespace

bool probe_write(Cpu& cpu, u64 linear, unsigned bytes, Segment segment) {
  return probe(cpu, linear, bytes, segment, AccessKind::write);
}
bool probe_read(Cpu& cpu, u64 linear, unsigned bytes, Segment segment) {
  return probe(cpu, linear, bytes, segment, AccessKind::read);
}

u8* writable_host(Cpu& cpu, u64 linear, unsigned bytes, Segment segment) {
  cpu.fault.vector = no_fault;
  if (!cpu.long64) linear = static_cast<u32>(linear);
  if (non_canonical(cpu, linear, segment) || misaligned(cpu, linear, bytes)) return nullptr;
  if (cpu.debug_accesses || bytes > room_in_page(linear)) {
    if (probe_write(cpu, linear, bytes, segment)) cpu.fault.vector = no_fault;
    return nullptr;
  }
  const HostTranslation page = translate_to_host(cpu, linear, AccessKind::write, current_table(cpu));
  if (!page.ok) return nullptr;
  cpu.fault.vector = no_fault;
  return page.writable ? page.host : nullptr;
}

Loaded<u64> load_system(Cpu& cpu, u64 linear, unsigned bytes) {
  if (!cpu.s.long_mode()) linear = static_cast<u32>(linear);
  return load_with(cpu, linear, bytes, system_table(cpu), By::processor);
}

bool store_system(Cpu& cpu, u64 linear, u64 value, unsigned bytes) {
  if (!cpu.s.long_mode()) linear = static_cast<u32>(linear);
  return store_with(cpu, linear, value, bytes, system_table(cpu), By::processor);
}

}  // namespace doppel::interpreter
