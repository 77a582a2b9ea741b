// Finds or builds the block at the current instruction pointer.
#pragma once

#include "engine/interpreter/cpu.h"

namespace doppel::interpreter {

// Storage for a block that is used once: one instruction, or the first few of a cached block.
struct ScratchBlock {
  alignas(Block) u8 storage[sizeof(Block) + (Block::max_instructions + 1) * sizeof(Op)];
  Block* block() { return reinterpret_cast<Block*>(storage); }
};

// `count` operations of a block, from `first` on, as a block of their own, to be entered at the same address as the whole. It lasts until
// the next call.
Block* some_operations(const Block& whole, unsigned first, unsigned count, ScratchBlock& scratch);

// The block at cpu.rip, of at most `limit` instructions. Whole blocks come from the cache and enter the jump cache; a shorter one,
// code outside of RAM, and code that other vCPUs may not yet know as such, is put into `scratch` (and lasts until the next call).
// nullptr: the fetch fault is recorded.
Block* find_block(Cpu& cpu, u64 limit, ScratchBlock& scratch);

// Where in RAM the code at cpu.rip is, noted as code that jumps lead to; no_ram if it is not there.
constexpr u64 no_ram = ~u64{0};
u64 physical_of_code(Cpu& cpu);

// The whole block at cpu.rip, if it has been decoded; nullptr says nothing about faults.
Block* find_known_block(Cpu& cpu);

}  // namespace doppel::interpreter
