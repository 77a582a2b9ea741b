// The I/O engine on a few threads that block in ordinary system calls: for hosts and sandboxes without io_uring.
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <thread>

#include "disk/io_engine.h"

namespace doppel::disk {

namespace {

class ThreadEngine final : public IoEngine {
 public:
  static constexpr unsigned max_threads = 4;

  explicit ThreadEngine(EventLoop& loop) : IoEngine(loop) {}

  Result<> open() {
    event_ = Fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!event_) return fail_errno("cannot create an eventfd");
    return loop_.watch(event_.get(), EPOLLIN, [this](u32) { run_finished(); });
  }

  ~ThreadEngine() override {
    loop_.unwatch(event_.get());
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    work_.notify_all();
    for (auto& thread : threads_) thread.join();
  }

  std::string_view name() const override { return "threads"; }

 protected:
  // Threads come into being as requests wait for one.
  void start(OperationPtr operation) override {
    const std::lock_guard lock(mutex_);
    waiting_.push_back(std::move(operation));
    if (idle_threads_ < waiting_.size() && threads_.size() < max_threads) threads_.emplace_back([this] { work(); });
    work_.notify_one();
  }

  void reap(std::vector<OperationPtr>& finished) override {
    u64 count = 0;
    (void)!::read(event_.get(), &count, sizeof count);
    const std::lock_guard lock(mutex_);
    finished.swap(finished_);
  }

  void wait(int timeout_ms) override {
    pollfd poll{.fd = event_.get(), .events = POLLIN, .revents = 0};
    ::poll(&poll, 1, timeout_ms);
  }

  void cancel_waiting(std::vector<OperationPtr>& cancelled) override {
    const std::lock_guard lock(mutex_);
    for (auto& operation : waiting_) cancelled.push_back(std::move(operation));
    waiting_.clear();
  }

 private:
  void work() {
    std::unique_lock lock(mutex_);
    for (;;) {
      ++idle_threads_;
      work_.wait(lock, [this] { return stopping_ || !waiting_.empty(); });
      --idle_threads_;
      if (waiting_.empty()) return;  // stopping
      OperationPtr operation = std::move(waiting_.front());
      waiting_.pop_front();
      lock.unlock();
      while (!advance(*operation, perform(*operation))) {
      }
      lock.lock();
      finished_.push_back(std::move(operation));
      const u64 one = 1;
      (void)!::write(event_.get(), &one, sizeof one);
    }
  }

  Fd event_;
  std::mutex mutex_;  // guards what follows
  std::condition_variable work_;
  std::deque<OperationPtr> waiting_;
  std::vector<OperationPtr> finished_;
  std::vector<std::thread> threads_;
  std::size_t idle_threads_ = 0;
  bool stopping_ = false;
};

}  // namespace

Result<std::unique_ptr<IoEngine>> make_thread_engine(EventLoop& loop) {
  auto engine = std::make_unique<ThreadEngine>(loop);
  TRY(engine->open());
  return engine;
}

}  // namespace doppel::disk
