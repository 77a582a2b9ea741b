// From a block of decoded operations to host code.
//
// The host code of a block is position independent as the guest sees it: guest addresses are formed from NativeState::code_page, so that
// one translation serves every linear address of the page. Memory is reached by a probe of the TLB, one for a run of accesses through
// the same registers (a group); what the probe does not answer, and every instruction that is not copied, departs to the interpreter
// and comes back.
#pragma once

#include <cstring>
#include <deque>
#include <unordered_map>
#include <vector>

#include "base/bits.h"
#include "engine/code_cache.h"
#include "engine/translator/flag_state.h"
#include "engine/translator/frame.h"
#include "engine/translator/native_block.h"
#include "engine/translator/step.h"
#include "engine/translator/stubs.h"

namespace doppel::translator {

// All translations of a vCPU.
struct Translations {
  CodeCache cache;
  Stubs stubs;
  u64 hot, cold;  // where the next block goes, and what it seldom needs: apart, so that what runs lies close together
  u64 cold_begin;
  bool charged;       // blocks pay for their instructions from Cpu::remaining, or nobody wants to know
  bool counted;       // blocks are only entered when the budget has room for all of their instructions
  bool pushes_flags;  // status flags are saved by PUSHFQ, not by LAHF and SETO
  // Kept in pieces, so that they take no more memory than they hold, and stay where they are. [0] of the first three is none.
  std::deque<NativeBlock> blocks;
  std::deque<Departure> departures;
  std::deque<Link> links;
  std::deque<Refill> refills;
  std::unordered_map<u32, u32> traps;  // host instruction that may fault → where the guest's state is put right
  bool profiled = false;               // blocks count in `entered` how often they are entered
  std::deque<u64> entered;             // by NativeBlock
  u64 linked = 0;                      // how many times a link was led to another target

  // Of the host: code, and what is known of it.
  u64 bytes() const {
    constexpr u64 bytes_of_trap = 48, bytes_of_linked = 96, bytes_by_page = 24;
    return hot + (cold - cold_begin) + blocks.size() * (sizeof(NativeBlock) + bytes_by_page) +
           departures.size() * sizeof(Departure) + links.size() * (sizeof(Link) + sizeof(u32)) +
           linked * bytes_of_linked + refills.size() * sizeof(Refill) + traps.size() * bytes_of_trap +
           entered.size() * sizeof(u64);
  }
  // The 32 bits at `offset` of the code: a displacement or a constant.
  u32 written(u32 offset) const {
    u32 value;
    std::memcpy(&value, cache.writable() + offset, sizeof(value));
    return value;
  }
  // In which context the link's jump is right. Data, so that translated code itself can tell that it is.
  u32& guard(u32 link) const { return reinterpret_cast<u32*>(cache.data())[link]; }
  u64 guard_offset(u32 link) const { return cache.bytes() + u64{link} * sizeof(u32); }
  void rewrite(u32 offset, u32 value) { std::memcpy(cache.writable() + offset, &value, sizeof(value)); }
  bool room() const;  // for one translation
  void drop();        // all but the stubs
};

// Of data for `bytes` of code: for the guards, each of which comes with more than 32 bytes of code.
constexpr u64 data_bytes(u64 bytes) { return align_up(bytes / 8, page_size); }
constexpr u64 largest_hot = u64{24} << 10, largest_cold = u64{40} << 10;  // bytes, of one block

// No translations yet, in `cache`, which has data_bytes() of data.
Translations make_translations(CodeCache cache, const Cpu& cpu, const Helpers& helpers);

// Translates `block` (of 64-bit or flat 32-bit code, in RAM). Returns its index in `to.blocks`. There must be room.
u32 translate_block(const Cpu& cpu, Translations& to, interpreter::Block* block);

// What Departure::page holds for a page of RAM: in 32 bits pages of up to 16 TiB differ.
inline u32 page_name(const u8* host) { return static_cast<u32>(reinterpret_cast<u64>(host) >> page_shift); }
inline u32 no_page(const Cpu& cpu) { return page_name(cpu.ram - page_size); }
constexpr u64 most_named_ram = u64{1} << 43;  // bytes

// Translates the entries of a block that is no longer valid, for who has found them earlier: they ask for what is there now. There must
// be room. No translated code may be running.
void retire_block(const Cpu& cpu, Translations& to, u32 index);

// Translates the group of accesses at a site once more, with a probe for each, and puts that in the place of the departure.
void translate_narrowly(const Cpu& cpu, Translations& to, u32 departure);

}  // namespace doppel::translator
