#include "engine/translator/host_signals.h"

#include <signal.h>
#include <ucontext.h>

#include <array>
#include <memory>

namespace doppel::translator {
namespace {

thread_local const Translations* active = nullptr;

struct Handled {
  int number;
  struct sigaction before;
};
std::array<Handled, 3> handled{{{SIGSEGV, {}}, {SIGBUS, {}}, {SIGFPE, {}}}};

// Gives a signal that is none of ours to whoever had it. Ignored faults would repeat for ever: they get the default.
void pass_on(int number, siginfo_t* info, void* context) {
  for (const Handled& signal : handled) {
    if (signal.number != number) continue;
    if (signal.before.sa_flags & SA_SIGINFO) return signal.before.sa_sigaction(number, info, context);
    if (signal.before.sa_handler != SIG_DFL && signal.before.sa_handler != SIG_IGN)
      return signal.before.sa_handler(number);
  }
  ::signal(number, SIG_DFL);
}

void on_fault(int number, siginfo_t* info, void* context) {
  auto& rip = static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_RIP];
  u64 offset = 0;
  if (active && active->cache.holds(static_cast<u64>(rip), offset)) {
    if (const auto trap = active->traps.find(static_cast<u32>(offset)); trap != active->traps.end()) {
      rip = static_cast<greg_t>(active->cache.address(trap->second));
      return;
    }
  }
  pass_on(number, info, context);
}

// A stack for this thread's signals: translated code has none of its own.
class SignalStack {
 public:
  SignalStack() {
    const stack_t stack{.ss_sp = memory_.get(), .ss_flags = 0, .ss_size = bytes};
    sigaltstack(&stack, &before_);
  }
  ~SignalStack() { sigaltstack(&before_, nullptr); }

 private:
  static constexpr std::size_t bytes = std::size_t{64} << 10;  // AVX-512 state alone takes 3 KiB
  std::unique_ptr<u8[]> memory_ = std::make_unique<u8[]>(bytes);
  stack_t before_{};
};

}  // namespace

Result<> install_fault_handlers() {
  static const bool installed = [] {
    struct sigaction action{};
    action.sa_sigaction = on_fault;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigemptyset(&action.sa_mask);
    bool ok = true;
    for (Handled& signal : handled) ok &= sigaction(signal.number, &action, &signal.before) == 0;
    return ok;
  }();
  if (!installed) return fail("cannot handle faults of translated code: sigaction was refused");
  return {};
}

FaultScope::FaultScope(const Translations& translations) : outer_(active) {
  static thread_local SignalStack stack;
  static_cast<void>(stack);
  active = &translations;
}

FaultScope::~FaultScope() { active = outer_; }

}  // namespace doppel::translator
