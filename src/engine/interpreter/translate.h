// Linear to physical: the page-table walk of all four paging modes, with permissions, accessed and dirty bits.
// Intel SDM vol. 3 §4 (edition 085).
#pragma once

#include "engine/interpreter/cpu.h"

namespace doppel::interpreter {

struct Translation {
  bool ok = false;  // false: cpu.fault holds the page fault
  u64 physical = 0;
  u64 page_bytes = 4096;  // of the page that maps it
  // What else this table (supervisor_smap, supervisor, user) may do with the page without another walk.
  bool readable = false, writable = false, executable = false;
  bool global = false;  // stays when CR3 is written
};

// Walks the tables for one access, setting accessed and dirty bits atomically. `table` says with whose rights.
// Paging off: identity. Sets cpu.fault (#PF with its error code and address) on failure.
Translation translate(Cpu& cpu, u64 linear, AccessKind kind, TlbTable table);

// Translate and enter the result into the TLB (unless it is no RAM). The host address of the byte, or nullptr if it is not RAM or ROM.
struct HostTranslation {
  bool ok = false;
  u8* host = nullptr;     // RAM or ROM
  bool writable = false;  // RAM, not ROM
  u64 physical = 0;
};
HostTranslation translate_to_host(Cpu& cpu, u64 linear, AccessKind kind, TlbTable table);

// The rights of the current code.
TlbTable current_table(const Cpu& cpu);
// The rights of accesses that the processor makes by itself (supervisor, SMAP in force whatever AC says).
TlbTable system_table(const Cpu& cpu);

// Host address of a guest-physical byte and whether it may be written; nullptr if neither RAM nor ROM.
u8* host_of_physical(Cpu& cpu, u64 physical, bool& writable);

}  // namespace doppel::interpreter
