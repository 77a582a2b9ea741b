// A Clock that a test turns by hand: advance(ns) fires what falls due, in order of deadline (of setting, where equal), with
// now() standing at each deadline. Single-threaded. The clock must outlive its alarms.
#pragma once

#include <algorithm>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/clock.h"

namespace doppel::testing {

class FakeClock final : public Clock {
 public:
  FakeClock() = default;
  ~FakeClock() override { CHECK(alarms_.empty()); }

  Nanoseconds now() override { return now_; }

  std::unique_ptr<Alarm> make_alarm(std::function<void()> callback) override {
    auto alarm = std::make_unique<FakeAlarm>(*this, std::move(callback));
    alarms_.push_back(alarm.get());
    return alarm;
  }

  // Callbacks may set, cancel, make and destroy alarms; advance(0) fires what is already due.
  void advance(Nanoseconds duration) {
    const Nanoseconds end = now_ + duration;
    while (FakeAlarm* alarm = next_due(end)) {
      now_ = std::max(now_, alarm->deadline);
      alarm->armed = false;
      ++fired_;
      const auto callback = alarm->callback;  // the callback may destroy its alarm
      callback();
    }
    now_ = end;
  }

  // For tests of idle cost: how many alarms are armed, how many have fired, and when the next is due (~0: never).
  unsigned armed() const {
    return static_cast<unsigned>(
        std::count_if(alarms_.begin(), alarms_.end(), [](auto* alarm) { return alarm->armed; }));
  }
  u64 fired() const { return fired_; }
  Nanoseconds next_deadline() const {
    Nanoseconds deadline = ~Nanoseconds{0};
    for (const FakeAlarm* alarm : alarms_)
      if (alarm->armed) deadline = std::min(deadline, alarm->deadline);
    return deadline;
  }

 private:
  struct FakeAlarm final : Alarm {
    FakeAlarm(FakeClock& owner, std::function<void()> on_due) : clock(owner), callback(std::move(on_due)) {}
    ~FakeAlarm() override { std::erase(clock.alarms_, this); }
    void set(Nanoseconds at) override {
      armed = true;
      deadline = at;
      order = ++clock.sets_;
    }
    void cancel() override { armed = false; }

    FakeClock& clock;
    const std::function<void()> callback;
    bool armed = false;
    Nanoseconds deadline = 0;
    u64 order = 0;
  };

  FakeAlarm* next_due(Nanoseconds end) const {
    FakeAlarm* next = nullptr;
    for (FakeAlarm* alarm : alarms_) {
      if (!alarm->armed || alarm->deadline > end) continue;
      if (!next || std::pair(alarm->deadline, alarm->order) < std::pair(next->deadline, next->order)) next = alarm;
    }
    return next;
  }

  Nanoseconds now_ = 0;
  u64 sets_ = 0;
  u64 fired_ = 0;
  std::vector<FakeAlarm*> alarms_;
};

}  // namespace doppel::testing
