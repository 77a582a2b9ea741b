// See page_walk.h.
#include "isa/x86/page_walk.h"

#include "isa/x86/paging.h"

namespace doppel::x86 {
namespace {

// One radix tree: `levels` tables of 2^index_bits entries, from the table at `table`.
std::optional<u64> walk(const PhysicalReader& read, u64 table, unsigned levels, unsigned index_bits, u64 linear,
                        bool large_pages) {
  const unsigned entry_bytes = index_bits == 10 ? 4 : 8;
  for (unsigned level = levels; level > 0; --level) {
    const unsigned shift = 12 + index_bits * (level - 1);
    const u64 index = linear >> shift & low_bits(index_bits);
    const auto entry = read(table + index * entry_bytes, entry_bytes);
    if (!entry || !pte::Present::get(*entry)) return std::nullopt;
    u64 next = *entry & physical_mask & ~low_bits(12);
    const bool page = level == 1 || (level <= 3 && large_pages && pte::PageSize::get(*entry));
    if (!page) {
      table = next;
      continue;
    }
    // 4-MiB pages have bits 32–39 of their address in bits 13–20 (PSE-36).
    if (entry_bytes == 4 && level == 2) next = (*entry & 0xffc0'0000) | Bits<13, 8>::get(*entry) << 32;
    return (next & ~low_bits(shift)) | (linear & low_bits(shift));
  }
  return std::nullopt;
}

}  // namespace

std::optional<u64> page_walk(const X86State& state, u64 linear, const PhysicalReader& read) {
  if (!(state.cr0 & cr0::pg)) return static_cast<u32>(linear);
  if (state.long_mode()) return walk(read, state.cr3 & physical_mask & ~low_bits(12), 4, 9, linear, true);
  linear = static_cast<u32>(linear);
  if (!(state.cr4 & cr4::pae)) return walk(read, state.cr3 & 0xffff'f000, 2, 10, linear, state.cr4 & cr4::pse);
  const u64 directory_pointer = state.pdptrs[linear >> 30];
  if (!pte::Present::get(directory_pointer)) return std::nullopt;
  return walk(read, directory_pointer & physical_mask & ~low_bits(12), 2, 9, linear, true);
}

}  // namespace doppel::x86
