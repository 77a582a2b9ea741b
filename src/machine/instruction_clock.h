// Virtual time: one nanosecond per instruction retired, by whichever vCPU, plus the idle time that was skipped. Everything
// happens on the machine's one thread, so that time, and with it the whole run, is a pure function of the machine's inputs.
//
// The vCPUs share this time: with n of them busy each gets one instruction in n nanoseconds. (A time per vCPU would let one
// see another's past, which a guest's TSC checks take for a broken machine.)
#pragma once

#include <map>
#include <optional>

#include "base/clock.h"
#include "engine/vcpu.h"
#include "state/archive.h"

namespace doppel {

class InstructionClock final : public Clock {
 public:
  // An alarm that is set while a vCPU runs fires no sooner than this, more than the instructions of a decoded block: engines
  // can stop exactly there, however they cut code into blocks.
  static constexpr Nanoseconds least_delay = 128;

  ~InstructionClock() override;
  Nanoseconds now() override;
  std::unique_ptr<Alarm> make_alarm(std::function<void()> callback) override;

  // ---- the run loop ----
  // Runs for at most `budget` instructions; returns early if an alarm set meanwhile is due earlier.
  VcpuExit run(Vcpu& vcpu, u64 budget);
  u64 total_instructions() const { return instructions_; }
  std::optional<Nanoseconds> next_deadline() const;
  void fire_due();
  void skip_to(Nanoseconds time);  // nothing to execute until then

  void state(state::Archive& archive);  // between two instructions; devices set their alarms anew when they are loaded

 private:
  class InstructionAlarm;
  struct Key {
    Nanoseconds deadline;
    u64 number;  // alarms of one time fire in the order in which they were made
    auto operator<=>(const Key&) const = default;
  };

  u64 instructions_ = 0;  // of all vCPUs, at the start of the current run()
  Nanoseconds idle_ = 0;
  Vcpu* running_ = nullptr;
  u64 running_since_ = 0;       // its instruction_count() at the start
  Nanoseconds window_end_ = 0;  // when the current run() ends at the latest
  u64 alarms_made_ = 0;
  std::map<Key, InstructionAlarm*> pending_;
};

}  // namespace doppel
