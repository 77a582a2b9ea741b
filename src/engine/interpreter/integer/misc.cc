// NOP, PAUSE, prefetches, fences, CLFLUSH, CLFLUSHOPT, RDRAND, RDSEED. Intel SDM vol. 2.
// Caches are not modelled: CLFLUSH only checks its address, as a byte load would.
#include <sched.h>

#include <atomic>

#include "engine/interpreter/integer/binders.h"
#include "engine/interpreter/integer/operands.h"
#include "engine/interpreter/integer/random.h"

namespace doppel::interpreter {
namespace {

void nop(Cpu& cpu, const Op* op) { return next(cpu, op); }

// Spin loops wait for another vCPU, which may need this host core's other thread, or the core itself: the host may run fewer vCPUs at once
// than there are, and would let the one that waits have its turn to the end.
void pause(Cpu& cpu, const Op* op) {
  constexpr i32 period = 200;  // tens of microseconds on hosts with long PAUSEs
  if (cpu.count > 1) {
    if (--cpu.native.until_yield < 0) {
      cpu.native.until_yield = period;
      ::sched_yield();
    }
    __builtin_ia32_pause();
  }
  return next(cpu, op);
}

// Guest loads and stores are host loads and stores, so the host's own order is the guest's; only MFENCE has to do something.
// LFENCE and SFENCE keep the compiler from moving anything across.
void fence(Cpu& cpu, const Op* op) {
  std::atomic_thread_fence(std::memory_order_seq_cst);
  return next(cpu, op);
}
void compiler_fence(Cpu& cpu, const Op* op) {
  std::atomic_signal_fence(std::memory_order_seq_cst);
  return next(cpu, op);
}

void clflush(Cpu& cpu, const Op* op) {
  if (!load_operand<u8>(cpu, op).ok) [[unlikely]]
    return faulted(cpu, op);
  return next(cpu, op);
}

// CF says that the number is good, as it always is; the other status flags become 0.
template <class T>
void random(Cpu& cpu, const Op* op) {
  cpu.set_reg<T>(op->a, static_cast<T>(cpu.random(cpu, op)));
  cpu.flags.unpack(x86::rflags::cf);
  return next(cpu, op);
}

}  // namespace

Binding bind_nop(const x86::Instruction&, Op&) { return {nop}; }
Binding bind_pause(const x86::Instruction&, Op&) { return {pause}; }
Binding bind_mfence(const x86::Instruction&, Op&) { return {fence}; }
Binding bind_load_or_store_fence(const x86::Instruction&, Op&) { return {compiler_fence}; }
Binding bind_clflush(const x86::Instruction&, Op&) { return {clflush}; }
Binding bind_random(const x86::Instruction& instruction, Op&) {
  return {by_word_width(instruction.operands[0].bytes, []<class T>() -> Handler { return random<T>; })};
}

}  // namespace doppel::interpreter
