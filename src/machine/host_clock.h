// Real time: CLOCK_MONOTONIC less the time spent paused. Alarms fire on the I/O thread, woken by a timerfd.
#pragma once

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <set>

#include "base/clock.h"
#include "base/event_loop.h"
#include "base/fd.h"
#include "base/result.h"

namespace doppel {

class HostClock final : public Clock {
 public:
  // Paused, at time 0.
  static Result<std::unique_ptr<HostClock>> create(EventLoop& loop);
  ~HostClock() override;

  Nanoseconds now() override;
  std::unique_ptr<Alarm> make_alarm(std::function<void()> callback) override;

  // Control thread. After pause() has returned no callback starts; one that is running is finished by parking the I/O thread.
  void pause();
  void resume();
  void set_now(Nanoseconds now);  // while paused: a loaded machine goes on where it was

 private:
  class HostAlarm;
  using Entry = std::pair<Nanoseconds, HostAlarm*>;
  static constexpr Nanoseconds ticking = ~Nanoseconds{0};

  explicit HostClock(EventLoop& loop) : loop_(loop) {}
  void fire();
  void arm();  // with mutex_ held

  EventLoop& loop_;
  Fd timer_;
  std::atomic<u64> origin_{0};            // host time of machine time 0
  std::atomic<Nanoseconds> standing_{0};  // the time at which the clock stands; `ticking` if it does not

  std::mutex mutex_;  // guards what follows
  std::condition_variable finished_;
  std::set<Entry> pending_;
  HostAlarm* firing_ = nullptr;
};

}  // namespace doppel
