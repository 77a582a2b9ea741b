#include "engine/interpreter/block.h"

#include <sys/mman.h>

#include <algorithm>

#include "base/bits.h"
#include "base/check.h"

namespace doppel::interpreter {

BlockCache::BlockCache(u64 arena_bytes)
    : table_(std::make_unique<Block*[]>(buckets)),
      jump_cache_(std::make_unique<JumpCacheEntry[]>(jump_entries)),
      arena_bytes_(arena_bytes) {
  void* mapping = mmap(nullptr, arena_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  CHECK(mapping != MAP_FAILED);
  arena_ = static_cast<u8*>(mapping);
}

BlockCache::~BlockCache() { munmap(arena_, arena_bytes_); }

Block* BlockCache::find(u64 physical, x86::CodeMode mode) {
  for (Block* block = table_[bucket(physical, mode)]; block; block = block->chain)
    if (block->physical == physical && block->mode == mode) return block;
  return nullptr;
}

Block* BlockCache::allocate(unsigned count) {
  const u64 size = align_up(sizeof(Block) + (count + 1) * sizeof(Op), 64);
  if (used_ + size > arena_bytes_) clear();
  auto* block = reinterpret_cast<Block*>(arena_ + used_);
  used_ += size;
  return block;
}

void BlockCache::insert(Block* block) {
  // One that was decoded before its code changed is replaced; its room comes back when the arena is next cleared.
  Block** link = &table_[bucket(block->physical, block->mode)];
  for (Block** at = link; *at; at = &(*at)->chain)
    if ((*at)->physical == block->physical && (*at)->mode == block->mode) {
      *at = (*at)->chain;
      break;
    }
  block->chain = *link;
  *link = block;
}

void BlockCache::clear() {
  std::fill_n(table_.get(), buckets, nullptr);
  std::fill_n(jump_cache_.get(), jump_entries, JumpCacheEntry{});
  used_ = 0;
  ++clears_;
}

}  // namespace doppel::interpreter
