// Who works on which clusters: ranges that one coroutine changes at a time, and which requests are still under way.
#pragma once

#include <algorithm>
#include <deque>
#include <list>

#include "disk/task.h"

namespace doppel::disk::qcow2 {

// Ranges of guest clusters, held by whoever changes what they lead to. Granted in the order of asking.
class RangeLocks {
 public:
  explicit RangeLocks(Strand& strand) : strand_(strand) {}

  struct Range {
    u64 first, last;
    std::coroutine_handle<> waiter{};
    bool overlaps(const Range& other) const { return first <= other.last && other.first <= last; }
  };
  class Held {
   public:
    Held(RangeLocks& locks, u64 first, u64 last) : locks_(locks), range_{first, last} {}
    Held(const Held&) = delete;
    Held& operator=(const Held&) = delete;
    ~Held() {
      if (held_) locks_.release(range_);
    }
    // co_await range;
    bool await_ready() {
      if (!locks_.free(range_, locks_.waiting_.end())) return false;
      locks_.held_.push_back(range_);
      return held_ = true;
    }
    void await_suspend(std::coroutine_handle<> waiter) {
      range_.waiter = waiter;
      locks_.waiting_.push_back(range_);
      held_ = true;  // when it resumes
    }
    static void await_resume() {}

   private:
    RangeLocks& locks_;
    Range range_;
    bool held_ = false;
  };

 private:
  // Nobody holds it, and nobody before `until` waits for it.
  bool free(const Range& range, std::list<Range>::const_iterator until) const {
    const auto overlaps = [&](const Range& other) { return other.overlaps(range); };
    return std::ranges::none_of(held_, overlaps) && std::none_of(waiting_.begin(), until, overlaps);
  }
  void release(const Range& range) {
    held_.erase(std::ranges::find_if(held_, [&](const Range& other) { return other.first == range.first; }));
    for (auto next = waiting_.begin(); next != waiting_.end();) {
      if (!free(*next, next)) {
        ++next;
        continue;
      }
      held_.push_back(*next);
      strand_.ready(next->waiter);
      next = waiting_.erase(next);
    }
  }

  Strand& strand_;
  std::list<Range> held_, waiting_;
};

// Requests that may still touch clusters of the file. A cluster that was given up may be used anew only when all requests
// that began before are over: they may have looked it up.
class UnderWay {
 public:
  u64 begin() {
    over_.push_back(false);
    return first_ + over_.size() - 1;
  }
  void end(u64 ticket) {
    over_[ticket - first_] = true;
    while (!over_.empty() && over_.front()) {
      over_.pop_front();
      ++first_;
    }
  }
  u64 next() const { return first_ + over_.size(); }
  bool all_before(u64 ticket) const { return first_ >= ticket; }

 private:
  std::deque<bool> over_;
  u64 first_ = 0;  // the oldest that is not over
};

}  // namespace doppel::disk::qcow2
