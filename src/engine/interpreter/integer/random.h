// Where RDRAND and RDSEED get their numbers: Cpu::random is one of these.
#pragma once

#include "engine/interpreter/cpu.h"

namespace doppel::interpreter {

// The host's generator (getrandom), through a small buffer of the vCPU's. The default.
u64 host_random(Cpu& cpu, const Op* op);
// A function of the vCPU's index and the instructions it has retired: for runs that must repeat exactly. It has no state of its own,
// so a saved machine goes on with the same numbers. Not secret.
u64 instruction_random(Cpu& cpu, const Op* op);

}  // namespace doppel::interpreter
