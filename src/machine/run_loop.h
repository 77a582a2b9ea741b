// Who executes the vCPUs. Two ways: a thread for each (host clock), or all of them in turn on one (instruction clock).
#pragma once

#include <memory>
#include <vector>

#include "base/event_loop.h"
#include "engine/vcpu.h"
#include "machine/instruction_clock.h"
#include "machine/request.h"
#include "state/archive.h"

namespace doppel {

class RunLoop {
 public:
  virtual ~RunLoop() = default;

  // ---- control thread ----
  virtual void start_vcpus() = 0;
  // When it returns no vCPU executes, until start_vcpus().
  virtual void stop_vcpus() = 0;
  // When it returns no callback of the EventLoop runs or starts, until start_io().
  virtual void stop_io() = 0;
  virtual void start_io() = 0;
  // Waits for a request; with the instruction clock this is what executes the vCPUs.
  virtual Request next_request() = 0;
  // While stopped.
  virtual u64 total_instructions() const = 0;
  virtual void state(state::Archive& archive) = 0;

  // Any thread: an event for that vCPU came, which may be halted.
  virtual void wake(unsigned cpu) = 0;
  // Any thread: all vCPUs leave run() and look at the requests.
  virtual void interrupt() = 0;
};

// Takes the vCPUs in any order of creation; they and the EventLoop outlive it.
std::unique_ptr<RunLoop> make_threaded_run_loop(std::vector<Vcpu*> vcpus, EventLoop& loop, RequestBox& requests);

struct InterleavedOptions {
  static constexpr u64 quantum = 10'000;  // instructions
  // Posts a `save` request as soon as so many are executed, between two turns or pieces of turns as they are anyway.
  u64 save_at = unlimited_budget;
};
std::unique_ptr<RunLoop> make_interleaved_run_loop(std::vector<Vcpu*> vcpus, EventLoop& loop, RequestBox& requests,
                                                   InstructionClock& clock, InterleavedOptions options);

}  // namespace doppel
