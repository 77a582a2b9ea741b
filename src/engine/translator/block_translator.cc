#include "engine/translator/block_translator.h"

#include <algorithm>
#include <span>

#include "base/bits.h"
#include "base/check.h"
#include "engine/translator/block_writer.h"
#include "isa/x86/decoder.h"

namespace doppel::translator {

using namespace x86;
namespace reg = Xbyak::util;

Translations make_translations(CodeCache cache, const Cpu& cpu, const Helpers& helpers) {
  CHECK(cache.data_bytes() >= data_bytes(cache.bytes()));
  const Stubs stubs = emit_stubs(cache, cpu, helpers);
  const u64 cold_begin = align_down(cache.bytes() * 3 / 5, u64{4096});
  return {.cache = std::move(cache),
          .stubs = stubs,
          .hot = stubs.end,
          .cold = cold_begin,
          .cold_begin = cold_begin,
          .charged = false,
          .counted = false,
          .pushes_flags = true,
          .blocks = std::deque<NativeBlock>(1),
          .departures = std::deque<Departure>(1),
          .links = std::deque<Link>(1),
          .refills = {},
          .traps = {},
          .entered = {}};
}

bool Translations::room() const {
  return hot + largest_hot <= cold_begin && cold + largest_cold <= cache.bytes() &&
         bytes() + largest_hot + largest_cold <= cache.bytes();
}

void Translations::drop() {
  entered.clear();
  cache.forget_from(stubs.end);
  hot = stubs.end;
  cold = cold_begin;
  blocks.resize(1);
  departures.resize(1);
  links.resize(1);
  linked = 0;
  refills.clear();
  traps.clear();
}

BlockWriter::BlockWriter(const Cpu& cpu, Translations& to, u32 index)
    : CodeWriter(cpu, to.cache.bytes(), to.cache.writable()),
      to_(to),
      block_(*to.blocks[index].block),
      page_offset_(static_cast<i32>(block_.physical & (page_bytes - 1))),
      word_(block_.mode == CodeMode::long64 ? 8 : 4),
      index_(index) {
  setSize(to.hot);
  decode();
}

void BlockWriter::write() {
  align(8);
  choose_lodgings();
  use_lodgings();
  entry();
  emit_range(0, static_cast<unsigned>(steps_.size()));
  if (!ended_) exit_to(page_offset_ + block_.length, interpreter_takes_over);
  if (block_.crossing) guarded_entry();
  finish();
}

void BlockWriter::emit_range(unsigned first, unsigned end) {
  for (unsigned at = first; at < end;) {
    const unsigned next = emit_steps(at);
    for (; at < next; ++at) note_held(steps_[at]);
  }
}

// What is cold, and the ends of both.
void BlockWriter::finish() {
  CHECK(getSize() - to_.hot <= largest_hot);
  to_.hot = getSize();
  setSize(to_.cold);
  for (std::size_t i = 0; i < colds_.size(); ++i) emit_cold(colds_[i]);
  CHECK(getSize() - to_.cold <= largest_cold);
  to_.cold = getSize();
}

// In the place of a departure, where the flags are saved and the instructions charged.
void BlockWriter::write_narrowly(u32 departure) {
  const Departure site = to_.departures[departure];
  to_.departures[departure].narrowed = true;
  narrow_ = true;
  flags_ = {.saved = true};
  segment_end_ = segment_end(site.first);
  const auto here = static_cast<u32>(getSize());
  use_lodgings();
  settle_in();
  emit_range(site.first, site.first + site.count);
  if (!ended_ && site.rejoin) {
    ensure_saved();
    if (site.flags_after) restore_flags();
    jump_to(site.rejoin);
  } else if (!ended_) {
    const unsigned next = site.first + site.count;
    charge(static_cast<int>(next) - static_cast<int>(segment_end_));  // what follows pays for itself
    exit_to(after(steps_[next - 1]), interpreter_takes_over);
  }
  patch_to(site.patch, here);
  finish();
}

// A displacement counts from the end of the instruction, and from the page's beginning in translated code.
bool BlockWriter::addressable(const Step& step) const {
  const i64 displacement = step.in.memory.displacement + after(step);
  return step.in.memory.base != MemoryOperand::rip || displacement == static_cast<i32>(displacement);
}

std::vector<u8> BlockWriter::bytes() const {
  const u8* code = cpu_.ram + block_.physical;
  const unsigned here = block_.crossing ? static_cast<unsigned>(page_bytes - page_offset_) : block_.length;
  std::vector<u8> bytes(code, code + here);
  const u8* second = cpu_.ram + (block_.second_page << page_shift);
  bytes.insert(bytes.end(), second, second + (block_.length - here));
  return bytes;
}

void BlockWriter::decode() {
  const std::vector<u8> code = bytes();
  for (unsigned i = 0; i < block_.count; ++i) {
    const interpreter::Op& op = block_.ops[i];
    const auto rest = std::span(code).subspan(op.offset);
    Step step = make_step(cpu_.decoder, block_.mode, rest.first(std::min<std::size_t>(rest.size(), 15)), op.offset);
    if (step.in.length != op.length) {  // its bytes are being changed, or it does not decode
      step = {};
      step.offset = op.offset;
      step.in.length = op.length;
    }
    if (!addressable(step)) step.kind = StepKind::outline;
    if (step.kind == StepKind::copy && step.enc.vector) vectors_ |= step.enc.vex ? 3 : 1;
    x87_ |= step.x87 != X87::none;
    if (word_ == 4 && step.has_memory() && step.kind != StepKind::outline && step.in.memory.segment >= x86::fs)
      segments_ |= static_cast<u8>(1 << step.in.memory.segment);
    steps_.push_back(step);
  }
}

// End of the run of steps that are charged together: behind the next branch.
unsigned BlockWriter::segment_end(unsigned at) const {
  while (at < steps_.size() && steps_[at].kind != StepKind::branch) ++at;
  return std::min<unsigned>(at + 1, static_cast<unsigned>(steps_.size()));
}

// What the block does first with the flags it finds.
BlockWriter::Wants BlockWriter::wants() const {
  if (vectors_ || x87_ || segments_ || to_.counted) return Wants::saved;
  for (const Step& step : steps_) {
    if (step.kind == StepKind::nothing || step.kind == StepKind::lea) continue;
    if (step.kind != StepKind::copy || step.has_memory() || !expressible(step))
      return step.kind == StepKind::branch || step.kind == StepKind::jump ? Wants::eflags : Wants::saved;
    if (step.traps) return Wants::eflags;
    if (step.enc.flags_written == 0 && step.enc.flags_read == 0) continue;
    return overwrites_flags(step) ? Wants::neither : Wants::eflags;
  }
  return Wants::eflags;
}

void BlockWriter::entry() {
  NativeBlock& native_block = to_.blocks[index_];
  native_block.vectors = vectors_ & 3;
  native_block.x87 = x87_;
  native_block.segments = segments_;
  const auto here = [&] { return static_cast<u32>(getSize()); };
  switch (wants()) {
    case Wants::saved:
      native_block.entry_flags = here();
      save_flags();
      native_block.entry_saved = here();
      flags_ = {.saved = true};
      break;
    case Wants::eflags:
      native_block.entry_saved = here();
      restore_flags();
      native_block.entry_flags = here();
      flags_ = {.in_eflags = true};
      break;
    case Wants::neither:
      native_block.entry_flags = native_block.entry_saved = here();
      flags_ = {.in_eflags = true};
      break;
  }
  if (to_.profiled) count_entry();
  native_block.entry_found = native_block.entry_saved;
  if (to_.counted) check_budget();
  if (segments_) check_segments();
  if (vectors_) check_unit(Unit::vectors);
  if (x87_) check_unit(Unit::x87);
  begin_round();
}

void BlockWriter::count_entry() {
  to_.entered.resize(index_ + 1);
  mov(reg::r14, reinterpret_cast<u64>(&to_.entered[index_]));
  mov(reg::r15, qword[reg::r14]);
  lea(reg::r15, ptr[reg::r15 + 1]);
  mov(qword[reg::r14], reg::r15);
}

// Of a block that spans two pages: whether the second is still the one that it was translated from is known to the jump cache.
void BlockWriter::guarded_entry() {
  NativeBlock& native_block = to_.blocks[index_];
  native_block.entry_flags = static_cast<u32>(getSize());
  save_flags();
  native_block.entry_saved = static_cast<u32>(getSize());
  const u32 departure = add_departure({.kind = DepartureKind::lookup, .first = no_operation, .block = index_});
  look_up(page_offset_, word_, departure, to_.stubs.lookup);
}

void BlockWriter::check_budget() {
  cmp(qword[reg::rsp + frame_.at(cpu_.remaining)], static_cast<u32>(block_.count));
  add_cold(DepartureKind::poll, 0).jumps.push_back(jump_if(0x8c));
}

// Who goes on when they are not flat is the interpreter.
void BlockWriter::check_segments() {
  movzx(reg::r15d, byte[reg::rsp + frame_.at(native().flat_segments)]);
  not_(reg::r15d);
  test(reg::r15d, u32{segments_});
  add_cold(DepartureKind::poll, 0).jumps.push_back(jump_if(0x85));
}

void BlockWriter::check_unit(Unit unit) {
  if (unit == Unit::x87)
    cmp(byte[reg::rsp + frame_.at(native().x87_loaded)], 0);
  else
    test(byte[reg::rsp + frame_.at(native().vectors_loaded)], vectors_ == 3 ? 2 : 1);
  Cold& cold = add_cold(DepartureKind::poll, 0);
  cold.load = unit;
  cold.jumps.push_back(jump_if(0x84));
  cold.rejoin = static_cast<u32>(getSize());
}

void BlockWriter::charge(int count) {
  if (!to_.charged || count == 0) return;
  const auto remaining = qword[reg::rsp + frame_.at(cpu_.remaining)];
  if (!flags_.in_eflags) {
    sub(remaining, static_cast<u32>(count));
    return;
  }
  mov(reg::r15, remaining);
  lea(reg::r15, ptr[reg::r15 - count]);
  mov(remaining, reg::r15);
}

// A load that faults when the vCPU is wanted.
void BlockWriter::poll(unsigned first) {
  mov(reg::r15, qword[reg::rsp + frame_.at(native().poll)]);
  add_cold(DepartureKind::poll, first).traps.push_back(static_cast<u32>(getSize()));
  mov(reg::r15d, dword[reg::r15]);
}

bool BlockWriter::goes_back(unsigned first) const {
  const Step& last = steps_[segment_end_ - 1];
  if (last.kind != StepKind::branch && last.kind != StepKind::jump && last.kind != StepKind::call) return false;
  const i64 target = branch_target(last);
  return target <= in_page(steps_[first]);
}

// One step or one group; returns the next step's number.
unsigned BlockWriter::emit_steps(unsigned at) {
  if (at >= segment_end_) {
    const unsigned first = at;
    segment_end_ = segment_end(at);
    if (goes_back(first)) poll(first);
    charge(static_cast<int>(segment_end_ - first));
  }
  const Step& step = steps_[at];
  switch (step.kind) {
    case StepKind::outline: return outline(at);
    case StepKind::nothing: return at + 1;
    case StepKind::jump: exit_to(branch_target(step), at); return at + 1;
    case StepKind::branch: return branch(at);
    case StepKind::jump_indirect: return jump_indirect(at);
    case StepKind::call_indirect: return call_indirect(at);
    case StepKind::push_memory:
    case StepKind::push_flags: return push_directly(at);
    case StepKind::cli:
    case StepKind::sti:
    case StepKind::swapgs: return privileged(at);
    case StepKind::pause: return spin(at);
    case StepKind::load_control: return load_control(at);
    case StepKind::cld:
    case StepKind::std: return set_direction(at);
    case StepKind::stac:
    case StepKind::clac: return to_.counted ? outline(at) : set_access_check(at);
    case StepKind::rdtsc:
    case StepKind::syscall:
    case StepKind::sysret: return to_.counted ? outline(at) : system(at);
    case StepKind::bit_string: return bit_string(at);
    case StepKind::rep_stos:
    case StepKind::rep_movs: return to_.counted ? outline(at) : repeat_string(at);
    default: break;
  }
  if (!step.touches_memory()) {
    const std::optional<Group> group = group_from(at);
    return group ? emit_group(*group) : emit_register_step(at);
  }
  if (!expressible(step)) return outline(at);
  return emit_group(find_group(std::span(steps_).first(narrow_ ? at + 1 : steps_.size()), at, page_offset_));
}

// With all that follow it and are left to the interpreter, too.
unsigned BlockWriter::outline(unsigned at) {
  unsigned count = 1;
  while (at + count < segment_end_ && steps_[at + count].kind == StepKind::outline) ++count;
  ensure_saved();
  Cold& cold = add_site(at, count);
  cold.departure.outlined = true;
  cold.departure.mnemonic = static_cast<u16>(steps_[at].in.mnemonic);
  cold.jumps.push_back(jump_if(0));
  flags_ = {.saved = true};
  rejoin(cold);
  return at + count;
}

unsigned BlockWriter::branch(unsigned at) {
  const Step& step = steps_[at];
  ensure_eflags();
  const auto condition = static_cast<u8>(0x80 | (step.in.opcode & 15));
  const i64 target = branch_target(step);
  if (within_page(target)) {
    direct_exit(condition, target, at);
  } else {
    Cold& cold = add_cold(DepartureKind::lookup, at);
    cold.way = Cold::Way::to_page;
    cold.target = target;
    cold.jumps.push_back(jump_if(condition));
  }
  return at + 1;
}

unsigned BlockWriter::emit_register_step(unsigned at) {
  const Step& step = steps_[at];
  if (!expressible(step) || scratch_needed(step) > (in_group_ ? 1u : 2u)) {
    CHECK(!in_group_);
    return outline(at);
  }
  before(step, step.enc.gprs_written, step.traps);
  const bool keep = keeps(step.recipe) && flags_last(at);
  if (keep)
    mov(qword[reg::rsp + frame_.at(native().kept)],
        Xbyak::Reg64(static_cast<int>(in_register(step.destination().number))));
  if (step.kind == StepKind::lea)
    load_address(step);
  else if (step.kind == StepKind::read_segment)
    read_segment(step);
  else if (step.kind == StepKind::copy)
    copy_noting_trap(at, std::nullopt);
  after(step, at, keep);
  return at + 1;
}

void BlockWriter::copy_noting_trap(unsigned at, std::optional<HostMemory> memory) {
  const Step& step = steps_[at];
  const std::size_t cold = colds_.size();
  if (step.traps) add_site(at, 1);
  copy(step, memory);
  if (step.traps) colds_[cold].traps.push_back(encoded_at_);
  note_x87(at);
}

// FIP, unless the next step tells it before anything can look.
void BlockWriter::note_x87(unsigned at) {
  const auto quiet = [](const Step& step) { return step.x87 == X87::numeric && !step.has_memory(); };
  if (steps_[at].x87 != X87::numeric || (at + 1 < segment_end_ && quiet(steps_[at + 1]))) return;
  if (!x87_page_noted_) {
    mov(reg::r15, qword[reg::rsp + frame_.at(native().code_page)]);
    mov(qword[reg::rsp + frame_.at(native().x87_page)], reg::r15);
    x87_page_noted_ = true;
  }
  mov(dword[reg::rsp + frame_.at(native().x87_offset)], static_cast<u32>(in_page(steps_[at])));
}

// FLDCW, of a copy that nobody changes; one that unmasks exceptions is the interpreter's.
unsigned BlockWriter::load_control(unsigned at) {
  clobber();
  const std::size_t cold = colds_.size();
  add_site(at, 1);
  const Access access = *access_of(steps_[at], page_offset_);
  address(access.place, access.displacement);
  probe(2, false, false, colds_[cold]);
  movzx(reg::r15d, word[reg::r14]);
  mov(qword[reg::rsp + frame_.at(native().target)], reg::r15);
  not_(reg::r15d);
  test(reg::r15d, 0x3f);
  colds_[cold].jumps.push_back(jump_if(0x85));
  fldcw(word[reg::rsp + frame_.at(native().target)]);
  rejoin(colds_[cold]);
  return at + 1;
}

void BlockWriter::load_address(const Step& step) {
  const MemoryOperand& memory = step.in.memory;
  const RegisterField& to = step.enc.reg;
  const unsigned host = is_slot(to.number) ? scratch2 : host_of(to.number);
  Xbyak::RegExp exp;
  if (memory.base == MemoryOperand::rip) {
    mov(reg::r15, qword[reg::rsp + frame_.at(native().code_page)]);
    exp = Xbyak::RegExp(reg::r15) + static_cast<i32>(memory.displacement + after(step));
  } else {
    // The first slot is loaded into R15, a second one into R14.
    unsigned scratch = scratch2;
    const auto load = [&](u8 gpr) {
      if (!is_slot(gpr)) return Xbyak::Reg64(static_cast<int>(host_of(gpr)));
      const Xbyak::Reg64 loaded(static_cast<int>(scratch--));
      mov(loaded, slot(gpr));
      return loaded;
    };
    if (memory.base != MemoryOperand::none) exp = Xbyak::RegExp(load(memory.base));
    if (memory.index != MemoryOperand::none)
      exp = exp + (memory.index == memory.base && is_slot(memory.base)
                       ? Xbyak::RegExp(reg::r15, 1 << memory.scale)
                       : Xbyak::RegExp(load(memory.index), 1 << memory.scale));
    exp = exp + static_cast<i32>(memory.displacement);
  }
  if (to.bytes == 8)
    lea(Xbyak::Reg64(static_cast<int>(host)), ptr[exp]);
  else
    lea(Xbyak::Reg32(static_cast<int>(host)), ptr[exp]);
  if (is_slot(to.number)) mov(slot(to.number), reg::r15);
}

// CLI, STI and SWAPGS of a supervisor. STI holds interrupts off for one instruction: that cannot be seen when none is pending and the
// next instruction follows without a look at events, within the block.
unsigned BlockWriter::privileged(unsigned at) {
  const StepKind kind = steps_[at].kind;
  if (kind == StepKind::sti && at + 1 == segment_end_) return outline(at);
  ensure_saved();
  flags_ = {.saved = true};
  Cold& cold = add_site(at, 1);
  cmp(byte[reg::rsp + frame_.at(cpu_.user)], 0);
  cold.jumps.push_back(jump_if(0x85));
  if (kind == StepKind::cli) {
    change_flag(rflags::if_, false);
  } else if (kind == StepKind::sti) {
    cmp(dword[reg::rsp + frame_.at(cpu_.events)], 0);
    cold.jumps.push_back(jump_if(0x85));
    change_flag(rflags::if_, true);
  } else {
    const auto current = qword[reg::rsp + frame_.segment_base(x86::gs)];
    const auto other = qword[reg::rsp + frame_.at(cpu_.s.kernel_gs_base)];
    mov(reg::r14, current);
    mov(reg::r15, other);
    mov(other, reg::r14);
    mov(current, reg::r15);
  }
  rejoin(cold);
  return at + 1;
}

void BlockWriter::read_segment(const Step& step) {
  movzx(reg::r15d, word[reg::rsp + frame_.at(cpu_.s.segments[step.in.operands[1].index].selector)]);
  const u8 to = step.in.operands[0].index;
  if (step.in.operand_bytes == 2)
    is_slot(to) ? mov(word[reg::rsp + frame_.gpr(to)], reg::r15w) : mov(sized(host_of(to), 2), reg::r15w);
  else
    is_slot(to) ? mov(slot(to), reg::r15) : mov(sized(host_of(to), 4), reg::r15d);
}

// Of RFLAGS, but none of the status flags.
void BlockWriter::change_flag(u64 flag, bool set) {
  const auto flags = qword[reg::rsp + frame_.at(cpu_.other_flags)];
  set ? or_(flags, static_cast<u32>(flag)) : and_(flags, ~static_cast<u32>(flag));
}

unsigned BlockWriter::set_direction(unsigned at) {
  ensure_saved();
  flags_ = {.saved = true};
  change_flag(rflags::df, steps_[at].kind == StepKind::std);
  return at + 1;
}

// STAC and CLAC change which of a supervisor's TLB tables is the current one. When verifying, that is none of the TLB's, so that with an
// instruction clock they are the interpreter's; REP instructions are, too: it counts their runs.
unsigned BlockWriter::set_access_check(unsigned at) {
  const bool set = steps_[at].kind == StepKind::stac;
  ensure_saved();
  flags_ = {.saved = true};
  Cold& cold = add_site(at, 1);
  cold.departure.mnemonic = static_cast<u16>(steps_[at].in.mnemonic);
  mov(reg::r15, qword[reg::rsp + frame_.at(native().access_tables[set])]);
  test(reg::r15, reg::r15);
  cold.jumps.push_back(jump_if(0x84));
  mov(qword[reg::rsp + frame_.at(cpu_.tlb)], reg::r15);
  lea(reg::r13, ptr[reg::r15 + slot_control]);
  change_flag(rflags::ac, set);
  rejoin(cold);
  return at + 1;
}

// PAUSE; one in many is left to the interpreter, which yields.
unsigned BlockWriter::spin(unsigned at) {
  if (cpu_.count == 1) return at + 1;
  ensure_saved();
  flags_ = {.saved = true};
  Cold& cold = add_site(at, 1);
  cold.departure.mnemonic = static_cast<u16>(steps_[at].in.mnemonic);
  sub(dword[reg::rsp + frame_.at(native().until_yield)], 1);
  cold.jumps.push_back(jump_if(0x82));
  pause();
  rejoin(cold);
  return at + 1;
}

// RDTSC, SYSCALL and SYSRET: in C++, but mostly without being left. SYSCALL and SYSRET change the TLB's table, as STAC does, and where the
// code goes on is looked up; if it is not known there, the departure that follows the site's own is taken.
unsigned BlockWriter::system(unsigned at) {
  ensure_saved();
  flags_ = {.saved = true};
  Cold& cold = add_site(at, 1);
  cold.departure.outlined = true;
  cold.departure.mnemonic = static_cast<u16>(steps_[at].in.mnemonic);
  cold.system = true;
  cold.jumps.push_back(jump_if(0));
  if (steps_[at].kind == StepKind::rdtsc)
    rejoin(cold);
  else
    ended_ = true;
  return at + 1;
}

u32 translate_block(const Cpu& cpu, Translations& to, interpreter::Block* block) {
  const auto index = static_cast<u32>(to.blocks.size());
  to.blocks.push_back({.block = block});
  BlockWriter(cpu, to, index).write();
  return index;
}

void translate_narrowly(const Cpu& cpu, Translations& to, u32 departure) {
  BlockWriter(cpu, to, to.departures[departure].block).write_narrowly(departure);
}

}  // namespace doppel::translator
