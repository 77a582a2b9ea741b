// The translator: an engine that turns 64-bit guest code into host code, block by block, and leaves the rest to the interpreter, whose
// machinery of events, faults and system instructions it shares. See README.md.
#pragma once

#include <memory>

#include "engine/vcpu.h"
#include "isa/x86/cpu_model.h"

namespace doppel {

// Whether PUSHFQ is the quickest way to save the status flags: with AMD's processors it takes more than twice as long as LAHF and SETO.
bool host_pushes_flags_quickly();

struct TranslatorOptions {
  u64 block_cache_bytes = u64{192} << 20;        // decoded blocks of all vCPUs together
  u64 translation_cache_bytes = u64{256} << 20;  // translated code of all vCPUs together
  x86::CpuModel cpu_model = x86::host_cpu_model();
  bool repeatable = false;  // as InterpreterOptions::repeatable; instruction budgets are then kept exactly by translated code
  unsigned longest_block = 48;  // instructions, at most; of 1, every instruction is translated by itself
  bool verify = false;          // everything translated is interpreted, too, and compared; repeatable only
  bool instruction_counts = true;  // Vcpu::instruction_count is kept; otherwise only what is interpreted counts, unless repeatable
  bool profile = false;   // counts how often each translated block is entered, for statistics()
  bool perf_map = false;  // names translated code for perf(1)
  u32 warm_up = 24;       // times that the interpreter executes a block before it is translated
  bool pushes_flags = host_pushes_flags_quickly();  // translated code saves the status flags by PUSHFQ
};

Result<std::unique_ptr<Engine>> make_translator(const TranslatorOptions& options = {});

}  // namespace doppel
