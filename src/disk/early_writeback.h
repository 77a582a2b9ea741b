// Which parts of files have been written all through by large requests, and may as well go to the medium now. The host would
// begin with that seconds later, or when it is told to sync, and then the writer waits for all of it.
//
// Data that a guest sends in large requests has left its own cache: it is there to stay. Small requests do not count.
#pragma once

#include <algorithm>
#include <array>
#include <mutex>
#include <vector>

#include "base/types.h"

namespace doppel::disk {

class EarlyWriteback {
 public:
  static constexpr u64 stretch_bytes = u64{4} << 20, least_request = u64{64} << 10;
  // So much of a stretch must be written. Not all: drivers cut what has more pages than a request may have, 1 MiB into 254
  // pages and 2, and small requests do not count.
  static constexpr u64 enough_bytes = stretch_bytes / 32 * 31;

  // Where the stretches begin that are written now. Any thread.
  std::vector<u64> wrote(int fd, u64 offset, u64 bytes) {
    std::vector<u64> complete;
    if (bytes < least_request) return complete;
    const std::lock_guard lock(mutex_);
    for (const u64 end = offset + bytes; offset < end;) {
      const u64 index = offset / stretch_bytes, part = std::min(end, (index + 1) * stretch_bytes) - offset;
      Counter& counter = counter_of(fd, index);
      counter.written += part;
      offset += part;
      if (counter.written < enough_bytes) continue;
      complete.push_back(index * stretch_bytes);
      counter = {};
    }
    return complete;
  }

 private:
  struct Counter {
    int fd = -1;
    u64 index = 0, written = 0;
  };
  // Writers that take turns need one each; when there are more, the oldest starts anew.
  Counter& counter_of(int fd, u64 index) {
    for (Counter& counter : counters_) {
      if (counter.fd == fd && counter.index == index) return counter;
    }
    Counter& counter = counters_[next_++ % counters_.size()];
    counter = {.fd = fd, .index = index};
    return counter;
  }

  std::mutex mutex_;
  std::array<Counter, 128> counters_;  // 16 writers of a stripe each drift apart by hundreds of MiB
  unsigned next_ = 0;
};

}  // namespace doppel::disk
