// When a device works on what the guest gave it. A notification on a vCPU thread asks for the work (but for what
// VirtioDevice::work_at_once() does there); it runs
//   host clock          on the I/O thread's event loop, as soon as that gets to it; requests complete when the host is done
//   instruction clock   on the machine's only thread, a fixed virtual time later; requests complete before it returns,
//                       so that completions come at points that depend on the guest alone
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>

#include "base/clock.h"
#include "base/event_loop.h"
#include "state/archive.h"

namespace doppel {

class CompletionPolicy {
 public:
  static CompletionPolicy immediate(EventLoop& loop) { return {&loop, nullptr, 0}; }
  // `delay` is at least the least delay of the clock's alarms, so that an alarm fires exactly then.
  static CompletionPolicy fixed_delay(Clock& clock, Nanoseconds delay) { return {nullptr, &clock, delay}; }

  bool synchronous() const { return clock_ != nullptr; }

 private:
  friend class Deferred;
  CompletionPolicy(EventLoop* loop, Clock* clock, Nanoseconds delay) : loop_(loop), clock_(clock), delay_(delay) {}

  EventLoop* loop_;
  Clock* clock_;
  Nanoseconds delay_;
};

// One piece of work, asked for any number of times and then done once.
class Deferred {
 public:
  Deferred(const CompletionPolicy& policy, std::function<void()> work);
  ~Deferred() { stop(); }
  Deferred(const Deferred&) = delete;
  Deferred& operator=(const Deferred&) = delete;

  // Any thread; cheap when asked already. What was written before it is seen by the work.
  void request();
  // For good: waits for work that is running; none starts afterwards. Not with a lock that the work takes.
  void stop();
  // Forgets an alarm that was set; work posted to a loop still runs.
  void reset();

  // Paused. With a fixed delay the deadline is state; otherwise the owner asks again after loading.
  void state(state::Archive& archive);

 private:
  struct Shared {
    std::mutex mutex;            // held while the work runs
    std::function<void()> work;  // empty: the owner is gone
    std::atomic<bool> requested = false;
  };
  static void run(Shared& shared);

  const CompletionPolicy policy_;
  std::shared_ptr<Shared> shared_;  // also held by what is posted
  std::unique_ptr<Alarm> alarm_;
  std::atomic<u64> deadline_ = 0;
};

}  // namespace doppel
