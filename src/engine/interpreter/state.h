// The processor in a saved machine: the same section under every engine.
#pragma once

#include "isa/x86/registers.h"
#include "state/archive.h"

namespace doppel::interpreter {

struct PendingEvents {
  u32 events = 0;
  u8 sipi_vector = 0;
  u64 pending_debug = 0;
};

// Loaded values are checked: nothing that an engine indexes or trusts comes through unchecked.
void save_or_load(state::Archive& archive, x86::X86State& state, PendingEvents& pending);

}  // namespace doppel::interpreter
