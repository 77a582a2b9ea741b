// Translated code with the interpreter beside it: what verifier.h describes, for the blocks of a vCPU. Blocks do not jump to each other
// here, so that each is compared where it ends.
#include <algorithm>

#include "engine/translator/translator_vcpu.h"

namespace doppel::translator {

using interpreter::Block;
using interpreter::Leave;

namespace {
constexpr u64 page_mask = ~u64{0xfff};
}

void TranslatorVcpu::run_verified(u32 index) {
  unsigned first = 0;
  u64 charged = 0;  // of the instructions from `first` on, when translated code goes on within a block
  u32 offset = translations_.blocks[index].entry_found;
  while (offset) {
    const NativeBlock native = translations_.blocks[index];
    Departure departure;
    if (!verified(native, first, charged, offset, departure)) {
      difference_ = verifier_->report(cpu_, *native.block, first);
      return kick();  // and so the end of run()
    }
    offset = after(departure);
    first = departure.first + departure.count;
    charged = static_cast<u64>(departure.charged - departure.count);
  }
}

bool TranslatorVcpu::verified(const NativeBlock& native, unsigned first, u64 charged, u32 offset, Departure& departure) {
  const Block& block = *native.block;
  unsigned end = block.count;
  if (const auto outlined = outlined_.find(block.native); outlined != outlined_.end())
    for (const u16 at : outlined->second)
      if (at >= first) end = std::min<unsigned>(end, at);
  cpu_.rip = cpu_.native.code_page + (block.physical & ~page_mask) + block.ops[first].offset;
  verifier_->start(native);
  interpret_first(block, first, charged, end - first);
  verifier_->translate();
  cpu_.native.go_alone();
  departure = translations_.departures[enter(offset)];
  verifier_->departed();
  show_departure(departure);
  if (const i64 fewer = verifier_->left(); fewer >= 0) {
    interpret_first(block, first, charged, static_cast<unsigned>(std::min<i64>(fewer, end - first)));
    verifier_->interpreted_again();
  }
  if (!verifier_->equal(departure.overwrites_flags)) return false;
  verifier_->resume();
  return true;
}

// `count` operations from cpu_.rip on, watched.
void TranslatorVcpu::interpret_first(const Block& block, unsigned first, u64 charged, unsigned count) {
  verifier_->interpret(charged);
  if (count == 0) return;
  cpu_.leave = Leave::next_block;
  run_operations(block, first, count);
}

// As the departure leaves the machine before anybody acts on it.
void TranslatorVcpu::show_departure(const Departure& departure) {
  const Block& block = *translations_.blocks[departure.block].block;
  const auto rip_of = [&](unsigned operation) {
    return cpu_.native.code_page + (block.physical & ~page_mask) + block.ops[operation].offset;
  };
  switch (departure.kind) {
    case DepartureKind::site:
    case DepartureKind::poll:
      cpu_.remaining += departure.charged;
      cpu_.rip = rip_of(departure.first);
      return;
    case DepartureKind::exit: cpu_.rip = cpu_.native.code_page + static_cast<u64>(departure.target); return;
    case DepartureKind::lookup:
      cpu_.rip = cpu_.native.target;
      if (x86::is_canonical(cpu_.rip) || departure.first == no_operation) return;
      cpu_.gpr[x86::rsp] -= static_cast<u64>(static_cast<i64>(departure.released));
      ++cpu_.remaining;
      cpu_.rip = rip_of(departure.first);
      return;
  }
}

}  // namespace doppel::translator
