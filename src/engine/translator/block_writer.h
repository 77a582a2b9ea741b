// One block on its way to host code: what its parts share. The parts are block_translator.cc (steps that touch no memory, and the
// beginning), flags.cc, memory.cc and exits.cc. Internal to them.
#pragma once

#include <optional>
#include <vector>

#include "engine/translator/block_translator.h"
#include "engine/translator/code_writer.h"
#include "engine/translator/groups.h"

namespace doppel::translator {

// Of the host's, that hold the guest's state while blocks run that need them.
enum class Unit : u8 { none, vectors, x87 };

// What is emitted behind the block: how its departures put the state right.
struct Cold {
  Unit load = Unit::none;  // a unit that is not loaded, but may be
  std::vector<u32> jumps;  // offsets of 32-bit displacements that come here
  std::vector<u32> traps;  // host instructions that come here by a fault
  struct Probe {           // misses by a jump, and can be tried again
    u32 jump;
    Refill refill;
  };
  std::vector<Probe> probes;
  FlagState before;
  enum class Way : u8 { depart, leave, to_page, look_up };
  Way way = Way::depart;  // leave: goes to a target in this page, to_page: in another; look_up: when its link does not hold
  i64 target = 0;
  u32 link = 0;  // look_up: the departure that has the Link
  Departure departure;
  bool system = false;  // Stubs::system is tried first
  bool lodged = false;  // registers are, as NativeBlock::lodgings says
  bool rejoins = false;
  u32 rejoin = 0;  // hot offset
  FlagState after;
};

class BlockWriter : CodeWriter {
 public:
  BlockWriter(const Cpu& cpu, Translations& to, u32 index);

  void write();
  void write_narrowly(u32 departure);

 private:
  // What the block does first with the flags it finds.
  enum class Wants : u8 { saved, eflags, neither };

  // The block (block_translator.cc).
  std::vector<u8> bytes() const;
  void decode();
  bool addressable(const Step& step) const;
  unsigned segment_end(unsigned at) const;
  i32 in_page(const Step& step) const { return page_offset_ + step.offset; }
  i32 after(const Step& step) const { return page_offset_ + step.end(); }
  i64 branch_target(const Step& step) const { return after(step) + static_cast<i64>(step.in.immediate); }
  Wants wants() const;
  void entry();
  void emit_range(unsigned first, unsigned end);
  void finish();
  void count_entry();
  void guarded_entry();
  void check_budget();
  void check_unit(Unit unit);
  void check_segments();

  // Steps: those that return a number return that of the next step.
  unsigned emit_steps(unsigned at);
  void charge(int count);
  void poll(unsigned first);
  bool goes_back(unsigned first) const;
  unsigned outline(unsigned at);
  unsigned branch(unsigned at);
  unsigned emit_register_step(unsigned at);
  void copy_noting_trap(unsigned at, std::optional<HostMemory> memory);
  void load_address(const Step& step);
  unsigned load_control(unsigned at);
  void note_x87(unsigned at);
  unsigned privileged(unsigned at);
  void read_segment(const Step& step);
  void change_flag(u64 flag, bool set);
  unsigned set_direction(unsigned at);
  unsigned set_access_check(unsigned at);
  unsigned spin(unsigned at);
  unsigned system(unsigned at);

  // Status flags (flags.cc).
  void save_flags();
  void restore_flags();
  void ensure_eflags();
  void ensure_saved();
  void clobber();
  void before(const Step& step, u32 written, bool may_fault);
  void after(const Step& step, unsigned number, bool kept);
  void forget_recipe(u32 written);
  void repeat(int recipe);
  void load_result(const x86::RegisterField& field);
  void repeat_test(const x86::RegisterField& field);
  void repeat_sum(const Step& step, const x86::RegisterField& source, unsigned bytes, bool sum);
  void repeat_shift(const Step& step, const Xbyak::Reg& value);
  bool flags_last(unsigned number) const;
  void copy_keeping(const Step& step, i32 at);
  bool leaves_recipe(u32 written) const;

  // Memory (memory.cc).
  bool traps_in(const Group& group) const;
  bool ends_by_transfer(const Group& group) const;
  std::optional<Group> group_from(unsigned at) const;
  bool probe_costs_flags(unsigned at, const Group& group) const;
  unsigned emit_group(const Group& group);
  void emit_accesses(const Group& group, i64 low);
  void emit_access(unsigned number, i32 at);
  void address(const Place& place, i64 displacement);
  void load_effective(unsigned to, const Xbyak::RegExp& from);
  Xbyak::Address word_at(const Xbyak::RegExp& at) { return word_ == 8 ? qword[at] : dword[at]; }
  Xbyak::RegExp expression(const Place& place, i32 displacement);
  void take_slot();
  static Xbyak::Address in_table(std::size_t column);
  static Xbyak::Address probe_tag(bool write);
  void probe(u64 bytes, bool write, bool dirties, Cold& cold, bool split = false);
  bool leaves_scratch(const Group& group) const;
  Xbyak::RegExp host_memory() const {
    return split_ ? Xbyak::util::r14 + Xbyak::util::r15 : Xbyak::RegExp(Xbyak::util::r14);
  }
  void probe_push(Cold& cold);
  void push_value(const Step& step, const Xbyak::Address& to);
  void push_return(const Step& step, const Xbyak::Address& to);
  void note_return(const Step& step);
  void call_host(const Step& step, unsigned number);
  Xbyak::RegExp return_slot() const;
  void move_stack(i32 by);
  void settle_stack();
  static bool leaves_stack_alone(const Step& step);
  void load_operand(const Step& step, std::size_t cold);
  unsigned push_directly(unsigned at);
  void add_saved_flags();

  // Strings and bit strings (strings.cc).
  void check_run(unsigned gpr, unsigned element, Cold& cold);
  unsigned repeat_string(unsigned at);
  unsigned bit_string(unsigned at);

  // Host addresses that are used again (held.cc).
  struct Held {
    Place place;
    i64 low = 0, high = 0;  // relative to the place when the probe was made
    i64 moved = 0;          // what the register has moved since
    bool write = false;
    unsigned age = 0;
    bool valid = false;
  };
  const Held* held_for(const Group& group) const;
  Xbyak::Address held_address(const Held& held);
  Group used_again(const Group& group) const;
  void hold(const Group& group);
  void note_held(const Step& step);

  // Registers that lodge in others' places, and blocks that go round (lodgings.cc).
  void choose_lodgings();
  void use_lodgings();
  void exchange();
  void settle_in();
  void settle_registers();
  bool goes_round(i64 target) const;
  void begin_round();
  void go_round(u8 condition);

  // Departures, and the ways to other blocks (exits.cc).
  Cold& add_cold(DepartureKind kind, unsigned first);
  Cold& add_site(unsigned first, unsigned count);
  void rejoin(Cold& cold);
  void emit_cold(const Cold& cold);
  void emit_refills(const Cold& cold);
  u32 add_departure(const Departure& departure);
  void aim_at_guard(u32 link);
  Link& compare_guard(u32 departure);
  void load(Unit unit);
  void load_at_entry(Unit unit, u32 back);
  void lookup(unsigned first, i16 released = 0, u32 stub = 0);
  void lookup_or_guess(unsigned first, i16 released = 0);
  void link_by_page(const Cold& cold);
  void to_page(i64 target, unsigned first, i16 released = 0);
  void exit_to(i64 target, unsigned first, i16 released = 0);
  void direct_exit(u8 condition, i64 target, unsigned first);
  unsigned jump_indirect(unsigned at);
  unsigned call_indirect(unsigned at);

  static bool within_page(i64 target) { return target >= 0 && target < page_bytes; }
  const NativeState& native() const { return cpu_.native; }

  static constexpr i64 page_bytes = 4096;
  static constexpr u16 interpreter_takes_over = no_operation;

  Translations& to_;
  const interpreter::Block& block_;
  const i32 page_offset_;  // of the block
  const int word_;         // bytes of an address
  const u32 index_;
  std::vector<Step> steps_;
  std::vector<Cold> colds_;
  FlagState flags_;
  u8 vectors_ = 0;
  u8 segments_ = 0;  // of FS and GS, as NativeState::flat_segments names them
  bool x87_ = false;
  bool x87_page_noted_ = false;
  unsigned segment_end_ = 0;
  bool in_group_ = false;
  bool split_ = false;   // a group's host address is the sum of R14 and R15
  i32 stack_moved_ = 0;  // what is still to be added to RSP
  std::array<Held, std::tuple_size_v<decltype(NativeState::held)>> held_;
  unsigned holds_ = 0;        // how many were made
  unsigned group_last_ = 0;   // step
  bool narrow_ = false;       // each access has its own probe
  bool lodged_ = false;       // registers are where NativeBlock::lodgings says
  u32 round_ = 0;             // where the block begins once more; 0: it does not
  bool round_saved_ = false;  // with the flags saved
  bool ended_ = false;
};

// Whether the step leaves nothing of the flags before it.
bool overwrites_flags(const Step& step);

}  // namespace doppel::translator
