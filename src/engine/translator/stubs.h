// The way into translated code and out of it.
#pragma once

#include "engine/code_cache.h"
#include "engine/translator/frame.h"

namespace doppel::translator {

// Offsets into the code cache.
struct Stubs {
  u32 enter;   // u32 enter(Cpu*): runs from NativeState::resume, with the flags in saved_flags; the departure's index
  u32 depart;  // R15D is the departure's index
  u32 depart_lookup;  // the same, and R14 the branch's target
  u32 load_vectors;  // makes vectors_loaded what vectors_allowed says, if SSE is allowed; called with the host's stack: see emit
  u32 load_x87;  // the same for the prepared x87 state
  u32 end;       // where blocks begin
};

// Emits them at the start of the cache.
Stubs emit_stubs(const CodeCache& cache, const Cpu& cpu);

}  // namespace doppel::translator
