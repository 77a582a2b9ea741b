// A host thread per vCPU, and one for the EventLoop. A halted vCPU's thread sleeps until an event or a command comes.
//
// A wake-up is never lost: the waker stores the event into the vCPU and then looks at `waiting`; the sleeper stores
// `waiting` and then looks at the vCPU's events; both with full fences between.
#include <fmt/format.h>
#include <pthread.h>

#include <thread>

#include "base/check.h"
#include "machine/run_loop.h"

namespace doppel {

namespace {

class ThreadedRunLoop final : public RunLoop {
 public:
  ThreadedRunLoop(std::vector<Vcpu*> vcpus, EventLoop& loop, RequestBox& requests) : loop_(loop), requests_(requests) {
    io_thread_ = std::thread([this] {
      ::pthread_setname_np(::pthread_self(), "io");
      loop_.run();
    });
    for (Vcpu* vcpu : vcpus) {
      cpus_.push_back(std::make_unique<Cpu>(*vcpu, static_cast<unsigned>(cpus_.size())));
    }
    for (auto& cpu : cpus_) cpu->thread = std::thread([this, &cpu = *cpu] { body(cpu); });
  }

  ~ThreadedRunLoop() override {
    {
      const std::lock_guard lock(mutex_);
      quitting_ = true;
      allowed_ = false;
    }
    command_.notify_all();
    for (auto& cpu : cpus_) disturb(*cpu);
    for (auto& cpu : cpus_) cpu->thread.join();
    start_io();
    loop_.stop();
    io_thread_.join();
  }

  void start_vcpus() override {
    {
      const std::lock_guard lock(mutex_);
      allowed_ = true;
    }
    command_.notify_all();
  }

  void stop_vcpus() override {
    std::unique_lock lock(mutex_);
    allowed_ = false;
    for (auto& cpu : cpus_) disturb(*cpu);
    parked_.wait(lock, [this] {
      for (auto& cpu : cpus_) {
        if (!cpu->parked) return false;
      }
      return true;
    });
  }

  void stop_io() override {
    CHECK(!loop_.on_loop_thread());
    std::unique_lock lock(mutex_);
    if (io_held_) return;
    io_held_ = true;
    loop_.post([this] {
      std::unique_lock inner(mutex_);
      io_parked_ = true;
      parked_.notify_all();
      command_.wait(inner, [this] { return !io_held_; });
      io_parked_ = false;
    });
    parked_.wait(lock, [this] { return io_parked_; });
  }

  void start_io() override {
    {
      const std::lock_guard lock(mutex_);
      io_held_ = false;
    }
    command_.notify_all();
  }

  Request next_request() override {
    Request request = requests_.take();
    stop_vcpus();
    requests_.handled();
    return request;
  }

  u64 total_instructions() const override {
    u64 total = 0;
    for (const auto& cpu : cpus_) total += cpu->vcpu.instruction_count();
    return total;
  }

  void state(state::Archive& archive) override {
    archive.begin("threads", 1);
    archive.end();
  }

  void wake(unsigned index) override {
    Cpu& cpu = *cpus_[index];
    std::atomic_thread_fence(std::memory_order_seq_cst);
    if (!cpu.waiting.load(std::memory_order_relaxed)) return;
    const std::lock_guard lock(cpu.mutex);
    cpu.event.notify_one();
  }

  void interrupt() override {
    for (auto& cpu : cpus_) disturb(*cpu);
  }

 private:
  struct Cpu {
    Cpu(Vcpu& v, unsigned i) : vcpu(v), index(i) {}
    Vcpu& vcpu;
    const unsigned index;
    std::thread thread;
    bool parked = false;  // guarded by ThreadedRunLoop::mutex_

    std::mutex mutex;  // for sleeping while halted
    std::condition_variable event;
    std::atomic<bool> waiting{false};
  };

  // Out of run() or out of its sleep, to look at allowed_ and requests_.
  void disturb(Cpu& cpu) {
    cpu.vcpu.kick();
    const std::lock_guard lock(cpu.mutex);
    cpu.event.notify_one();
  }

  bool may_run() const { return allowed_.load(std::memory_order_seq_cst) && !requests_.pending(); }

  void body(Cpu& cpu) {
    ::pthread_setname_np(::pthread_self(), fmt::format("vcpu{}", cpu.index).c_str());
    for (;;) {
      {
        std::unique_lock lock(mutex_);
        cpu.parked = true;
        parked_.notify_all();
        command_.wait(lock, [&] { return quitting_ || may_run(); });
        if (quitting_) return;
        cpu.parked = false;
      }
      while (may_run()) {
        const VcpuExit exit = cpu.vcpu.run(unlimited_budget);
        if (std::holds_alternative<Halted>(exit)) {
          wait_for_event(cpu);
        } else if (const auto* fault = std::get_if<TripleFault>(&exit)) {
          requests_.post(
              {.kind = Request::Kind::failure,
               .message = fmt::format("the guest stopped: triple fault on CPU {} at {:#x}", cpu.index, fault->rip)});
          interrupt();
        }
      }
    }
  }

  void wait_for_event(Cpu& cpu) {
    std::unique_lock lock(cpu.mutex);
    cpu.waiting.store(true, std::memory_order_relaxed);
    std::atomic_thread_fence(std::memory_order_seq_cst);
    while (!cpu.vcpu.runnable() && may_run()) cpu.event.wait(lock);
    cpu.waiting.store(false, std::memory_order_relaxed);
  }

  EventLoop& loop_;
  RequestBox& requests_;
  std::vector<std::unique_ptr<Cpu>> cpus_;
  std::thread io_thread_;

  std::mutex mutex_;  // guards what follows
  std::condition_variable command_, parked_;
  std::atomic<bool> allowed_{false};
  bool quitting_ = false;
  bool io_held_ = false, io_parked_ = false;
};

}  // namespace

std::unique_ptr<RunLoop> make_threaded_run_loop(std::vector<Vcpu*> vcpus, EventLoop& loop, RequestBox& requests) {
  return std::make_unique<ThreadedRunLoop>(std::move(vcpus), loop, requests);
}

}  // namespace doppel
