// The interpreter: the engine that every other is checked against. Executes decoded blocks in order, one instruction at a time, in
// every mode of the processor. See README.md for how its parts fit.
#pragma once

#include <memory>

#include "engine/vcpu.h"
#include "isa/x86/cpu_model.h"

namespace doppel {

struct InterpreterOptions {
  u64 block_cache_bytes = u64{24} << 20;            // decoded blocks of all vCPUs together
  x86::CpuModel cpu_model = x86::host_cpu_model();  // no more than the host has
  bool repeatable = false;  // under an instruction clock: RDRAND and RDSEED depend on the instruction count alone
};

std::unique_ptr<Engine> make_interpreter(const InterpreterOptions& options = {});

}  // namespace doppel
