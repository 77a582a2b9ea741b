// Changing the address space: what MOV CR3 and task switches do to the TLB. Internal to system/.
#pragma once

#include "engine/interpreter/cpu.h"

namespace doppel::interpreter {

// The caller calls update_mode() afterwards. `keep`: what was cached under this PCID stays.
inline void switch_address_space(Cpu& cpu, u16 pcid, bool keep) {
  constexpr u64 first_asid = 1;
  const u64 flushes = cpu.tlbs.flushes, before = cpu.tlbs.asid();
  cpu.tlbs.switch_address_space(pcid, keep);
  if (cpu.tlbs.asid() == before) return;
  // Fresh ASIDs ascend; the first one again means that they have all been used and start over. The jump cache is not emptied
  // with the TLB, so its entries must not take the new address spaces for the old ones.
  const bool again = cpu.tlbs.flushes != flushes && cpu.tlbs.asid() == first_asid;
  if (again || cpu.local_jumps) [[unlikely]]
    cpu.forget_jumps();
}

}  // namespace doppel::interpreter
