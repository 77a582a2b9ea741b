// What a vCPU keeps for translated code beside the registers (engine/translator). Part of Cpu, since translated code reaches all of its
// state relative to the Cpu; the interpreter itself only stops such code when a vCPU is wanted.
#pragma once

#include <array>
#include <atomic>

#include "base/types.h"

namespace doppel::interpreter {

// Where translated code for a linear address is: probed in line at indirect branches.
struct NativeJump {
  u64 rip;
  u64 context;  // Cpu::code_context; 0 matches nothing
  u64 code;     // host address
  u64 page;     // of rip
};
static_assert(sizeof(NativeJump) == 32);  // translated code scales by it

struct NativeState {
  // What most blocks use lies within 128 bytes, so that it is reached by short displacements.
  u64 code_page = 0;          // linear address of the page whose translated code runs
  u64 kept = 0;               // what a block may compute status flags from
  std::array<u64, 4> held{};  // host addresses that a block uses again

  // Translated code looks for what is wanted of it at backward branches, by a load from `poll`, and at indirect ones, in `jumps`:
  // a pointer to no memory and an empty table stop it.
  std::atomic<u64> poll{0};
  std::atomic<NativeJump*> jumps{nullptr};

  u64 target = 0;          // of a branch that the jump cache did not know
  u32 departure = 0;       // its own, while a helper looks for it
  u16 saved_flags = 0;     // status flags as LAHF and SETO give them: bits 8–15 and bit 0
  u8 vectors_loaded = 0;   // the host's vector registers are the guest's: vectors_allowed when they were loaded
  u8 vectors_allowed = 0;  // bit 0: SSE, bit 1: AVX instructions execute without a fault or an unmasked exception
  u8 flat_segments = 0;    // of FS (bit 4) and GS (bit 5): outside of 64-bit mode, all offsets can be read and written

  // The x87 unit: while x87_loaded, the host's is the guest's. Its state goes both ways through an XSAVE image; where the last
  // instruction was that FIP tells of is noted apart, since the host's pointer is another.
  u8 x87_loaded = 0;
  u8 x87_prepared = 0;  // the image holds the guest's state, and it may be loaded
  i32 x87_offset = -1;  // of that instruction in x87_page; -1: none
  u64 x87_page = 0;     // linear address

  u64 resume = 0;                   // host address to enter at
  u64 host_stack = 0;               // the caller's stack while translated code runs
  NativeJump* all_jumps = nullptr;  // nullptr: there is no translated code
  NativeJump* no_jumps = nullptr;
  u64 poll_page = 0;
  alignas(64) std::array<u8, 832> x87_image{};

  // Any thread.
  void stop() {
    if (!all_jumps) return;
    poll.store(0, std::memory_order_relaxed);
    jumps.store(no_jumps, std::memory_order_seq_cst);
  }
  // The vCPU's thread; it then looks at Cpu::attention once more.
  void go() {
    poll.store(poll_page, std::memory_order_relaxed);
    jumps.store(all_jumps, std::memory_order_seq_cst);
  }
  bool stopped() const {
    return jumps.load(std::memory_order_relaxed) != all_jumps || poll.load(std::memory_order_relaxed) != poll_page;
  }
};

}  // namespace doppel::interpreter
