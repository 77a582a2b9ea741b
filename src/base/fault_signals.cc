#include "base/fault_signals.h"

#include <signal.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <mutex>

#include "base/check.h"

namespace doppel {
namespace {

struct Taken {
  int number;
  bool taken = false;
  struct sigaction before{};  // written ahead of the handler's first run
};
constexpr std::size_t faults = 3;
std::array<Taken, 7> signals{{{SIGSEGV}, {SIGBUS}, {SIGFPE}, {SIGILL}, {SIGABRT}, {SIGSYS}, {SIGQUIT}}};
std::mutex adding;

std::array<std::atomic<FaultHandler>, 4> handlers{};
std::atomic<void (*)()> last_will{nullptr};

// Faults that are ignored would repeat for ever: they end the process.
bool is_ignored(const struct sigaction& before, const siginfo_t& info) {
  return !(before.sa_flags & SA_SIGINFO) && before.sa_handler == SIG_IGN && info.si_code <= 0;
}

void end_by(int number, siginfo_t* info, void* context) {
  const auto& before = std::find_if(signals.begin(), signals.end(), [&](const Taken& each) {
                         return each.number == number;
                       })->before;
  if (is_ignored(before, *info)) return;
  if (const auto will = last_will.exchange(nullptr)) will();
  if (before.sa_flags & SA_SIGINFO) return before.sa_sigaction(number, info, context);
  if (before.sa_handler != SIG_DFL && before.sa_handler != SIG_IGN) return before.sa_handler(number);
  ::signal(number, SIG_DFL);
  ::raise(number);  // on return from here, where it is no longer held off
}

void on_signal(int number, siginfo_t* info, void* context) {
  const int error = errno;
  const bool expected = std::any_of(handlers.begin(), handlers.end(), [&](const std::atomic<FaultHandler>& each) {
    const FaultHandler handler = each.load(std::memory_order_acquire);
    return handler && handler(number, context);
  });
  if (!expected) end_by(number, info, context);
  errno = error;
}

void take(Taken& signal) {
  if (signal.taken) return;
  struct sigaction action{};
  action.sa_sigaction = on_signal;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigemptyset(&action.sa_mask);
  CHECK(::sigaction(signal.number, nullptr, &signal.before) == 0);
  CHECK(::sigaction(signal.number, &action, nullptr) == 0);
  signal.taken = true;
}

}  // namespace

void expect_faults(FaultHandler handler) {
  const std::lock_guard lock(adding);
  for (auto& each : handlers) {
    if (each.load() == handler) return;
    if (each.load()) continue;
    each.store(handler, std::memory_order_release);
    for (std::size_t i = 0; i < faults; ++i) take(signals[i]);
    return;
  }
  CHECK(!"more handlers of faults than there is room for");
}

void set_last_will(void (*will)()) {
  const std::lock_guard lock(adding);
  last_will.store(will);
  if (!will) return;
  for (Taken& each : signals) take(each);
}

}  // namespace doppel
