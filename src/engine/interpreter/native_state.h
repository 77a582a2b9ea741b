// What a vCPU keeps for translated code beside the registers (engine/translator). Part of Cpu, since translated code reaches all of its
// state relative to the Cpu; the interpreter itself only stops such code when a vCPU is wanted.
#pragma once

#include <array>
#include <atomic>

#include "base/types.h"

namespace doppel::interpreter {

// Where translated code for a linear address is: probed at branches to other pages and indirect ones.
struct NativeJump {
  u64 rip;
  u64 code;     // host address
  u64 page;     // of `rip`
  u32 context;  // NativeState::context when it was right; 0 matches nothing

  static constexpr unsigned slot_bits = 16;
  static constexpr u64 entries = u64{1} << slot_bits;  // of the table
  static constexpr u32 multiplier = 0x9e37'79b1;
  static u32 slot(u64 rip, u32 context) { return (static_cast<u32>(rip) ^ context) * multiplier >> (32 - slot_bits); }
};
static_assert(sizeof(NativeJump) == 32);  // translated code scales by it

// Where a CALL is returned to: by the stack pointer above its return address.
struct NativeReturn {
  u64 rip;
  u64 landing;  // host address; the host predicts that it is returned to, since it follows a CALL of the host
};
static_assert(sizeof(NativeReturn) == 16);  // likewise

struct TlbEntries;

struct NativeState {
  // What most blocks use lies within 128 bytes, so that it is reached by short displacements.
  u64 code_page = 0;          // linear address of the page whose translated code runs
  u64 kept = 0;               // what a block may compute status flags from
  std::array<u64, 4> held{};  // host addresses that a block uses again

  // Translated code looks for what is wanted of it at backward branches, by a load from `poll`, and at indirect ones, in `jumps`:
  // a pointer to no memory and empty tables stop it.
  std::atomic<u64> poll{0};
  std::atomic<NativeJump*> jumps{nullptr};
  std::atomic<u32> returns_read{0};  // where in `returns`: see returns_written

  u32 returns_written = 0;  // of the privilege that translated code runs with: half the offset in `returns`
  u32 context = 0;          // what tells apart which code an address means; 0: none that is translated
  static constexpr u32 no_context = 0x7fff'ffff;  // is none of them

  u64 target = 0;          // of a branch that is looked up
  u32 departure = 0;       // the branch's own, while its target is looked up
  i32 until_yield = 0;     // how many more PAUSEs are only that (engine/interpreter/integer/misc.cc)
  u32 until_link = 0;      // how many more direct branches to other pages are only looked up, until one is linked
  u8 vectors_loaded = 0;   // the host's vector registers are the guest's: vectors_allowed when they were loaded
  u8 vectors_allowed = 0;  // bit 0: SSE, bit 1: AVX instructions execute without a fault or an unmasked exception
  u8 flat_segments = 0;    // of FS (bit 4) and GS (bit 5): outside of 64-bit mode, all offsets can be read and written

  // The x87 unit: while x87_loaded, the host's is the guest's. Its state goes both ways through an XSAVE image; where the last
  // instruction was that FIP tells of is noted apart, since the host's pointer is another.
  u8 x87_loaded = 0;
  u8 x87_prepared = 0;  // the image holds the guest's state, and it may be loaded
  i32 x87_offset = -1;  // of that instruction in x87_page; -1: none
  u64 x87_page = 0;     // linear address

  u64 code_mark = 1;                           // of the epoch, in TlbEntries::code_tag
  std::array<TlbEntries*, 2> access_tables{};  // the TLB's behind CLAC and STAC, where they do nothing else; or none

  u64 resume = 0;                   // host address to enter at
  u64 host_stack = 0;               // the caller's stack while translated code runs
  NativeJump* all_jumps = nullptr;  // nullptr: there is no translated code
  NativeJump* no_jumps = nullptr;
  u64 poll_page = 0;
  alignas(64) std::array<u8, 832> x87_image{};

  // Supervisor's, user's, and one that stays empty.
  static constexpr unsigned return_slots = 512;
  static constexpr u32 returns_mask = (return_slots - 1) * 8;  // of the stack pointer: half the offset of its slot
  std::array<std::array<NativeReturn, return_slots>, 3> returns{};
  std::array<u32, 2> returns_context{};  // of the first two
  NativeReturn no_return{};              // matches only what may be looked for in vain

  // Any thread.
  void stop() {
    if (!all_jumps) return;
    poll.store(0, std::memory_order_relaxed);
    returns_read.store(returns_offset(2), std::memory_order_relaxed);
    jumps.store(no_jumps, std::memory_order_seq_cst);
  }
  // The vCPU's thread, as are the rest. It then looks at Cpu::attention once more. Nothing is to be done, and no fence needed, where
  // nobody has stopped it since: who does so from now on is not undone.
  void go() {
    if (!stopped() && returns_read.load(std::memory_order_relaxed) == returns_written) return;
    poll.store(poll_page, std::memory_order_relaxed);
    returns_read.store(returns_written, std::memory_order_relaxed);
    jumps.store(all_jumps, std::memory_order_seq_cst);
  }
  // Until a branch that no block is at the other end of yet.
  void go_alone() {
    go();
    returns_read.store(returns_offset(2), std::memory_order_relaxed);
    jumps.store(no_jumps);
  }
  // Before go(): what translated code runs in from now on.
  void set_context(u32 now, bool user) {
    context = now;
    returns_written = returns_offset(user);
    if (returns_context[user] == now || !all_jumps) return;
    returns_context[user] = now;
    returns[user].fill(no_return);
  }
  void forget_returns() {
    for (auto& some : returns) some.fill(no_return);
  }
  bool stopped() const {
    return jumps.load(std::memory_order_relaxed) != all_jumps || poll.load(std::memory_order_relaxed) != poll_page;
  }

 private:
  static constexpr u32 returns_offset(unsigned table) { return table * return_slots * sizeof(NativeReturn) / 2; }
};

}  // namespace doppel::interpreter
