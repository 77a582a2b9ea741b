// SIMD floating-point exceptions while the guest has some unmasked, Intel SDM vol. 1 §11.5.
//
// Which flags an unmasked exception leaves behind depends on the operation (an exact tiny result, an inexact one that would not have
// been so with a wider exponent): so the host itself executes it unmasked, and the SIGFPE that follows tells. The handler masks everything and
// returns, the instruction completes, and its result is thrown away.
#include <signal.h>
#include <ucontext.h>

#include "base/fault_signals.h"
#include "engine/interpreter/sse/vector.h"

namespace doppel::interpreter {
namespace {

struct Probe {
  bool armed = false;
  bool trapped = false;
  u32 flags = 0;
};
thread_local constinit Probe probe;  // what this thread's guarded operation met; the handler has no other way to tell

bool on_floating_point_error(int number, void* context) {
  auto* frame = static_cast<ucontext_t*>(context);
  if (number != SIGFPE || !probe.armed || !frame->uc_mcontext.fpregs) return false;
  probe.trapped = true;
  probe.flags = frame->uc_mcontext.fpregs->mxcsr & mxcsr_flags;
  frame->uc_mcontext.fpregs->mxcsr |= mxcsr_masks;
  return true;
}

}  // namespace

void install_simd_probe() { expect_faults(on_floating_point_error); }

void begin_simd(Cpu& cpu) {
  collect_mxcsr(cpu);
  probe = {.armed = true};
  _mm_setcsr(cpu.s.mxcsr & ~mxcsr_flags);
}

bool end_simd(Cpu& cpu) {
  const bool trapped = probe.trapped;
  cpu.s.mxcsr |= trapped ? probe.flags : _mm_getcsr() & mxcsr_flags;
  probe = {};
  apply_mxcsr(cpu);
  return trapped;
}

}  // namespace doppel::interpreter
