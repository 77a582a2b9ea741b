// Blocks of decoded instructions, cached by guest-physical address and code mode.
//
// A block never spans a page, except one whose only instruction does. It is valid while the code generation of its page (or both) is
// what it was when it was decoded (memory/physical_memory.h). Blocks belong to one vCPU. Keyed by RAM offset, so that aliases share them.
#pragma once

#include <memory>
#include <vector>

#include "base/types.h"
#include "engine/interpreter/op.h"
#include "isa/x86/instruction.h"
#include "memory/physical_memory.h"

namespace doppel::interpreter {

struct Block {
  static constexpr unsigned max_instructions = 48;

  u64 physical;                            // RAM offset of the first byte
  const std::atomic<u32>* generation_now;  // of the page that holds it
  u32 generation;                          // what it was when the block was decoded
  x86::CodeMode mode;
  bool uncached;  // fetched from no RAM page, or from one that is not known as code to all: used once
  u16 count;      // instructions; ops[count] is the end marker
  u16 length;     // bytes
  Block* chain;   // hash bucket

  // A block whose only instruction spans two pages. Its Op's handler checks the second page and goes on to `crossing`.
  Handler crossing;  // nullptr: within one page
  u64 second_page;   // RAM page number
  u32 second_generation;

  // What the translator knows of it (engine/translator).
  u32 heat;    // times it was entered by the interpreter
  u32 native;  // index of its translation, 0: none

  Op ops[];

  bool valid() const { return generation_now->load(std::memory_order_relaxed) == generation; }
};

struct JumpCacheEntry {
  u64 rip = 0;
  u64 context = 0;  // Cpu::code_context; 0 matches nothing
  Block* block = nullptr;
};

class BlockCache {
 public:
  static constexpr unsigned jump_entries = 1 << 14;

  explicit BlockCache(u64 arena_bytes);
  ~BlockCache();
  BlockCache(const BlockCache&) = delete;
  BlockCache& operator=(const BlockCache&) = delete;

  Block* find(u64 physical, x86::CodeMode mode);
  // Room for a block of `count` instructions; everything is dropped first if the arena is full (nobody may hold a Block then).
  Block* allocate(unsigned count);
  void insert(Block* block);
  void clear();

  u64 clears() const { return clears_; }  // how often: a Block is good for as long as this stays

  static unsigned jump_slot(u64 rip) { return (rip ^ (rip >> 13)) & (jump_entries - 1); }
  JumpCacheEntry* jump_cache() { return jump_cache_.get(); }

 private:
  static constexpr unsigned bucket_bits = 18, buckets = 1 << bucket_bits;
  static unsigned bucket(u64 physical, x86::CodeMode mode) {
    const u64 key = physical << 3 | static_cast<u64>(mode);
    return static_cast<unsigned>(key * 0x9e37'79b9'7f4a'7c15u >> (64 - bucket_bits));
  }

  std::unique_ptr<Block*[]> table_;
  std::unique_ptr<JumpCacheEntry[]> jump_cache_;
  u8* arena_ = nullptr;
  u64 arena_bytes_;
  u64 used_ = 0;
  u64 clears_ = 0;
};

}  // namespace doppel::interpreter
