// The local APIC's timer. Intel SDM vol. 3 §11.5.4 (edition 085). Its input clock runs at 1 GHz, which CPUID leaf 15h states
// as the crystal's frequency: one tick before division is one nanosecond of the Clock. The TSC runs at 1 GHz too:
// TSC = Clock + the processor's TSC offset.
//
// A stopped or masked timer costs nothing: the counter is computed when it is read, and the alarm is set only for expirations
// that interrupt. Deviation: periods shorter than `shortest_period` interrupt only so often, so that a guest cannot
// keep the I/O thread busy (ApicTimer.ShortPeriodsCoalesce).
#pragma once

#include <functional>
#include <memory>

#include "base/clock.h"
#include "state/archive.h"

namespace doppel {

// Guarded by its owner's lock throughout. Every member that takes `now` first settles what came due until then; the owner asks
// take_expired() afterwards, and arms at the end of whatever it did.
class ApicTimer {
 public:
  enum class Mode : u8 { one_shot, periodic, tsc_deadline, reserved };
  static constexpr u64 hertz = 1'000'000'000;
  static constexpr Nanoseconds shortest_period = 20'000;

  // `on_alarm` is called with no lock held; the owner locks and calls alarm_fired().
  ApicTimer(Clock& clock, std::function<void()> on_alarm)
      : clock_(clock), alarm_(clock.make_alarm(std::move(on_alarm))) {}

  void reset();
  void alarm_fired() { alarm_at_ = never; }
  // True once per expiration (or several that coalesced) while unmasked.
  bool take_expired();
  void arm();
  // From suspend() to resume() no alarm is set and nothing expires, even if an alarm was on its way already.
  void suspend();
  void resume() { suspended_ = false; }

  // The LVT's fields. Changing between TSC-deadline and the other modes disarms.
  void configure(Mode mode, bool masked);
  void set_initial_count(u32 count);
  void set_divide(u32 value);
  void set_tsc_deadline(u64 deadline);
  void set_tsc_offset(u64 offset);

  u32 initial_count() const { return initial_count_; }
  u32 current_count();
  u32 divide() const { return divide_; }
  u64 tsc_deadline();

  void state(state::Archive& archive);

 private:
  static constexpr Nanoseconds never = ~Nanoseconds{0};

  bool counts() const { return mode_ == Mode::one_shot || mode_ == Mode::periodic; }
  unsigned shift() const;
  u32 count_at(Nanoseconds now) const;
  void settle(Nanoseconds now);
  void schedule_deadline(Nanoseconds now);

  Clock& clock_;
  const std::unique_ptr<Alarm> alarm_;
  Mode mode_ = Mode::one_shot;
  bool masked_ = true;
  bool running_ = false;
  bool expired_ = false;  // not yet taken
  bool suspended_ = false;
  u32 initial_count_ = 0;
  u32 divide_ = 0;
  u64 tsc_deadline_ = 0;
  u64 tsc_offset_ = 0;
  Nanoseconds expiry_ = 0;        // while running_: when the count reaches zero or the TSC the deadline
  Nanoseconds alarm_at_ = never;  // what the alarm is set to
};

}  // namespace doppel
