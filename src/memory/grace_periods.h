// Grace periods: whether every vCPU has been between two blocks of guest code since a moment.
//
// Engines store by what they know of a page's flag byte, and go on with a block that was overwritten until they next look up. What must not
// meet either waits for a grace period. Nobody blocks for one: who wants it asks later whether it is over.
#pragma once

#include <algorithm>
#include <atomic>
#include <functional>
#include <utility>
#include <vector>

#include "base/types.h"

namespace doppel {

class GracePeriods {
 public:
  // One vCPU. While it is outside, as at first, no grace period waits for it.
  class Member {
   public:
    // `hurry` makes it come to pass() soon. Any thread; must not block. `catch_up` is what it does there, before the periods that began
    // earlier end for it. Members come and go while the machine is not running.
    Member(
        GracePeriods& periods, std::function<void()> hurry, std::function<void()> catch_up = [] {})
        : periods_(periods), hurry_(std::move(hurry)), catch_up_(std::move(catch_up)) {
      periods_.members_.push_back(this);
    }
    ~Member() { std::erase(periods_.members_, this); }
    Member(const Member&) = delete;
    Member& operator=(const Member&) = delete;

    // The vCPU's thread. A full fence each: what it looks at afterwards is not older than the periods that it thereby ends.
    void pass() {  // between two blocks
      const u64 started = periods_.started_.load();
      catch_up_();
      seen_.store(started, std::memory_order_seq_cst);
    }
    void leave() { seen_.store(outside, std::memory_order_seq_cst); }  // back by pass()

   private:
    friend class GracePeriods;
    static constexpr u64 outside = ~u64{0};

    GracePeriods& periods_;
    const std::function<void()> hurry_, catch_up_;
    std::atomic<u64> seen_{outside};
  };

  // Any thread. Begins a period that ends when all members but `self`, who is between two blocks, have passed or are outside.
  u64 start(const Member* self = nullptr) {
    const u64 period = started_.fetch_add(1) + 1;
    for (const Member* member : members_)
      if (member != self && member->seen_.load() < period) member->hurry_();
    return period;
  }
  bool over(u64 period, const Member* self = nullptr) const {
    return std::all_of(members_.begin(), members_.end(),
                       [&](const Member* member) { return member == self || member->seen_.load() >= period; });
  }

 private:
  std::atomic<u64> started_{0};
  std::vector<Member*> members_;
};

}  // namespace doppel
