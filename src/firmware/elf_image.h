// A kernel as an ELF executable with a PVH entry point: the note XEN_ELFNOTE_PHYS32_ENTRY names it.
// System V ABI chapter 4 and 5 (ELF); Xen, docs/misc/pvh.pandoc and xen/include/public/elfnote.h. 32- and 64-bit files for
// i386 and x86-64. Sections, symbols and relocations are not looked at.
#pragma once

#include <span>
#include <vector>

#include "base/result.h"
#include "base/types.h"
#include "firmware/bzimage.h"

namespace doppel::firmware {

struct ElfImage {
  struct Segment {
    u64 physical_address;
    std::span<const u8> bytes;  // into the image
    u64 memory_size;            // at least bytes.size(); the rest is zero
  };
  std::vector<Segment> segments;  // sorted by address, disjoint, none empty
  u32 entry;                      // 32-bit protected mode, inside a segment
};

bool is_elf(std::span<const u8> image);
Result<ElfImage> parse_elf(NamedBytes image);

}  // namespace doppel::firmware
