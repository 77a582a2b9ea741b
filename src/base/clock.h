// Time as everything below machine/ sees it. The machine provides one Clock: `host` follows the host's monotonic clock,
// `instructions` derives time from instructions retired, so that a run is a pure function of its inputs.
#pragma once

#include <functional>
#include <memory>

#include "base/types.h"

namespace doppel {

// Nanoseconds since the machine was created; stands still while the machine is paused.
using Nanoseconds = u64;

class Clock;

// A one-shot alarm. Owned by the device that it serves; destroying it cancels it.
// The callback runs on the machine's I/O thread (host clock) or between two instructions of the machine's only thread
// (instruction clock), with no lock held. The device's own lock, taken in the callback, orders it against accesses.
class Alarm {
 public:
  virtual ~Alarm() = default;
  // Any thread. Replaces an earlier deadline; one that is past fires at once (but never inside this call).
  virtual void set(Nanoseconds deadline) = 0;
  // Any thread. The callback may still be starting on the I/O thread: a device re-checks its state in the callback.
  virtual void cancel() = 0;
};

class Clock {
 public:
  virtual ~Clock() = default;
  virtual Nanoseconds now() = 0;  // any thread; monotonic
  virtual std::unique_ptr<Alarm> make_alarm(std::function<void()> callback) = 0;
};

// Ticks of a counter of `hertz` in `time`, exact for any 64-bit time (128-bit intermediate).
constexpr u64 ticks_of(Nanoseconds time, u64 hertz) { return static_cast<u64>(u128{time} * hertz / 1'000'000'000u); }
// The earliest time at which ticks_of(time, hertz) >= ticks.
constexpr Nanoseconds time_of_ticks(u64 ticks, u64 hertz) {
  return static_cast<u64>((u128{ticks} * 1'000'000'000u + hertz - 1) / hertz);
}

}  // namespace doppel
