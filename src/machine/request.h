// What ends or interrupts the vCPUs' run: asked for by the guest through a device, by a processor, or by the host.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <string>

#include "base/types.h"

namespace doppel {

struct Request {
  enum class Kind : u8 { reset, power_off, exit, failure, save };
  Kind kind;
  int exit_code = 0;      // exit
  std::string message{};  // failure: one line for the user
};

// From any thread to the control thread. While one is pending no vCPU starts to run.
class RequestBox {
 public:
  void post(Request request) {
    const std::lock_guard lock(mutex_);
    requests_.push_back(std::move(request));
    pending_.store(true, std::memory_order_seq_cst);
    posted_.notify_all();
  }
  bool pending() const { return pending_.load(std::memory_order_seq_cst); }
  Request take() {  // waits for one
    std::unique_lock lock(mutex_);
    posted_.wait(lock, [this] { return !requests_.empty(); });
    Request request = std::move(requests_.front());
    requests_.pop_front();
    return request;
  }
  // The control thread has acted on what it took; vCPUs may run again unless more came.
  void handled() {
    const std::lock_guard lock(mutex_);
    pending_.store(!requests_.empty(), std::memory_order_seq_cst);
  }

 private:
  std::mutex mutex_;
  std::condition_variable posted_;
  std::deque<Request> requests_;
  std::atomic<bool> pending_{false};
};

}  // namespace doppel
