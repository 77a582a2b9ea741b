// A machine before it exists: plain data, made by the command line (later: by the API) and checked by Machine::create.
#pragma once

#include <optional>
#include <string>

#include "base/result.h"
#include "base/types.h"
#include "board/board.h"
#include "isa/x86/cpu_model.h"

namespace doppel {

enum class ClockMode : u8 {
  host,          // real time; one thread per vCPU
  instructions,  // virtual time from instructions retired; one thread, reproducible
};

struct SaveAt {
  u64 instructions;  // of all vCPUs together; saved at the end of the turn (10,000 instructions at most) in which they are reached
  std::string path;
};

struct TraceSpec {
  bool instructions = false, exceptions = false, io = false, mmio = false, interrupts = false;
  std::string path;  // empty: standard error
  bool any() const { return instructions || exceptions || io || mmio || interrupts; }
};

// How the engine works; no part of the machine.
struct EngineSettings {
  bool verify = false;                           // the translator against the interpreter; instruction clock only
  u64 translation_cache_bytes = u64{256} << 20;  // of all vCPUs together
  bool profile = false;                          // count what translated code executes, for statistics
  bool perf_map = false;
};

struct MachineSpec {
  BoardSpec board;
  std::string engine = "auto";
  EngineSettings engine_settings;
  x86::CpuModel cpu_model = x86::host_cpu_model();
  ClockMode clock = ClockMode::host;
  bool no_reboot = false;         // a reset ends the machine
  std::string load;               // a saved machine to go on from, instead of booting
  std::optional<SaveAt> save_at;  // instruction clock only
  TraceSpec trace;
};

// A usage error for what no machine can be: too many vCPUs, memory that is not whole pages, save_at with the host clock …
Result<> validate(const MachineSpec& spec);
// "io+mmio" or "io+mmio,FILE".
Result<TraceSpec> parse_trace(std::string_view text);
// One "name=value" per line: what must be equal for a saved machine to be loaded into a new one. Paths of kernel and initrd
// are part of the machine since a reset loads them again; engine, console and traces are not.
std::string fingerprint(const MachineSpec& spec);
// "saved with cpus=2, this machine has cpus=1": the first line in which two fingerprints differ.
std::string describe_difference(std::string_view saved, std::string_view wanted);

}  // namespace doppel
