// All vCPUs in turn on the control thread, a fixed quantum of instructions each; alarms fire between two instructions, exactly
// at their deadlines. The host's events (the terminal, a signal) are looked at between quanta only.
#include <fmt/format.h>

#include <algorithm>

#include "machine/run_loop.h"

namespace doppel {

namespace {

class InterleavedRunLoop final : public RunLoop {
 public:
  InterleavedRunLoop(std::vector<Vcpu*> vcpus, EventLoop& loop, RequestBox& requests, InstructionClock& clock,
                     InterleavedOptions options)
      : vcpus_(std::move(vcpus)), loop_(loop), requests_(requests), clock_(clock), options_(options) {}

  // The one thread does nothing while the control code runs: there is nothing to stop.
  void start_vcpus() override {}
  void stop_vcpus() override {}
  void stop_io() override {}
  void start_io() override {}

  Request next_request() override {
    while (!requests_.pending()) step();
    Request request = requests_.take();
    requests_.handled();
    return request;
  }

  u64 total_instructions() const override { return clock_.total_instructions(); }

  void state(state::Archive& archive) override {
    archive.begin("turns", 1);
    archive(current_);
    archive(left_);
    archive(idle_turns_);
    archive.require(current_ < vcpus_.size() && left_ <= InterleavedOptions::quantum && idle_turns_ <= vcpus_.size(),
                    "turn");
    archive.end();
  }

  void wake(unsigned) override {}
  void interrupt() override {
    for (Vcpu* vcpu : vcpus_) vcpu->kick();
  }

 private:
  // A piece of the current vCPU's turn: up to the next alarm at most.
  void step() {
    clock_.fire_due();
    if (left_ == 0 || !vcpus_[current_]->runnable()) return next_turn();

    const u64 total = clock_.total_instructions();
    if (total >= options_.save_at) {  // never by cutting a turn short: that would make it another run
      options_.save_at = unlimited_budget;
      return requests_.post({.kind = Request::Kind::save});
    }
    u64 budget = left_;
    if (const auto deadline = clock_.next_deadline()) {
      const Nanoseconds now = clock_.now();
      budget = std::min(budget, *deadline > now ? *deadline - now : 1);
    }
    const VcpuExit exit = clock_.run(*vcpus_[current_], budget);
    left_ -= std::min(left_, clock_.total_instructions() - total);
    idle_turns_ = 0;
    if (const auto* fault = std::get_if<TripleFault>(&exit)) {
      requests_.post(
          {.kind = Request::Kind::failure,
           .message = fmt::format("the guest stopped: triple fault on CPU {} at {:#x}", current_, fault->rip)});
    } else if (const auto* difference = std::get_if<Diverged>(&exit)) {
      requests_.post({.kind = Request::Kind::failure, .message = difference->report});
    }
  }

  void next_turn() {
    current_ = (current_ + 1) % static_cast<u32>(vcpus_.size());
    left_ = InterleavedOptions::quantum;
    if (++turns_ % turns_per_poll == 0) loop_.run_once(0);
    // A whole round in which nobody could run: time goes on to the next alarm, or the host has to say something.
    if (++idle_turns_ <= vcpus_.size()) return;
    idle_turns_ = 0;
    if (const auto deadline = clock_.next_deadline()) {
      clock_.skip_to(*deadline);
    } else {
      loop_.run_once(-1);
    }
  }

  static constexpr u64 turns_per_poll = 32;

  const std::vector<Vcpu*> vcpus_;
  EventLoop& loop_;
  RequestBox& requests_;
  InstructionClock& clock_;
  InterleavedOptions options_;
  u32 current_ = 0;
  u64 left_ = InterleavedOptions::quantum;
  u32 idle_turns_ = 0;  // vCPUs in a row that had nothing to run
  u64 turns_ = 0;
};

}  // namespace

std::unique_ptr<RunLoop> make_interleaved_run_loop(std::vector<Vcpu*> vcpus, EventLoop& loop, RequestBox& requests,
                                                   InstructionClock& clock, InterleavedOptions options) {
  return std::make_unique<InterleavedRunLoop>(std::move(vcpus), loop, requests, clock, options);
}

}  // namespace doppel
