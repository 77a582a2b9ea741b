// Within a block, R12–R15, which have no host register, lodge in those of registers that the block has nothing to do with: all steps
// name them anew, and their values are exchanged on the way in and out. A block that branches to its own beginning goes round without.
#include <algorithm>
#include <numeric>
#include <utility>

#include "engine/translator/block_writer.h"

namespace doppel::translator {

using namespace x86;
namespace reg = Xbyak::util;

namespace {

// How often it has to be named for it to be worth the exchange, where the block goes round and where not.
constexpr unsigned worth_while_round = 2, worth_while = 6;

// Whether the step names all the registers that it has to do with so that they can be others.
bool is_renamable(const Step& step) {
  switch (step.kind) {
    case StepKind::nothing:
    case StepKind::copy:
    case StepKind::lea:
    case StepKind::push:
    case StepKind::pop:
    case StepKind::jump:
    case StepKind::branch:
    case StepKind::call:
    case StepKind::jump_indirect:
    case StepKind::call_indirect:
    case StepKind::ret: return true;
    default: return false;
  }
}

u32 fields_of(const Step& step) {
  u32 named = 0;
  for (const RegisterField* field : {&step.enc.reg, &step.enc.rm, &step.enc.vvvv, &step.enc.opcode_reg}) {
    if (field->kind == FieldKind::gpr) named |= bit_of(field->number);
    if (field->kind == FieldKind::gpr_high) named |= bit_of(field->number & 3u);
  }
  return named | bit_of(step.in.memory.base) | bit_of(step.in.memory.index);
}

}  // namespace

void BlockWriter::choose_lodgings() {
  if (!std::all_of(steps_.begin(), steps_.end(), is_renamable)) return;
  std::array<unsigned, 16> named{};
  u32 used = bit_of(x86::rax) | bit_of(x86::rsp);
  bool round = false;
  for (const Step& step : steps_) {
    const u32 fields = fields_of(step);
    used |= fields | step.enc.gprs_read | step.enc.gprs_written | step.enc.hidden_gprs;
    for (unsigned gpr = Lodgings::first; gpr <= Lodgings::last; ++gpr) named[gpr] += (fields & bit_of(gpr)) != 0;
    round |= (step.kind == StepKind::branch || step.kind == StepKind::jump) && branch_target(step) == page_offset_;
  }
  std::array<unsigned, 4> lodgers{12, 13, 14, 15};
  std::stable_sort(lodgers.begin(), lodgers.end(), [&](unsigned a, unsigned b) { return named[a] > named[b]; });
  unsigned free = 0;
  for (const unsigned lodger : lodgers) {
    while (free < Lodgings::first && (used & bit_of(free))) ++free;
    if (free == Lodgings::first || named[lodger] < (round ? worth_while_round : worth_while)) return;
    to_.blocks[index_].lodgings.lodge(lodger, free++);
  }
}

void BlockWriter::use_lodgings() {
  const Lodgings& lodgings = to_.blocks[index_].lodgings;
  if (!lodgings.any()) return;
  std::array<u8, 16> names{};
  std::iota(names.begin(), names.end(), u8{0});
  for (unsigned gpr = Lodgings::first; gpr <= Lodgings::last; ++gpr)
    if (const unsigned host = lodgings.host(gpr)) std::swap(names[gpr], names[host]);
  for (Step& step : steps_) rename(step, names);
}

// From where blocks have the registers to where this one has them, or back. Changes R15, but not the flags.
void BlockWriter::exchange() {
  const Lodgings& lodgings = to_.blocks[index_].lodgings;
  for (unsigned gpr = Lodgings::first; gpr <= Lodgings::last; ++gpr) {
    const unsigned host = lodgings.host(gpr);
    if (!host) continue;
    const Xbyak::Reg64 place(static_cast<int>(host_of(host)));
    mov(reg::r15, slot(gpr));
    mov(slot(gpr), place);
    mov(place, reg::r15);
  }
}

void BlockWriter::settle_in() {
  exchange();
  lodged_ = to_.blocks[index_].lodgings.any();
}

// On the way out.
void BlockWriter::settle_registers() {
  if (std::exchange(lodged_, false)) exchange();
}

// Behind what is looked at once. What could want something of the vCPU is asked about at each branch backwards.
void BlockWriter::begin_round() {
  settle_in();
  if (to_.counted || to_.profiled || block_.crossing) return;
  round_ = static_cast<u32>(getSize());
  round_saved_ = flags_.saved;
}

bool BlockWriter::goes_round(i64 target) const {
  return round_ != 0 && target == page_offset_ && lodged_ == to_.blocks[index_].lodgings.any();
}

// With the flags where they were when the block began.
void BlockWriter::go_round(u8 condition) {
  if (!round_saved_) {
    ensure_eflags();
  } else if (!flags_.saved && condition) {
    const u32 on = jump_if(condition ^ 1);
    save_flags();
    jump_to(round_);
    return patch_to(on, getSize());
  } else {
    ensure_saved();
  }
  patch_to(jump_if(condition), round_);
}

}  // namespace doppel::translator
