// See host_clock.h.
#include "machine/host_clock.h"

#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "base/check.h"
#include "base/units.h"

namespace doppel {

namespace {

u64 host_nanoseconds() {
  struct timespec time{};
  ::clock_gettime(CLOCK_MONOTONIC, &time);
  return static_cast<u64>(time.tv_sec) * nanoseconds_per_second + static_cast<u64>(time.tv_nsec);
}

// Deadlines beyond this are as good as never, and stay clear of overflow.
constexpr Nanoseconds never = u64{1} << 62;

}  // namespace

class HostClock::HostAlarm final : public Alarm {
 public:
  HostAlarm(HostClock& clock, std::function<void()> callback) : clock_(clock), callback_(std::move(callback)) {}
  ~HostAlarm() override {
    std::unique_lock lock(clock_.mutex_);
    clock_.pending_.erase({deadline_, this});
    if (!clock_.loop_.on_loop_thread()) clock_.finished_.wait(lock, [&] { return clock_.firing_ != this; });
  }

  void set(Nanoseconds deadline) override {
    const std::lock_guard lock(clock_.mutex_);
    if (set_ && deadline == deadline_) return;
    const bool was_first = remove();
    deadline_ = std::min(deadline, never);
    set_ = true;
    const auto place = clock_.pending_.insert({deadline_, this}).first;
    if (was_first || place == clock_.pending_.begin()) clock_.arm();
  }
  void cancel() override {
    const std::lock_guard lock(clock_.mutex_);
    remove();  // the timer may fire for nothing, once: cheaper than arming it anew for each cancelled deadline
  }

 private:
  friend HostClock;
  // Returns whether it was the earliest.
  bool remove() {
    if (!set_) return false;
    set_ = false;
    const bool first = clock_.pending_.begin()->second == this;
    clock_.pending_.erase({deadline_, this});
    return first;
  }

  HostClock& clock_;
  const std::function<void()> callback_;
  Nanoseconds deadline_ = 0;
  bool set_ = false;
};

Result<std::unique_ptr<HostClock>> HostClock::create(EventLoop& loop) {
  std::unique_ptr<HostClock> clock(new HostClock(loop));
  clock->timer_ = Fd(::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
  if (!clock->timer_) return fail_errno("cannot create a timer");
  HostClock& self = *clock;
  TRY(loop.watch(clock->timer_.get(), EPOLLIN, [&self](u32) { self.fire(); }));
  return clock;
}

HostClock::~HostClock() {
  CHECK(pending_.empty());  // every device is gone by now
  loop_.unwatch(timer_.get());
}

Nanoseconds HostClock::now() {
  const Nanoseconds standing = standing_.load(std::memory_order_acquire);
  if (standing != ticking) return standing;
  return host_nanoseconds() - origin_.load(std::memory_order_relaxed);
}

std::unique_ptr<Alarm> HostClock::make_alarm(std::function<void()> callback) {
  return std::make_unique<HostAlarm>(*this, std::move(callback));
}

void HostClock::pause() {
  const std::lock_guard lock(mutex_);
  standing_.store(now(), std::memory_order_release);
  arm();
}

void HostClock::resume() {
  const std::lock_guard lock(mutex_);
  if (standing_.load() == ticking) return;
  origin_.store(host_nanoseconds() - standing_.load(), std::memory_order_relaxed);
  standing_.store(ticking, std::memory_order_release);
  arm();
}

void HostClock::set_now(Nanoseconds now) {
  CHECK(standing_.load() != ticking);
  standing_.store(std::min(now, never), std::memory_order_release);
}

void HostClock::arm() {
  struct itimerspec when{};
  if (standing_.load() == ticking && !pending_.empty()) {
    const u64 host = std::max<u64>(origin_.load() + pending_.begin()->first, 1);
    when.it_value.tv_sec = static_cast<time_t>(host / nanoseconds_per_second);
    when.it_value.tv_nsec = static_cast<long>(host % nanoseconds_per_second);
  }
  CHECK(::timerfd_settime(timer_.get(), TFD_TIMER_ABSTIME, &when, nullptr) == 0);
}

void HostClock::fire() {
  u64 expirations;
  (void)!::read(timer_.get(), &expirations, sizeof expirations);
  std::unique_lock lock(mutex_);
  // At most as many as are pending now: an alarm that always sets itself into the past must not starve the loop.
  for (std::size_t round = pending_.size(); round > 0 && !pending_.empty(); --round) {
    HostAlarm* alarm = pending_.begin()->second;
    if (standing_.load() != ticking || pending_.begin()->first > now()) break;
    pending_.erase(pending_.begin());
    alarm->set_ = false;
    firing_ = alarm;
    lock.unlock();
    alarm->callback_();
    lock.lock();
    firing_ = nullptr;
    finished_.notify_all();
  }
  arm();
}

}  // namespace doppel
