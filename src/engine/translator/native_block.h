// What the run loop knows of translated code: where blocks begin, and every place at which one leaves to C++.
#pragma once

#include <vector>

#include "engine/interpreter/block.h"
#include "isa/x86/mnemonic.h"

namespace doppel::translator {

// Whose host register each of R12–R15, which have none, has within a block: of a register that the block has nothing to do with, whose
// value waits in the place of the other.
class Lodgings {
 public:
  static constexpr unsigned first = 12, last = 15;
  unsigned host(unsigned gpr) const { return hosts_ >> (gpr - first) * 4 & 15; }  // 0: none
  void lodge(unsigned gpr, unsigned with) { hosts_ |= static_cast<u16>(with << (gpr - first) * 4); }
  bool any() const { return hosts_ != 0; }

 private:
  u16 hosts_ = 0;
};

// Offsets are into the code cache; 0: none.
struct NativeBlock {
  interpreter::Block* block = nullptr;
  u32 entry_flags = 0;   // jumped to from its page with the status flags in EFLAGS
  u32 entry_saved = 0;   // with them in Cpu::saved_flags
  u32 entry_found = 0;   // the same, for who has just found the block or has it from the jump cache
  u8 vectors : 2 = 0;    // bits of NativeState::vectors_loaded that it needs
  bool x87 : 1 = false;  // needs the x87 unit
  u8 segments = 0;       // bits of NativeState::flat_segments that it needs
  Lodgings lodgings{};
};

enum class DepartureKind : u8 {
  site,    // the interpreter executes operations first … first + count - 1, then the code at `resume` goes on
  exit,    // to `target`, in the same page: the jump at `patch` can go there directly
  lookup,  // to NativeState::target, which the jump cache did not know; a link if it is direct
  poll,    // something is wanted of the vCPU; operation `first` is next
};

// Translated code by where it lies in RAM: what the jump cache of one address space does not know, another may have run.
struct FoundCode {
  u64 key = 0;   // physical address, and what the code was decoded as; 0 matches nothing
  u32 code = 0;  // offset of the entry for who found it
  u32 generation = 0;
};
constexpr unsigned found_code_bits = 18;
constexpr u64 found_codes = u64{1} << found_code_bits;

constexpr u16 no_operation = 0xffff;

// There are several for each block: they are kept small.
struct Departure {
  DepartureKind kind;
  bool outlined : 1 = false;     // site: not a TLB miss, but what the interpreter is always asked to do
  bool saved_entry : 1 = false;  // exit: what is patched in is the target's entry_saved rather than its entry_flags
  bool narrowed : 1 = false;     // site: of a group of accesses, that can get a probe for each
  bool flags_after : 1 = false;  // site: at `rejoin` the flags are in EFLAGS
  bool overwrites_flags : 1 = false;  // site: the operations do, before anything can look, and the flags are not as they were
  u16 mnemonic = 0;  // site: of what is left to the interpreter, always or now and then; 0: none (x86::Mnemonic)
  u16 first = 0, count = 0;  // operations of the block
  i16 charged = 0;           // of the instructions from `first` on, how many were charged already
  i16 released = 0;          // lookup: what RSP has moved up; undone if the branch is refused
  u32 block = 0;             // index of the NativeBlock
  u32 resume = 0;
  u32 rejoin = 0;  // site: where the block goes on with all as the group leaves it
  i32 target = 0;  // exit and link: offset from the block's page
  u32 patch = 0;   // exit, link and site: offset of the jump's 32-bit displacement
  u32 link = 0;    // lookup: index of its Link; 0: it cannot be linked
};
static_assert(ZYDIS_MNEMONIC_MAX_VALUE <= 0xffff && ZYDIS_MNEMONIC_INVALID == 0);

// A branch that goes to its target by itself where that is known to be right: in the context that Translations::guard names, and, where
// a place in its code says so, for one target only, or also in another context.
struct Link {
  // Of an indirect branch: offset of the 32-bit distance from the page to the target at which it is right; 0: a direct one. How far that
  // is in whole pages is also written, `guessed_pages` ahead of Departure::patch.
  u32 guess = 0;
  u32 page = 0;  // offset of the 32-bit page (its host address without the bits above) that the target must be in elsewhere; 0: not asked
  u16 missed = 0;  // times that the guess was not right, of those that were asked about
};

constexpr u32 guessed_pages = 5;

// A probe of the TLB that can be repeated after the page was walked, so that the block is not left.
struct Refill {
  u32 retry = 0;  // offset of the probe; R14 is again the linear address
  u32 jump = 0;   // of the probe that misses: offset of its displacement
  u32 miss = 0;   // where to go if the access needs the interpreter
  u32 departure = 0;
  u16 bytes = 0;
  bool write = false;    // stores must be allowed
  bool dirties = false;  // the access stores for certain, so that the page may be marked as written to
};

}  // namespace doppel::translator
