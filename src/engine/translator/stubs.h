// The way into translated code and out of it.
#pragma once

#include "engine/code_cache.h"
#include "engine/translator/frame.h"

namespace doppel::translator {

// Offsets into the code cache.
struct Stubs {
  u32 enter;  // u32 enter(NativeState*): runs from NativeState::resume, with the flags in saved_flags; the departure's index
  u32 depart;     // R15D is the departure's index
  u32 ret;        // the same as lookup, for RET: most are known without a look at the jump cache
  u32 no_return;  // where NativeState::no_return leads
  u32 lookup;     // goes to R14 with the flags saved, if the jump cache or Helpers::lookup knows it
  u32 link;       // the same as lookup, for a link that does not hold; now and then asks Helpers::link
  u32 gone;       // the same as lookup for a block that is no more: asks Helpers::lookup
  u32 system;     // asks Helpers::system, with the departure's index in R15D; departs if it refuses
  u32 refill;     // asks Helpers::refill for R14, the linear address; R15D is the Refill's index
  u32 load_vectors;  // makes vectors_loaded what vectors_allowed says, if SSE is allowed; called with the host's stack: see emit
  u32 load_x87;  // the same for the prepared x87 state
  u32 end;       // where blocks begin
};

// What translated code asks without being left: both return the host address to go on at. The guest's registers are in the host's or
// saved in the Cpu, in no order that may be relied on, and must not be looked at.
struct Helpers {
  void* owner;
  u64 (*refill)(void* owner, u64 linear, u32 refill);
  u64 (*lookup)(void* owner, u64 target);               // 0: not known, depart
  u64 (*link)(void* owner, u64 target, u32 departure);  // the same; the link may hold afterwards
  // For an instruction that changes registers, flags and privilege: those are in the Cpu, but for RBX and RBP. 0: NativeState::departure
  // tells what is to be done.
  u64 (*system)(void* owner, u64 unused, u32 departure);
};

// Emits them at the start of the cache.
Stubs emit_stubs(const CodeCache& cache, const Cpu& cpu, const Helpers& helpers);

}  // namespace doppel::translator
