// The guest's x87 state on its way to the host's unit and back (NativeState::x87_image).
#pragma once

#include "engine/interpreter/cpu.h"

namespace doppel::translator {

// Whether x87 and MMX instructions can run on the host's unit: none of them faults or has an exception unmasked.
bool x87_allowed(const interpreter::Cpu& cpu);

// Before translated code is entered that needs the unit.
void prepare_x87(interpreter::Cpu& cpu);

// After translated code was left: takes over what it did. False: it did not use the unit.
bool collect_x87(interpreter::Cpu& cpu);

}  // namespace doppel::translator
