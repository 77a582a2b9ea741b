#include <algorithm>
#include <span>

#include "engine/translator/block_writer.h"

namespace doppel::translator {

using namespace x86;
using interpreter::TlbEntry;
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

// RORX, to another register.
bool has_rotate() {
  static const bool has = __builtin_cpu_supports("bmi2");
  return has;
}

// Displacement of the tag that is compared, in the table's entry.
int BlockWriter::probe_tag(bool write) {
  return static_cast<int>(write ? offsetof(TlbEntry, write_tag) : offsetof(TlbEntry, read_tag));
}

// R14: linear → host address of `bytes` bytes, or to `cold`.
void BlockWriter::probe(u64 bytes, bool write, Cold& cold) {
  constexpr unsigned entry_shift = 5;
  const auto retry = static_cast<u32>(getSize());
  if (has_rotate()) {
    rorx(reg::r15d, reg::r14d, page_shift - entry_shift);
  } else {
    mov(reg::r15d, reg::r14d);
    shr(reg::r15d, page_shift - entry_shift);
  }
  and_(reg::r15d, static_cast<u32>(interpreter::Tlb::mask << entry_shift));
  xor_(reg::r14, ptr[reg::r13 + reg::r15 + probe_tag(write)]);
  cmp(reg::r14, static_cast<u32>(page_bytes) - static_cast<u32>(bytes));
  const u32 miss = jump_if(0x87);
  if (cold.refills)
    cold.probes.push_back({miss, {.retry = retry, .bytes = static_cast<u16>(bytes), .write = write}});
  else
    cold.jumps.push_back(miss);
  add(reg::r14, ptr[reg::r13 + reg::r15 + static_cast<int>(offsetof(TlbEntry, host))]);
  if (write) {
    mov(reg::r15, ptr[reg::r13 + reg::r15 + static_cast<int>(offsetof(TlbEntry, flags))]);
    cmp(byte[reg::r15], 0);
    cold.jumps.push_back(jump_if(0x85));
  }
}

// Whether the group can be left before it writes, so that its page must not be marked as written to yet.
bool BlockWriter::traps_before_write(const Group& group) const {
  const std::span<const Step> steps(steps_.data() + group.first, group.last - group.first + 1);
  return group.write && std::any_of(steps.begin(), steps.end(), [](const Step& step) { return step.traps; });
}

unsigned BlockWriter::emit_group(const Group& group) {
  clobber();
  const std::size_t cold = colds_.size();
  add_site(group.first, group.last - group.first + 1).refills = !traps_before_write(group);
  address(group.place, group.low);
  probe(static_cast<u64>(group.high - group.low), group.write, colds_[cold]);
  in_group_ = true;
  i64 moved = 0;
  for (unsigned i = group.first; i <= group.last; ++i) {
    const Step& step = steps_[i];
    const auto access = access_of(step, page_offset_);
    const bool stack = group.place.base == x86::rsp && group.place.index == MemoryOperand::none;
    if (access)
      emit_access(i, static_cast<i32>(access->displacement + (stack ? moved : 0) - group.low));
    else if (step.kind != StepKind::nothing)
      emit_register_step(i);
    if (stack) moved += stack_movement(step).value_or(0);
  }
  in_group_ = false;
  if (!ended_) rejoin(colds_[cold]);
  return group.last + 1;
}

// R14 + `at` is the host address of the operand.
void BlockWriter::emit_access(unsigned number, i32 at) {
  const Step& step = steps_[number];
  const auto operand = word_at(reg::r14 + at);
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
      push_return(step, operand);
      move_stack(-i32{word_});
      return exit_to(branch_target(step), number, static_cast<i16>(-word_));
    case StepKind::ret: {
      const auto released = static_cast<i32>(word_ + (step.in.immediate & 0xffff));
      mov(sized(scratch1, word_), operand);
      move_stack(released);
      ensure_saved();
      ended_ = true;
      return lookup(number, static_cast<i16>(released));
    }
    default:
      before(step, step.enc.gprs_written, step.traps);
      copy_noting_trap(number, HostMemory{scratch1, at});
      after(step, number);
      return;
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

void BlockWriter::move_stack(i32 by) {
  forget_recipe(bit_of(x86::rsp));
  load_effective(guest_rsp_host, reg::r12 + by);
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
  probe(static_cast<u64>(word_), false, colds_[cold]);
  mov(sized(scratch1, word_), word_at(reg::r14));
}

// R14 = the host address of what is pushed next.
void BlockWriter::probe_push(Cold& cold) {
  load_effective(scratch1, reg::r12 - word_);
  probe(static_cast<u64>(word_), true, cold);
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
  const i32 saved = frame_.at(native().saved_flags);
  movzx(reg::r15d, byte[reg::rsp + saved + 1]);
  and_(reg::r15d, 0xd5);
  or_(byte[reg::r14], reg::r15b);
  movzx(reg::r15d, byte[reg::rsp + saved]);
  shl(reg::r15d, 3);  // OF is bit 11
  or_(byte[reg::r14 + 1], reg::r15b);
}

}  // namespace doppel::translator
