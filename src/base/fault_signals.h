// Signals by which the process learns of its own faults, and others that end it with no destructor run: one handler for all who expect
// some, so that none takes them from another.
#pragma once

namespace doppel {

// Runs in a signal handler, of any thread. True: it was expected, and the thread goes on as `context`, a ucontext_t, says by then.
using FaultHandler = bool (*)(int number, void* context);

// From now on SIGSEGV, SIGBUS and SIGFPE are offered to `handler`, behind those that were added before; at most four. What nobody
// expects goes to whom it went before the first was added, or ends the process. Any thread.
void expect_faults(FaultHandler handler);

// What is to be done before such a signal or SIGILL, SIGABRT, SIGSYS, SIGQUIT ends the process; async-signal-safe, done once. Null:
// nothing. One at a time.
void set_last_will(void (*will)());

}  // namespace doppel
