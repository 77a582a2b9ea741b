#include "base/bits.h"
#include "base/check.h"
#include "engine/translator/block_writer.h"

namespace doppel::translator {

using namespace x86;
namespace reg = Xbyak::util;

Cold& BlockWriter::add_cold(DepartureKind kind, unsigned first) {
  Cold& cold = colds_.emplace_back();
  cold.before = flags_;
  cold.lodged = lodged_;
  cold.departure = {.kind = kind, .first = static_cast<u16>(first), .block = index_};
  return cold;
}

Cold& BlockWriter::add_site(unsigned first, unsigned count) {
  Cold& cold = add_cold(DepartureKind::site, first);
  cold.departure.count = static_cast<u16>(count);
  if (to_.charged) cold.departure.charged = static_cast<i16>(segment_end_ - first);
  return cold;
}

void BlockWriter::rejoin(Cold& cold) {
  cold.rejoins = true;
  cold.rejoin = static_cast<u32>(getSize());
  cold.after = flags_;
}

// Ahead of the departure: R14 is the linear address once more.
void BlockWriter::emit_refills(const Cold& cold) {
  const auto first = static_cast<u32>(to_.refills.size());
  for (const Cold::Probe& probe : cold.probes) {
    patch_to(probe.jump, getSize());
    xor_(reg::r14, probe_tag(probe.refill.write));
    mov(reg::r15d, static_cast<u32>(to_.refills.size()));
    to_.refills.push_back(probe.refill);
    to_.refills.back().jump = probe.jump;
    jump_to(to_.stubs.refill);
  }
  for (std::size_t i = first; i < to_.refills.size(); ++i) to_.refills[i].miss = static_cast<u32>(getSize());
}

void BlockWriter::emit_cold(const Cold& cold) {
  const std::size_t refills = to_.refills.size();
  emit_refills(cold);
  const auto here = static_cast<u32>(getSize());
  for (u32 jump : cold.jumps) patch_to(jump, here);
  for (u32 trap : cold.traps) to_.traps[trap] = here;
  flags_ = cold.before;
  lodged_ = cold.lodged;
  if (cold.load != Unit::none) load_at_entry(cold.load, cold.rejoin);
  Departure left = cold.departure;
  if (cold.way == Cold::Way::leave) {
    settle_registers();
    left.patch = jump_if(0);
    patch_to(left.patch, getSize());
  }
  ensure_saved();
  settle_registers();
  if (cold.way == Cold::Way::to_page) return to_page(cold.target, cold.departure.first);
  if (cold.way == Cold::Way::look_up) {
    if (word_ == 8) link_by_page(cold);
    return look_up(cold.target, word_, cold.link, to_.stubs.link);
  }
  const u32 id = add_departure(left);
  for (std::size_t i = refills; i < to_.refills.size(); ++i) to_.refills[i].departure = id;
  mov(reg::r15d, id);
  const u32 depart = jump_if(0);
  patch_to(depart, cold.system ? to_.stubs.system : to_.stubs.depart);
  if (cold.system) add_departure({.kind = DepartureKind::lookup, .first = no_operation, .block = index_});
  if (!cold.rejoins && cold.departure.kind != DepartureKind::site) return;
  Departure& departure = to_.departures[id];
  departure.patch = depart;
  departure.narrowed = narrow_;
  if (!cold.rejoins) return;
  departure.rejoin = cold.rejoin;
  departure.flags_after = cold.after.in_eflags;
  departure.resume = static_cast<u32>(getSize());
  if (vectors_) load(Unit::vectors);
  if (x87_) load(Unit::x87);
  if (cold.lodged) exchange();
  if (cold.after.in_eflags) restore_flags();
  jump_to(cold.rejoin);
}

u32 BlockWriter::add_departure(const Departure& departure) {
  to_.departures.push_back(departure);
  return static_cast<u32>(to_.departures.size() - 1);
}

// The memory operand of the last instruction, which ends with its displacement from RIP.
void BlockWriter::aim_at_guard(u32 link) { patch_to(static_cast<u32>(getSize() - 4), to_.guard_offset(link)); }

// The departure gets a link, and whether it holds in the context is compared.
Link& BlockWriter::compare_guard(u32 departure) {
  const auto link = static_cast<u32>(to_.links.size());
  to_.departures[departure].link = link;
  to_.guard(link) = NativeState::no_context;
  mov(reg::r15d, dword[reg::rsp + frame_.at(native().context)]);
  cmp(reg::r15d, dword[reg::rip + 0]);
  aim_at_guard(link);
  return to_.links.emplace_back();
}

// By way of the stub, which comes back to R14.
void BlockWriter::load(Unit unit) {
  const auto at = static_cast<u32>(getSize());
  lea(reg::r14, ptr[reg::rip + 5]);
  CHECK(getSize() - at == 7);
  jump_to(unit == Unit::x87 ? to_.stubs.load_x87 : to_.stubs.load_vectors);
}

// Only if it may be used; the departure that follows leaves the block to the interpreter.
void BlockWriter::load_at_entry(Unit unit, u32 back) {
  if (unit == Unit::x87) {
    cmp(byte[reg::rsp + frame_.at(native().x87_prepared)], 0);
  } else {
    movzx(reg::r15d, byte[reg::rsp + frame_.at(native().vectors_allowed)]);
    not_(reg::r15d);
    test(reg::r15d, u32{vectors_});
  }
  const u32 refused = jump_if(unit == Unit::x87 ? 0x84 : 0x85);
  load(unit);
  jump_to(back);
  patch_to(refused, getSize());
}

// R14 is the target, the flags are saved.
void BlockWriter::lookup(unsigned first, i16 released, u32 stub) {
  settle_registers();
  mov(reg::r15d,
      add_departure(
          {.kind = DepartureKind::lookup, .first = static_cast<u16>(first), .released = released, .block = index_}));
  jump_to(stub ? stub : to_.stubs.lookup);
}

// The same, for a branch that mostly goes to one target: that is compared with first, but not when the vCPU is wanted, as it could go on
// so for ever.
void BlockWriter::lookup_or_guess(unsigned first, i16 released) {
  settle_registers();
  const u32 id = add_departure(
      {.kind = DepartureKind::lookup, .first = static_cast<u16>(first), .released = released, .block = index_});
  mov(reg::r15, qword[reg::rsp + frame_.at(native().poll)]);
  const auto poll = static_cast<u32>(getSize());
  mov(reg::r15d, dword[reg::r15]);
  mov(reg::r15, reg::r14);
  sub(reg::r15, qword[reg::rsp + frame_.at(native().code_page)]);
  cmp(reg::r15, 0x7fff'ffff);
  const auto guess = static_cast<u32>(getSize() - 4);
  const u32 another = jump_if(0x85);
  compare_guard(id).guess = guess;
  const u32 elsewhere = jump_if(0x85);
  add(qword[reg::rsp + frame_.at(native().code_page)], 0x7fff'f000);
  to_.departures[id].patch = jump_if(0);
  for (const u32 jump : {another, elsewhere}) patch_to(jump, getSize());
  to_.traps[poll] = static_cast<u32>(getSize());
  mov(reg::r15d, id);
  jump_to(to_.stubs.link);
}

// A link to another page, which holds in one context; the flags are saved. In others, the target is looked up.
void BlockWriter::to_page(i64 target, unsigned first, i16 released) {
  const u32 id = add_departure({.kind = DepartureKind::lookup,
                                .first = static_cast<u16>(first),
                                .released = released,
                                .block = index_,
                                .target = static_cast<i32>(target)});
  if (target != static_cast<i32>(target)) return look_up(target, word_, id, to_.stubs.lookup);
  Cold& cold = add_cold(DepartureKind::lookup, first);
  cold.way = Cold::Way::look_up;
  cold.target = target;
  cold.link = id;
  compare_guard(id);
  cold.jumps.push_back(jump_if(0x85));
  cold.rejoin = static_cast<u32>(getSize());
  add(word_at(reg::rsp + frame_.at(native().code_page)), static_cast<i32>(target & -page_bytes));
  to_.departures[id].patch = jump_if(0);
}

// A link comes to hold in another context where its target is in the same page of RAM as when it was made, and code was entered there.
// Only of 64-bit code, where branches that go up do not come round the end of the linear addresses (TranslatorVcpu::link).
void BlockWriter::link_by_page(const Cold& cold) {
  mov(reg::r14, qword[reg::rsp + frame_.at(native().code_page)]);
  lea(reg::r14, ptr[reg::r14 + static_cast<i32>(cold.target & -page_bytes)]);
  take_slot();
  or_(reg::r14, qword[reg::rsp + frame_.at(native().code_mark)]);
  cmp(reg::r14, in_table(offsetof(interpreter::TlbEntries, code_tag)));
  const u32 unknown = jump_if(0x85);
  mov(reg::r15, in_table(offsetof(interpreter::TlbEntries, host)));
  shr(reg::r15, page_shift);
  cmp(reg::r15d, no_page(cpu_));
  const u32 link = to_.departures[cold.link].link;
  to_.links[link].page = static_cast<u32>(getSize() - 4);
  const u32 another = jump_if(0x85);
  mov(reg::r15d, dword[reg::rsp + frame_.at(native().context)]);
  mov(dword[reg::rip + 0], reg::r15d);
  aim_at_guard(link);
  jump_to(cold.rejoin);
  for (const u32 jump : {unknown, another}) patch_to(jump, getSize());
}

// Ends the block: on to `target`, relative to the block's page. `first`: the branch, which is refused for a bad target.
void BlockWriter::exit_to(i64 target, unsigned first, i16 released) {
  ended_ = true;
  if (!within_page(target)) {
    ensure_saved();
    settle_registers();
    return to_page(target, first, released);
  }
  if (!flags_.saved) ensure_eflags();
  direct_exit(0, target, first);
}

void BlockWriter::direct_exit(u8 condition, i64 target, unsigned first) {
  if (goes_round(target)) return go_round(condition);
  if (!condition) settle_registers();
  Cold& cold = add_cold(DepartureKind::exit, first);
  cold.departure.target = static_cast<i32>(target);
  cold.departure.saved_entry = flags_.saved;
  const u32 at = jump_if(condition);
  if (lodged_) cold.way = Cold::Way::leave;
  cold.departure.patch = at;
  cold.jumps.push_back(at);
}

unsigned BlockWriter::jump_indirect(unsigned at) {
  const Step& step = steps_[at];
  ensure_saved();
  flags_ = {.saved = true};
  const std::size_t cold = colds_.size();
  if (step.has_memory()) add_site(at, 1);
  load_operand(step, cold);
  ended_ = true;
  const bool one_target = step.has_memory() &&
                          step.in.memory.base == MemoryOperand::rip;  // that of a procedure linkage table
  one_target ? lookup_or_guess(at) : lookup(at);
  return at + 1;
}

// The target is known to be canonical before anything is pushed.
unsigned BlockWriter::call_indirect(unsigned at) {
  const Step& step = steps_[at];
  ensure_saved();
  flags_ = {.saved = true};
  const std::size_t cold = colds_.size();
  add_site(at, 1);
  load_operand(step, cold);
  if (word_ == 8) {
    mov(reg::r15, reg::r14);
    shl(reg::r15, 16);
    sar(reg::r15, 16);
    cmp(reg::r15, reg::r14);
    colds_[cold].jumps.push_back(jump_if(0x85));
  }
  mov(qword[reg::rsp + frame_.at(native().target)], reg::r14);
  probe_push(colds_[cold]);
  push_return(step, word_at(reg::r14));
  note_return(step);
  move_stack(-word_);
  call_host(step, at);
  mov(reg::r14, qword[reg::rsp + frame_.at(native().target)]);
  ended_ = true;
  lookup_or_guess(at, static_cast<i16>(-word_));
  return at + 1;
}

namespace {

// Where a block was: its entries lead to what is there now.
class Retirement : CodeWriter {
 public:
  Retirement(const Cpu& cpu, Translations& to) : CodeWriter(cpu, to.cache.bytes(), to.cache.writable()), to_(to) {}

  void write(u32 index) {
    const NativeBlock& native = to_.blocks[index];
    const auto departure = static_cast<u32>(to_.departures.size());
    to_.departures.push_back({.kind = DepartureKind::lookup, .first = no_operation, .block = index});
    const auto here = static_cast<u32>(to_.cold);
    setSize(here);
    look_up(static_cast<i64>(native.block->physical & low_bits(page_shift)), 8, departure, to_.stubs.gone);
    to_.cold = getSize();
    for (const u32 entry : {native.entry_saved, native.entry_found}) {
      setSize(entry);
      jump_to(here);
    }
  }

 private:
  Translations& to_;
};

}  // namespace

void retire_block(const Cpu& cpu, Translations& to, u32 index) { Retirement(cpu, to).write(index); }

}  // namespace doppel::translator
