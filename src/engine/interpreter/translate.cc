#include "engine/interpreter/translate.h"

#include <array>

namespace doppel::interpreter {
namespace {

using namespace x86;

struct WalkRights {
  bool writable = true;
  bool user = true;
  bool execute_disable = false;
};

struct Walk {
  Cpu& cpu;
  u64 linear;
  AccessKind kind;
  TlbTable table;
  WalkRights rights{};

  bool user() const { return table == TlbTable::user; }
  bool nx_enabled() const { return cpu.s.efer & efer::nxe; }
};

Translation fail(const Walk& walk, u32 code) {
  if (walk.kind == AccessKind::write) code |= page_fault_code::write;
  if (walk.user()) code |= page_fault_code::user;
  if (walk.kind == AccessKind::fetch && (walk.nx_enabled() || (walk.cpu.s.cr4 & cr4::smep)))
    code |= page_fault_code::fetch;
  walk.cpu.fault = {.vector = page_fault, .has_error = true, .error = code, .address = walk.linear};
  return {};
}

// A table entry in guest memory. Tables outside of RAM read as all ones from the bus, as on hardware; they hold no A/D bits then.
template <class Entry>
struct Slot {
  Entry* host = nullptr;
  Entry value = 0;
};

template <class Entry>
Slot<Entry> read_entry(Cpu& cpu, u64 physical) {
  bool writable = false;
  u8* host = host_of_physical(cpu, physical, writable);
  if (!host) return {nullptr, static_cast<Entry>(cpu.memory.mmio().read(physical, sizeof(Entry)))};
  auto* entry = reinterpret_cast<Entry*>(host);
  return {writable ? entry : nullptr, __atomic_load_n(entry, __ATOMIC_RELAXED)};
}

// Sets bits in an entry if it still is what was read; false: another processor changed it, walk again.
template <class Entry>
bool set_bits(Cpu& cpu, Slot<Entry>& slot, Entry bits) {
  if ((slot.value & bits) == bits || !slot.host) return true;
  Entry expected = slot.value;
  if (!__atomic_compare_exchange_n(slot.host, &expected, slot.value | bits, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
    return false;
  slot.value |= bits;
  const auto offset = static_cast<u64>(reinterpret_cast<u8*>(slot.host) - cpu.ram);
  if (cpu.page_flags[offset >> page_shift].load(std::memory_order_relaxed))
    cpu.memory.note_write(offset, sizeof(Entry));
  return true;
}

// Whether the rights found on the way allow an access, SDM vol. 3 §4.6.1.
bool allowed(const Walk& walk, AccessKind kind) {
  const WalkRights& rights = walk.rights;
  const u64 cr4 = walk.cpu.s.cr4;
  if (walk.user()) {
    if (!rights.user) return false;
  } else if (rights.user) {
    if (kind == AccessKind::fetch && (cr4 & cr4::smep)) return false;
    if (kind != AccessKind::fetch && walk.table == TlbTable::supervisor_smap) return false;
  }
  if (kind == AccessKind::fetch) return !(rights.execute_disable && walk.nx_enabled());
  if (kind == AccessKind::write && !rights.writable) return !walk.user() && !(walk.cpu.s.cr0 & cr0::wp);
  return true;
}

template <class Entry>
void restrict_rights(Walk& walk, Entry entry) {
  walk.rights.writable &= pte::Writable::get(entry);
  walk.rights.user &= pte::User::get(entry);
  if constexpr (sizeof(Entry) == 8) walk.rights.execute_disable |= pte::ExecuteDisable::get(entry);
}

// The last entry was found: check rights, set A and D, describe the page.
template <class Entry>
Translation finish(Walk& walk, Slot<Entry>& slot, u64 frame, u64 page_bytes, bool& again) {
  if (!allowed(walk, walk.kind)) return fail(walk, page_fault_code::present);
  const bool write = walk.kind == AccessKind::write;
  const auto bits = static_cast<Entry>(pte::Accessed::mask | (write ? pte::Dirty::mask : 0));
  if (!set_bits(walk.cpu, slot, bits)) {
    again = true;
    return {};
  }
  Translation result{.ok = true, .physical = frame | (walk.linear & (page_bytes - 1)), .page_bytes = page_bytes};
  result.readable = allowed(walk, AccessKind::read);
  result.writable = pte::Dirty::get(slot.value) && allowed(walk, AccessKind::write);
  result.executable = allowed(walk, AccessKind::fetch);
  result.global = pte::Global::get(slot.value) && (walk.cpu.s.cr4 & cr4::pge);
  return result;
}

// 4-level and PAE tables: 8-byte entries, 9 bits a level. `level` 4 = PML4 … 1 = PT.
Translation walk_long(Walk& walk, u64 table, int level, bool& again) {
  const u64 always_reserved = ~physical_mask & low_bits(52);
  const bool pae = !walk.cpu.s.long_mode();
  for (;; --level) {
    const unsigned shift = 12 + 9 * static_cast<unsigned>(level - 1);
    auto slot = read_entry<u64>(walk.cpu, table | ((walk.linear >> shift) & 0x1ff) << 3);
    const u64 entry = slot.value;
    if (!pte::Present::get(entry)) return fail(walk, 0);
    u64 reserved = always_reserved;
    if (pae) reserved |= 0x7ff0'0000'0000'0000u;
    if (!walk.nx_enabled()) reserved |= pte::ExecuteDisable::mask;
    if (level == 4) reserved |= pte::PageSize::mask;
    const bool leaf = level == 1 || (level <= 3 && pte::PageSize::get(entry));
    const u64 page_bytes = u64{1} << shift;
    if (leaf && level > 1) reserved |= (page_bytes - 1) & ~u64{0x1fff};  // bit 12 is PAT
    if (entry & reserved) return fail(walk, page_fault_code::present | page_fault_code::reserved);
    restrict_rights(walk, entry);
    if (leaf) return finish(walk, slot, entry & physical_mask & ~(page_bytes - 1), page_bytes, again);
    if (!set_bits(walk.cpu, slot, u64{pte::Accessed::mask})) {
      again = true;
      return {};
    }
    table = entry & physical_mask & ~u64{0xfff};
  }
}

// PAE: the directory pointers are registers, SDM vol. 3 §4.4.
Translation walk_pae(Walk& walk, bool& again) {
  const u64 pointer = walk.cpu.s.pdptrs[(walk.linear >> 30) & 3];
  if (!pte::Present::get(pointer)) return fail(walk, 0);
  return walk_long(walk, pointer & physical_mask & ~u64{0xfff}, 2, again);
}

// 32-bit paging with 4 MiB pages (PSE, PSE-36), SDM vol. 3 §4.3.
Translation walk_32(Walk& walk, bool& again) {
  Cpu& cpu = walk.cpu;
  auto directory = read_entry<u32>(cpu, (cpu.s.cr3 & 0xffff'f000u) | ((walk.linear >> 22) & 0x3ff) << 2);
  if (!pte::Present::get(directory.value)) return fail(walk, 0);
  restrict_rights(walk, directory.value);
  if (pte::PageSize::get(directory.value) && (cpu.s.cr4 & cr4::pse)) {
    if (directory.value & (1u << 21)) return fail(walk, page_fault_code::present | page_fault_code::reserved);
    const u64 high = Bits<13, 8>::get(directory.value);  // physical bits 32–39
    return finish(walk, directory, (directory.value & 0xffc0'0000u) | high << 32, u64{4} << 20, again);
  }
  if (!set_bits(cpu, directory, static_cast<u32>(pte::Accessed::mask))) {
    again = true;
    return {};
  }
  auto entry = read_entry<u32>(cpu, (directory.value & 0xffff'f000u) | ((walk.linear >> 12) & 0x3ff) << 2);
  if (!pte::Present::get(entry.value)) return fail(walk, 0);
  restrict_rights(walk, entry.value);
  return finish(walk, entry, entry.value & 0xffff'f000u, 4096, again);
}

}  // namespace

u8* host_of_physical(Cpu& cpu, u64 physical, bool& writable) {
  const PhysicalMemory::HostRange range = cpu.memory.host_range(physical);
  writable = range.writable;
  return range.data;
}

TlbTable current_table(const Cpu& cpu) {
  if (cpu.user) return TlbTable::user;
  const bool smap = (cpu.s.cr4 & cr4::smap) && !(cpu.other_flags & rflags::ac);
  return smap ? TlbTable::supervisor_smap : TlbTable::supervisor;
}

TlbTable system_table(const Cpu& cpu) {
  return cpu.s.cr4 & cr4::smap ? TlbTable::supervisor_smap : TlbTable::supervisor;
}

Translation translate(Cpu& cpu, u64 linear, AccessKind kind, TlbTable table) {
  if (!(cpu.s.cr0 & cr0::pg))
    return {.ok = true,
            .physical = linear & 0xffff'ffffu,
            .page_bytes = 4096,
            .readable = true,
            .writable = true,
            .executable = true};
  ++cpu.walks;
  for (;;) {
    bool again = false;
    Walk walk{cpu, linear, kind, table};
    Translation result;
    if (cpu.s.long_mode())
      result = walk_long(walk, cpu.s.cr3 & physical_mask & ~u64{0xfff}, 4, again);
    else if (cpu.s.cr4 & cr4::pae)
      result = walk_pae(walk, again);
    else
      result = walk_32(walk, again);
    if (!again) return result;
  }
}

namespace {

bool shown(Cpu& cpu, u64 linear, AccessKind kind, const Translation& page, const HostTranslation& to) {
  if (cpu.observer->access({.linear = linear,
                            .host = to.host,
                            .write = kind == AccessKind::write,
                            .readable = page.readable,
                            .writable = to.writable}))
    return true;
  cpu.fault = {.vector = run_alone};
  return false;
}

}  // namespace

HostTranslation translate_to_host(Cpu& cpu, u64 linear, AccessKind kind, TlbTable table) {
  const Translation page = translate(cpu, linear, kind, table);
  if (!page.ok) return {};
  HostTranslation result{.ok = true, .physical = page.physical};
  result.host = host_of_physical(cpu, page.physical, result.writable);
  if (cpu.observer && kind != AccessKind::fetch && !shown(cpu, linear, kind, page, result)) [[unlikely]]
    return {};
  if (!result.host) return result;
  u8* const host_page = result.host - (linear & (page_size - 1));
  const u64 ram_page = static_cast<u64>(host_page - cpu.ram) >> page_shift;
  cpu.tlbs.fill(table, linear,
                {.host_page = host_page,
                 .page = ram_page,
                 .watched = cpu.page_flags[ram_page].load(std::memory_order_relaxed) != 0,
                 .readable = page.readable,
                 .writable = page.writable && result.writable,
                 .executable = page.executable,
                 .global = page.global});
  if (page.page_bytes > 4096) cpu.tlbs.note_large_page(linear, page.page_bytes);
  return result;
}

}  // namespace doppel::interpreter
