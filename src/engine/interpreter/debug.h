// Hardware breakpoints, Intel SDM vol. 3 §18.2. While any is enabled, cpu.debug_accesses sends every access to the slow path
// and the run loop goes instruction by instruction.
#pragma once

#include "engine/interpreter/cpu.h"

namespace doppel::interpreter {

// Adds DR6 bits to cpu.pending_debug for data and I/O breakpoints that [address, address + bytes) touches.
void note_data_access(Cpu& cpu, u64 linear, unsigned bytes, bool write);
void note_io_access(Cpu& cpu, u16 port, unsigned bytes);
// DR6 bits of the instruction breakpoints at this linear address.
u64 instruction_breakpoints(const Cpu& cpu, u64 linear);

}  // namespace doppel::interpreter
