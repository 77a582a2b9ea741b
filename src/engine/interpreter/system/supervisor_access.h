// Accesses that the processor makes by itself (descriptor tables, task-state segments, frames of inner stacks): supervisor rights
// whatever the CPL, SMAP in force whatever RFLAGS.AC (SDM vol. 3 §4.6.1). A TLB probe in line, load_system/store_system otherwise.
#pragma once

#include "engine/interpreter/memory_access.h"

namespace doppel::interpreter {

[[gnu::always_inline]] inline TlbEntries& supervisor_table(Cpu& cpu) {
  return *cpu.tlbs.table(cpu.s.cr4 & x86::cr4::smap ? TlbTable::supervisor_smap : TlbTable::supervisor);
}

template <class T>
[[gnu::always_inline]] inline Loaded<T> load_supervisor(Cpu& cpu, u64 linear) {
  if (const u8* host = readable_at(supervisor_table(cpu), linear, sizeof(T))) [[likely]]
    return {get<T>(host), true};
  const Loaded<u64> slow = load_system(cpu, linear, sizeof(T));
  return {static_cast<T>(slow.value), slow.ok};
}

template <class T>
[[gnu::always_inline]] inline bool store_supervisor(Cpu& cpu, u64 linear, T value) {
  return store_system(cpu, linear, value, sizeof(T));
}

}  // namespace doppel::interpreter
