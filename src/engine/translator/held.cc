// One probe of the TLB for accesses that do not follow one another: its host address is kept in NativeState::held and is good to the
// end of the block, as long as nothing of it changes the registers that it was formed from. Nothing within a block ends translations:
// what could (INVLPG, control registers, anything that is left to the interpreter) lets go of all.
#include <algorithm>

#include "engine/translator/block_writer.h"

namespace doppel::translator {

using namespace x86;
namespace reg = Xbyak::util;

namespace {

constexpr i64 widest = 256, widest_stack = 512;  // bytes
constexpr unsigned farthest = 40;                // steps

}  // namespace

Xbyak::Address BlockWriter::held_address(const Held& held) {
  return qword[reg::rsp + frame_.at(native().held[static_cast<std::size_t>(&held - held_.data())])];
}

const BlockWriter::Held* BlockWriter::held_for(const Group& group) const {
  const auto at = std::find_if(held_.begin(), held_.end(), [&](const Held& held) {
    return held.valid && held.place == group.place && held.low <= group.low + held.moved &&
           group.high + held.moved <= held.high && (held.write || !group.write);
  });
  return at == held_.end() ? nullptr : &*at;
}

// The group, as wide as later accesses to its place need it. Stores that may not happen count on the stack only: its pages are seldom
// read-only.
Group BlockWriter::used_again(const Group& group) const {
  Group wider = group;
  const bool stack = group.place.is_stack();
  const i64 limit = stack ? widest_stack : widest;
  i64 moved = 0;
  for (unsigned i = group.first; i < steps_.size() && i < group.first + farthest; ++i) {
    const Step& step = steps_[i];
    if (i > group.last) {
      if (stands_alone(step)) break;
      const auto access = access_of(step, page_offset_);
      if (access && access->place == group.place && may_be_in_group(step) && (!access->write || group.write || stack)) {
        const i64 at = access->displacement + moved;
        const i64 low = std::min(wider.low, at), high = std::max(wider.high, at + access->bytes);
        if (high - low <= limit && low == static_cast<i32>(low)) {
          wider.low = low;
          wider.high = high;
          wider.write |= access->write;
          ++wider.uses;
        }
      }
      if (step.kind == StepKind::call || step.kind == StepKind::ret) break;
    }
    if (changes(step, group.place, moved)) break;
  }
  return wider;
}

// Behind its probe.
void BlockWriter::hold(const Group& group) {
  const auto at = std::min_element(held_.begin(), held_.end(), [](const Held& a, const Held& b) {
    return std::pair(a.valid, a.age) < std::pair(b.valid, b.age);
  });
  *at = {
      .place = group.place, .low = group.low, .high = group.high, .write = group.write, .age = ++holds_, .valid = true};
  mov(held_address(*at), reg::r14);
}

void BlockWriter::note_held(const Step& step) {
  for (Held& held : held_)
    if (held.valid && (stands_alone(step) || changes(step, held.place, held.moved))) held.valid = false;
}

}  // namespace doppel::translator
