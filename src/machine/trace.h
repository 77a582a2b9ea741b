// --trace: what the vCPUs do, one line each, to a file. Off, it costs nothing: engines see null hooks.
#pragma once

#include <cstdio>
#include <memory>
#include <mutex>
#include <vector>

#include "base/result.h"
#include "engine/vcpu.h"
#include "machine/spec.h"

namespace doppel {

class Trace {
 public:
  static Result<std::unique_ptr<Trace>> create(const TraceSpec& spec, unsigned cpus, PhysicalMemory& memory);
  const TraceHooks* hooks(unsigned cpu) const { return &hooks_[cpu]; }

 private:
  struct CloseFile {
    void operator()(std::FILE* file) const;
  };
  explicit Trace(PhysicalMemory& memory) : memory_(memory) {}
  std::string instruction_at(const x86::X86State& state) const;
  void line(unsigned cpu, std::string_view text);
  TraceHooks make_hooks(const TraceSpec& spec, unsigned cpu);

  Dma memory_;
  std::unique_ptr<std::FILE, CloseFile> file_;
  std::mutex mutex_;  // lines of several vCPUs stay whole
  std::vector<TraceHooks> hooks_;
};

}  // namespace doppel
