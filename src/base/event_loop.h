// One thread's event loop: file descriptors, one-shot timers on the host's monotonic clock, and work posted from
// other threads. The machine's I/O thread runs one; everything in it runs on that thread.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "base/types.h"

namespace doppel {

class EventLoop {
 public:
  using Callback = std::function<void()>;
  using FdCallback = std::function<void(u32 events)>;  // EPOLLIN | EPOLLOUT | EPOLLHUP …

  static Result<std::unique_ptr<EventLoop>> create();
  ~EventLoop();

  // Loop thread only (or before run()).
  Result<> watch(int fd, u32 events, FdCallback callback);
  Result<> modify(int fd, u32 events);
  void unwatch(int fd);

  // Any thread. The callback runs on the loop thread, in the order of posting.
  void post(Callback callback);
  // Any thread. Runs until stop().
  void stop();

  void run();                     // blocks; on the thread that becomes the loop thread
  void run_once(int timeout_ms);  // one round: for tests and for the single-threaded deterministic machine
  bool on_loop_thread() const { return std::this_thread::get_id() == thread_.load(); }

 private:
  EventLoop() = default;
  void drain_posted();

  Fd epoll_;
  Fd wakeup_;  // eventfd
  std::atomic<std::thread::id> thread_{};
  bool stopping_ = false;
  std::mutex mutex_;  // guards posted_ and stopping_
  std::vector<Callback> posted_;
  std::map<int, std::shared_ptr<FdCallback>> watched_;
};

}  // namespace doppel
