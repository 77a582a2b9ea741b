// Runs cases on the host CPU, in a child process that may do nothing but that (seccomp strict mode).
//
// The child never leaves its signal handler: returning from it (rt_sigreturn) loads a case's registers with TF set, the instruction executes, and
// the trap or fault that follows brings the outcome in the next signal frame.
#pragma once

#include <span>

#include "base/fd.h"
#include "base/result.h"
#include "case.h"

namespace doppel::oracle {

// False on hosts whose kernel lets no process execute 32-bit code.
bool host_runs_32_bit_code();

class NativeCpu {
 public:
  static constexpr unsigned batch_limit = 256;

  static Result<NativeCpu> start(std::span<const u8> pool);
  NativeCpu(NativeCpu&& other) noexcept;
  ~NativeCpu();

  // At most batch_limit cases. An error if the child died or hung: the index of the case at fault is in the message.
  Result<> run(std::span<const Case> cases, std::span<Outcome> outcomes);

  struct Shared;

 private:
  NativeCpu() = default;
  bool finished();

  Shared* shared_ = nullptr;
  Fd to_child_, from_child_;
  int pid_ = -1;
};

}  // namespace doppel::oracle
