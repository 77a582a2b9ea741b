// Coroutines for image formats whose requests take several steps. All steps of one image run under its Strand's lock, one
// at a time, on whatever thread submitted or completed something: between two suspensions a coroutine is alone.
//
// co_await stands alone or at the right of one assignment: g++ 12 miscompiles it within && and ?:.
//
// A Task starts when it is called and is awaited once, or run to its end by a Detached. Its result is 0 or an errno.
#pragma once

#include <coroutine>
#include <deque>
#include <exception>
#include <mutex>
#include <utility>
#include <vector>

#include "base/check.h"
#include "disk/block_image.h"
#include "disk/io_engine.h"

namespace doppel::disk {

class [[nodiscard]] Task {
 public:
  struct Promise {
    int result = 0;
    std::coroutine_handle<> waiter;

    Task get_return_object() { return Task(std::coroutine_handle<Promise>::from_promise(*this)); }
    static std::suspend_never initial_suspend() noexcept { return {}; }
    struct Final {
      static bool await_ready() noexcept { return false; }
      static std::coroutine_handle<> await_suspend(std::coroutine_handle<Promise> self) noexcept {
        return self.promise().waiter ? self.promise().waiter : std::noop_coroutine();
      }
      static void await_resume() noexcept {}
    };
    static Final final_suspend() noexcept { return {}; }
    void return_value(int error) { result = error; }
    static void unhandled_exception() { std::terminate(); }
  };

  using promise_type = Promise;

  Task(Task&& other) noexcept : handle_(std::exchange(other.handle_, {})) {}
  Task& operator=(Task&&) = delete;
  ~Task() {
    if (!handle_) return;
    CHECK(handle_.done());  // a task that nobody awaits would run on in what is gone
    handle_.destroy();
  }

  bool await_ready() const noexcept { return handle_.done(); }
  void await_suspend(std::coroutine_handle<> waiter) noexcept { handle_.promise().waiter = waiter; }
  int await_resume() const noexcept { return handle_.promise().result; }

 private:
  explicit Task(std::coroutine_handle<Promise> handle) : handle_(handle) {}
  std::coroutine_handle<Promise> handle_;
};

// A coroutine that owns itself.
struct Detached {
  struct Promise {
    static Detached get_return_object() { return {}; }
    static std::suspend_never initial_suspend() noexcept { return {}; }
    static std::suspend_never final_suspend() noexcept { return {}; }
    static void return_void() {}
    static void unhandled_exception() { std::terminate(); }
  };
  using promise_type = Promise;
};

class Strand {
 public:
  explicit Strand(IoEngine& engine) : engine_(engine) {}

  // A step that begins in a completion: what it finishes is told when the lock is released.
  template <class Step>
  void run(Step step) {
    std::vector<std::pair<Completion, int>> finished;
    {
      const std::lock_guard lock(mutex_);
      step();
      run_ready();
      finished.swap(finished_);
    }
    for (auto& [done, error] : finished) done(error);
  }

  // A step that begins in a call of the image's user: completions never run inside that.
  template <class Step>
  void submit(Step step) {
    const std::lock_guard lock(mutex_);
    submitting_ = true;
    step();
    run_ready();
    submitting_ = false;
  }

  // Within a step.
  void ready(std::coroutine_handle<> coroutine) { ready_.push_back(coroutine); }
  void finish(Completion done, int error) {
    if (submitting_) return engine_.complete(error, std::move(done));
    finished_.emplace_back(std::move(done), error);
  }

  IoEngine& engine() const { return engine_; }
  std::mutex& mutex() { return mutex_; }

 private:
  void run_ready() {
    while (!ready_.empty()) {
      const auto next = ready_.front();
      ready_.pop_front();
      next.resume();
    }
  }

  IoEngine& engine_;
  std::mutex mutex_;  // guards everything of the image
  bool submitting_ = false;
  std::deque<std::coroutine_handle<>> ready_;
  std::vector<std::pair<Completion, int>> finished_;
};

// co_await of one request to the engine. Not a temporary: `IoWait wait{…}; co_return co_await wait;`
struct IoWait {
  Strand& strand;
  IoRequest request;
  int error = 0;

  static bool await_ready() { return false; }
  void await_suspend(std::coroutine_handle<> waiter) {
    request.done = [this, waiter](int failed) {
      strand.run([&] {
        error = failed;
        waiter.resume();
      });
    };
    strand.engine().submit(std::move(request));
  }
  int await_resume() const { return error; }
};

// Several requests at once: hand out part()s as their completions, then co_await the join, also after an error.
class Join {
 public:
  explicit Join(Strand& strand) : strand_(strand) {}
  Join(const Join&) = delete;
  Join& operator=(const Join&) = delete;

  Completion part() {
    ++left_;
    return [this](int failed) {
      strand_.run([&] {
        if (failed != 0 && error_ == 0) error_ = failed;
        if (--left_ == 0 && waiter_) std::exchange(waiter_, {}).resume();
      });
    };
  }

  bool await_ready() const { return left_ == 0; }
  void await_suspend(std::coroutine_handle<> waiter) { waiter_ = waiter; }
  int await_resume() const { return error_; }

 private:
  Strand& strand_;
  unsigned left_ = 0;
  int error_ = 0;
  std::coroutine_handle<> waiter_;
};

// One coroutine at a time, in the order of asking: `co_await mutex.lock(); const AsyncHeld held(mutex);`
class AsyncMutex {
 public:
  explicit AsyncMutex(Strand& strand) : strand_(strand) {}

  struct Lock {
    AsyncMutex& mutex;
    bool await_ready() const { return !std::exchange(mutex.locked_, true); }
    void await_suspend(std::coroutine_handle<> waiter) const { mutex.waiting_.push_back(waiter); }
    static void await_resume() {}
  };
  Lock lock() { return {*this}; }
  void unlock() {
    if (waiting_.empty()) {
      locked_ = false;
      return;
    }
    strand_.ready(waiting_.front());  // who waited longest has it now
    waiting_.pop_front();
  }

 private:
  Strand& strand_;
  bool locked_ = false;
  std::deque<std::coroutine_handle<>> waiting_;
};

class AsyncHeld {
 public:
  explicit AsyncHeld(AsyncMutex& mutex) : mutex_(mutex) {}
  AsyncHeld(const AsyncHeld&) = delete;
  AsyncHeld& operator=(const AsyncHeld&) = delete;
  ~AsyncHeld() { mutex_.unlock(); }

 private:
  AsyncMutex& mutex_;
};

}  // namespace doppel::disk
