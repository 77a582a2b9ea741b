#include <algorithm>
#include <utility>

#include "engine/translator/block_writer.h"

namespace doppel::translator {

using namespace x86;
using interpreter::TlbEntries;
namespace reg = Xbyak::util;

// R14 = the linear address; flags are clobbered.
void BlockWriter::address(const Place& place, i64 displacement) {
  const auto disp = static_cast<i32>(displacement);
  if (place.base == MemoryOperand::rip) {
    mov(reg::r14, qword[reg::rsp + frame_.at(native().code_page)]);
    if (place.index != MemoryOperand::none) {
      const unsigned index = in_register(place.index);
      lea(reg::r14, ptr[reg::r14 + Xbyak::Reg64(static_cast<int>(index)) * (1 << place.scale) + disp]);
    } else {
      lea(reg::r14, ptr[reg::r14 + disp]);
    }
  } else if (disp == 0 && place.index == MemoryOperand::none && place.base != MemoryOperand::none) {
    const unsigned base = in_register(place.base, scratch1);
    if (base != scratch1 || word_ == 4) mov(sized(scratch1, word_), sized(base, word_));
  } else {
    load_effective(scratch1, expression(place, disp));
  }
  if (place.segment < x86::fs) return;
  if (word_ == 8)
    add(reg::r14, qword[reg::rsp + frame_.segment_base(place.segment)]);
  else
    add(reg::r14d, dword[reg::rsp + frame_.segment_base(place.segment)]);
}

// LEA in the width of addresses.
void BlockWriter::load_effective(unsigned to, const Xbyak::RegExp& from) {
  if (word_ == 8)
    lea(Xbyak::Reg64(static_cast<int>(to)), ptr[from]);
  else
    lea(Xbyak::Reg32(static_cast<int>(to)), ptr[from]);
}

// Base and index in registers, loaded into R14 and R15 if they are slots.
Xbyak::RegExp BlockWriter::expression(const Place& place, i32 displacement) {
  Xbyak::RegExp exp;
  if (place.base != MemoryOperand::none)
    exp = Xbyak::RegExp(Xbyak::Reg64(static_cast<int>(in_register(place.base, scratch1))));
  if (place.index != MemoryOperand::none)
    exp = exp + Xbyak::RegExp(Xbyak::Reg64(static_cast<int>(in_register(place.index))), 1 << place.scale);
  return exp + displacement;
}

namespace {

bool has_bextr() {
  static const bool has = __builtin_cpu_supports("bmi");
  return has;
}

}  // namespace

// Of the slot in R15.
Xbyak::Address BlockWriter::in_table(std::size_t column) {
  return reg::qword[reg::r13 + reg::r15 * 8 + (static_cast<int>(column) - slot_control)];
}

// The tag that is compared.
Xbyak::Address BlockWriter::probe_tag(bool write) {
  return in_table(write ? offsetof(TlbEntries, write_tag) : offsetof(TlbEntries, read_tag));
}

// R15 = the slot of the linear address in R14.
void BlockWriter::take_slot() {
  if (has_bextr()) {
    bextr(reg::r15d, reg::r14d, reg::r13d);
  } else {
    mov(reg::r15d, reg::r14d);
    shr(reg::r15d, page_shift);
    and_(reg::r15d, static_cast<u32>(interpreter::Tlb::mask));
  }
}

// R14: linear → host address of `bytes` bytes, or to `cold`. `split`: what is to be added to R14 for it is in R15, which takes an
// addition out of the way from one load to the next.
void BlockWriter::probe(u64 bytes, bool write, bool dirties, Cold& cold, bool split) {
  const auto retry = static_cast<u32>(getSize());
  take_slot();
  xor_(reg::r14, probe_tag(write));
  cmp(reg::r14, static_cast<u32>(page_bytes) - static_cast<u32>(bytes));
  cold.probes.push_back(
      {jump_if(0x87), {.retry = retry, .bytes = static_cast<u16>(bytes), .write = write, .dirties = dirties}});
  const Xbyak::Address host = in_table(offsetof(TlbEntries, host));
  split ? mov(reg::r15, host) : add(reg::r14, host);
}

namespace {

// Whether an access is written without R15, but for the last thing that it does.
bool needs_no_scratch(const Step& step) {
  switch (step.kind) {
    case StepKind::push:
    case StepKind::pop:
      return step.in.operands[0].kind == OperandKind::immediate ||
             (stack_register(step) != x86::rsp && !is_slot(stack_register(step)));
    case StepKind::ret: return true;
    case StepKind::copy:
      return !step.traps && scratch_needed(step) == 0 && !(keeps(step.recipe) && step.enc.rm.written);
    case StepKind::nothing: return true;
    default: return false;
  }
}

}  // namespace

// Whether R15 can be part of the host address: a group of one step that changes no flags or all of them, or of steps that change none.
bool BlockWriter::leaves_scratch(const Group& group) const {
  const bool alone = group.first == group.last;
  u32 written = 0;
  for (unsigned i = group.first; i <= group.last; ++i) {
    const Step& step = steps_[i];
    if (!needs_no_scratch(step) || step.enc.flags_read != 0) return false;
    if (step.enc.flags_written != 0 && !(alone && overwrites_flags(step))) return false;
    if (!alone && step.x87 != X87::none) return false;
    if (step.kind == StepKind::pop)
      written |= bit_of(stack_register(step)) | bit_of(x86::rsp);
    else
      written |= step.enc.gprs_written | (step.kind == StepKind::copy ? 0 : bit_of(x86::rsp));
  }
  return (alone && overwrites_flags(steps_[group.first])) || leaves_recipe(written);
}

bool BlockWriter::traps_in(const Group& group) const {
  return std::any_of(steps_.begin() + group.first, steps_.begin() + group.last + 1,
                     [](const Step& step) { return step.traps; });
}

// Whether the flags as they are now must be saved for another block.
bool BlockWriter::ends_by_transfer(const Group& group) const {
  const Step& last = steps_[group.last];
  if (last.kind != StepKind::ret && last.kind != StepKind::call) return false;
  return std::none_of(steps_.begin() + group.first, steps_.begin() + group.last, overwrites_flags);
}

// A group with the steps ahead of its first access, from `at` on, the first of which overwrites the flags: with the probe ahead of them,
// what they leave in EFLAGS is still there behind it.
std::optional<Group> BlockWriter::group_from(unsigned at) const {
  constexpr unsigned most_ahead = 4;
  if (narrow_ || !overwrites_flags(steps_[at])) return std::nullopt;
  u32 written = 0;
  unsigned access = at;
  for (; !steps_[access].touches_memory(); ++access) {
    const Step& step = steps_[access];
    if (access == at + most_ahead || access + 1 >= segment_end_) return std::nullopt;
    if (step.traps || !may_be_in_group(step) || (access != at && overwrites_flags(step))) return std::nullopt;
    written |= step.enc.gprs_written;
  }
  const StepKind kind = steps_[access].kind;
  if (kind != StepKind::copy && kind != StepKind::push && kind != StepKind::pop) return std::nullopt;
  if (!may_be_in_group(steps_[access])) return std::nullopt;
  Group group = find_group(steps_, access, page_offset_);
  const bool same_place = (written & (bit_of(group.place.base) | bit_of(group.place.index))) == 0;
  if (!same_place || held_for(group) || !probe_costs_flags(at, group)) return std::nullopt;
  group.first = at;
  group.overwrites_flags = true;
  return group;
}

// Whether the flags that the step and those behind it leave would have to be saved for the group's probe, or computed again after it.
bool BlockWriter::probe_costs_flags(unsigned at, const Group& group) const {
  const bool again = steps_[at].recipe != Recipe::none &&
                     std::none_of(steps_.begin() + at + 1, steps_.begin() + group.first,
                                  [](const Step& step) { return step.enc.flags_written != 0; });
  if (!again) return true;
  for (unsigned i = group.first; i < steps_.size(); ++i) {
    const Step& step = steps_[i];
    if (i > group.last && (step.touches_memory() || stands_alone(step))) return false;
    if (step.enc.flags_read != 0) return true;
    if (overwrites_flags(step)) return false;
  }
  return true;
}

unsigned BlockWriter::emit_group(const Group& group) {
  group_last_ = group.last;
  if (ends_by_transfer(group)) ensure_saved();
  if (const Held* held = held_for(group)) {
    mov(reg::r14, held_address(*held));
    emit_accesses(group, held->low - held->moved);
    return group.last + 1;
  }
  if (group.overwrites_flags)
    flags_ = {.saved = true};
  else
    clobber();
  const Group wider = narrow_ ? group : used_again(group);
  const bool again = wider.uses != 0;
  const std::size_t cold = colds_.size();
  add_site(group.first, group.last - group.first + 1).departure.overwrites_flags = group.overwrites_flags;
  address(group.place, wider.low);
  const bool dirties = group.write && !traps_in(group);
  split_ = !again && leaves_scratch(group);
  probe(static_cast<u64>(wider.high - wider.low), wider.write, dirties, colds_[cold], split_);
  if (again) hold(wider);
  emit_accesses(group, wider.low);
  split_ = false;
  if (ended_) return group.last + 1;
  // The interpreter holds nothing: what it has done goes on in another block.
  const bool keeps_flags = flags_.recipe >= static_cast<int>(group.first) &&
                           keeps(steps_[static_cast<unsigned>(flags_.recipe)].recipe);
  if (!again && !keeps_flags) rejoin(colds_[cold]);
  return group.last + 1;
}

// host_memory() is where what lies at `low` of the group's place is.
void BlockWriter::emit_accesses(const Group& group, i64 low) {
  in_group_ = true;
  i64 moved = 0;
  for (unsigned i = group.first; i <= group.last; ++i) {
    const Step& step = steps_[i];
    if (!leaves_stack_alone(step)) settle_stack();
    if (const auto access = access_of(step, page_offset_))
      emit_access(i, static_cast<i32>(access->displacement + moved - low));
    else if (step.kind != StepKind::nothing)
      emit_register_step(i);
    if (group.place.one_register()) moved += movement(step, group.place.base).value_or(0);
  }
  settle_stack();
  in_group_ = false;
}

// Whether RSP may be settled after the step, or after those that follow it.
bool BlockWriter::leaves_stack_alone(const Step& step) {
  switch (step.kind) {
    case StepKind::push:
    case StepKind::pop: return step.in.operands[0].kind == OperandKind::immediate || stack_register(step) != x86::rsp;
    case StepKind::copy:
    case StepKind::lea: return !step.traps && ((step.enc.gprs_read | step.enc.gprs_written) & bit_of(x86::rsp)) == 0;
    default: return step.kind == StepKind::nothing;
  }
}

// host_memory() + `at` is the host address of the operand.
void BlockWriter::emit_access(unsigned number, i32 at) {
  const Step& step = steps_[number];
  const auto operand = word_at(host_memory() + at);
  switch (step.kind) {
    case StepKind::push: push_value(step, operand); return move_stack(-i32{word_});
    case StepKind::pop: {
      const unsigned gpr = stack_register(step);
      before(step, bit_of(gpr), false);
      if (gpr == x86::rsp) return mov(sized(guest_rsp_host, word_), operand);
      if (is_slot(gpr)) {
        mov(reg::r15, operand);
        mov(slot(gpr), reg::r15);
      } else {
        mov(sized(host_of(gpr), word_), operand);
      }
      return move_stack(word_);
    }
    case StepKind::leave:
      before(step, bit_of(x86::rsp) | bit_of(x86::rbp), false);
      load_effective(guest_rsp_host, reg::rbp + word_);
      mov(sized(x86::rbp, word_), operand);
      return;
    case StepKind::call:
      ensure_saved();
      push_return(step, operand);
      note_return(step);
      move_stack(-i32{word_});
      settle_stack();
      call_host(step, number);
      return exit_to(branch_target(step), number, static_cast<i16>(-word_));
    case StepKind::ret: {
      const auto released = static_cast<i32>(word_ + (step.in.immediate & 0xffff));
      mov(sized(scratch1, word_), operand);
      ensure_saved();
      move_stack(released);
      settle_stack();
      ended_ = true;
      return lookup(number, static_cast<i16>(released), to_.stubs.ret);
    }
    default: {
      before(step, step.enc.gprs_written, step.traps);
      const bool keep = keeps(step.recipe) && flags_last(number);
      keep ? copy_keeping(step, at)
           : copy_noting_trap(number, HostMemory{scratch1, at, split_ ? scratch2 : HostMemory::no_index});
      return after(step, number, keep);
    }
  }
}

void BlockWriter::push_value(const Step& step, const Xbyak::Address& to) {
  if (step.in.operands[0].kind == OperandKind::immediate) {
    word_ == 8 ? mov(to, step.in.immediate) : mov(to, static_cast<u32>(step.in.immediate));
    return;
  }
  const unsigned gpr = stack_register(step);
  mov(to, sized(in_register(gpr), word_));
}

void BlockWriter::push_return(const Step& step, const Xbyak::Address& to) {
  mov(reg::r15, qword[reg::rsp + frame_.at(native().code_page)]);
  lea(reg::r15, ptr[reg::r15 + after(step)]);
  mov(to, sized(scratch2, word_));
}

// The linear address in R15, for the RET; R14 = where. Clobbers the flags.
void BlockWriter::note_return(const Step& step) {
  if (!within_page(after(step))) return;
  mov(reg::r14d, reg::r12d);
  and_(reg::r14d, interpreter::NativeState::returns_mask);
  or_(reg::r14d, dword[reg::rsp + frame_.at(native().returns_written)]);
  mov(qword[return_slot() + static_cast<i32>(offsetof(interpreter::NativeReturn, rip))], reg::r15);
  flags_ = {.saved = true};
}

// A CALL, so that the host predicts where the guest's is returned to: behind this. The address goes beside the guest's at R14.
void BlockWriter::call_host(const Step& step, unsigned number) {
  settle_registers();
  if (!within_page(after(step))) return;
  constexpr u8 call_near = 0xe8, jump_bytes = 5;
  lea(reg::rsp, ptr[reg::rsp - 8]);  // the flags
  db(call_near);
  dd(jump_bytes);
  direct_exit(0, after(step), number);
  pop(qword[return_slot() + static_cast<i32>(offsetof(interpreter::NativeReturn, landing)) + 8]);
  lea(reg::rsp, ptr[reg::rsp + 8]);
}

Xbyak::RegExp BlockWriter::return_slot() const { return reg::rsp + reg::r14 * 2 + frame_.at(native().returns); }

// Within a group, where nothing departs, at the next step that could tell: so those that push and pop several move it once.
void BlockWriter::move_stack(i32 by) {
  forget_recipe(bit_of(x86::rsp));
  stack_moved_ += by;
  if (!in_group_) settle_stack();
}

void BlockWriter::settle_stack() {
  if (stack_moved_ != 0) load_effective(guest_rsp_host, reg::r12 + std::exchange(stack_moved_, 0));
}

// R14 = the operand in ModRM.rm, an address or what the stack holds. A probe that misses goes to the cold part `cold`.
void BlockWriter::load_operand(const Step& step, std::size_t cold) {
  if (!step.has_memory()) {
    const unsigned host = in_register(step.enc.rm.number, scratch1);
    if (host != scratch1) mov(sized(scratch1, word_), sized(host, word_));
    return;
  }
  const Access access = *access_of(step, page_offset_);
  address(access.place, access.displacement);
  probe(static_cast<u64>(word_), false, false, colds_[cold]);
  mov(sized(scratch1, word_), word_at(reg::r14));
}

// R14 = the host address of what is pushed next.
void BlockWriter::probe_push(Cold& cold) {
  load_effective(scratch1, reg::r12 - word_);
  probe(static_cast<u64>(word_), true, true, cold);
}

// PUSH of memory or of the flags: with a probe of the stack for itself.
unsigned BlockWriter::push_directly(unsigned at) {
  const Step& step = steps_[at];
  ensure_saved();
  flags_ = {.saved = true};
  const std::size_t cold = colds_.size();
  add_site(at, 1);
  const bool memory = step.kind == StepKind::push_memory;
  if (memory) {
    load_operand(step, cold);
    mov(qword[reg::rsp + frame_.at(native().target)], reg::r14);
  }
  probe_push(colds_[cold]);
  mov(reg::r15, qword[reg::rsp + (memory ? frame_.at(native().target) : frame_.at(cpu_.other_flags))]);
  mov(word_at(reg::r14), sized(scratch2, word_));
  if (!memory) add_saved_flags();
  move_stack(-word_);
  rejoin(colds_[cold]);
  return at + 1;
}

// Into the image of RFLAGS at R14.
void BlockWriter::add_saved_flags() {
  const i32 saved = frame_.at(cpu_.saved_flags);
  if (to_.pushes_flags) {
    movzx(reg::r15d, word[reg::rsp + saved]);
    and_(reg::r15d, static_cast<u32>(x86::rflags::status));
    or_(word[reg::r14], reg::r15w);
    return;
  }
  movzx(reg::r15d, byte[reg::rsp + saved + 1]);
  and_(reg::r15d, static_cast<u32>(x86::rflags::status & 0xff));
  or_(byte[reg::r14], reg::r15b);
  movzx(reg::r15d, byte[reg::rsp + saved]);
  shl(reg::r15d, 3);
  or_(byte[reg::r14 + 1], reg::r15b);
}

}  // namespace doppel::translator
