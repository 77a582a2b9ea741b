// The machines there are: picks the engine by name and wires the PC board.
#pragma once

#include <memory>

#include "machine/machine.h"

namespace doppel {

// "auto" is the fastest engine that works here. A usage error for an engine that does not exist.
Result<std::unique_ptr<Engine>> make_engine(const MachineSpec& spec);

Result<std::unique_ptr<Machine>> make_machine(const MachineSpec& spec);

}  // namespace doppel
