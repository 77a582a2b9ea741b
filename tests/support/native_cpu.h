// Runs machine code on the host's own processor, with chosen general registers and flags, in the test's process. The oracle for what
// an instruction does to registers, flags and memory. x86-64 hosts only.
//
// Memory: [base, base + size) at FlatGuest::base, which tests may fill, protect and compare. Code that leaves it by a fault is caught;
// code that writes outside of it is the test's mistake.
#pragma once

#include <array>
#include <span>

#include "base/types.h"

namespace doppel::testing {

class NativeCpu {
 public:
  static constexpr u64 size = 0x10'0000;

  struct Registers {
    std::array<u64, 16> gpr{};
    u64 rflags = 2;
    u64 rip = 0;     // after run(): of the fault, or the end of the code
    int signal = 0;  // 0, or what the code was stopped by
  };

  // One at a time per process: fixed addresses and signal handlers. False: this host does not let it.
  static NativeCpu* instance();
  // Some kernels let no process execute 32-bit code.
  static bool has_compatibility_mode();

  u8* memory(u64 linear) { return reinterpret_cast<u8*>(linear); }
  void set_present(u64 linear, bool present);  // one 4 KiB page

  // Executes `code`, which is placed at `rip`, until its end. Compatibility mode: 32-bit code; only the low halves of the
  // first eight registers mean anything then.
  Registers run(const Registers& from, u64 rip, std::span<const u8> code, bool compatibility_mode = false);

 private:
  NativeCpu() = default;
  bool set_up();
};

}  // namespace doppel::testing
