#include "engine/translator/host_signals.h"

#include <signal.h>
#include <ucontext.h>

#include <memory>

#include "base/fault_signals.h"

namespace doppel::translator {
namespace {

thread_local const Translations* active = nullptr;

bool on_fault(int, void* context) {
  auto& rip = static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_RIP];
  u64 offset = 0;
  if (!active || !active->cache.holds(static_cast<u64>(rip), offset)) return false;
  const auto trap = active->traps.find(static_cast<u32>(offset));
  if (trap == active->traps.end()) return false;
  rip = static_cast<greg_t>(active->cache.address(trap->second));
  return true;
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

void handle_faults() { expect_faults(on_fault); }

FaultScope::FaultScope(const Translations& translations) : outer_(active) {
  static thread_local SignalStack stack;
  static_cast<void>(stack);
  active = &translations;
}

FaultScope::~FaultScope() { active = outer_; }

}  // namespace doppel::translator
