// Translated code and the interpreter, from the same state, stretch by stretch: a stretch is what translated code executes of one block
// between the places where it is entered and left.
//
// The interpreter goes first, on the real memory. Every page that it touches is noted, and what a page held before its first write.
// Then the registers go back, and translated code runs with a TLB that knows these pages only, with the rights that were used, and has
// copies in place of those that were written. So nothing has to be undone, no write can go astray unseen, and devices are never
// reached: an access to one, or a write to a page that is watched, ends the stretch in both. If translated code leaves earlier than
// the interpreter (a probe answers for a group of accesses), memory goes back and the interpreter executes as much as that.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engine/interpreter/cpu.h"
#include "engine/translator/native_block.h"

namespace doppel::translator {

using interpreter::Cpu;

// What code changes besides memory.
struct Registers {
  std::array<u64, 16> gpr;
  u64 rip, other_flags, gs_base, kernel_gs_base;
  interpreter::LazyFlags flags;
  i64 remaining;
  u32 mxcsr;
  x86::FpuState fpu;
  std::array<x86::VectorRegister, 16> vectors;

  u64 rflags() const { return flags.pack() | other_flags; }
};

class Verifier final : interpreter::AccessObserver {
 public:
  explicit Verifier(Cpu& cpu);

  // In this order: start; interpret; [the interpreter executes]; translate; [translated code runs]; left.
  void start(const NativeBlock& block);
  void interpret(u64 charged);  // `charged`: instructions of the stretch that `remaining` has paid for already
  void translate();
  // With cpu.rip, RSP and `remaining` as departures tell them. Instructions that the interpreter has to execute once more, since
  // translated code executed only so many; -1: it executed as many. After another interpret(), [execution] and interpreted_again().
  i64 left();
  void interpreted_again();
  // Whether nothing differs; the registers are those that translated code left, before left() was called. `but_for_flags`: the status
  // flags are about to be overwritten (Departure::overwrites_flags), and become those of the interpreter.
  bool equal(bool but_for_flags);
  std::string report(const Cpu& cpu, const interpreter::Block& block, unsigned first) const;
  void departed();  // before the departure is looked at
  void resume() { put(departed_); }

 private:
  struct Touched {
    u64 linear;  // page
    u8* host;    // page
    bool readable, written;
  };
  struct Written {
    u8* host;
    std::unique_ptr<std::array<u8, page_size>> before, copy;
  };

  bool access(const interpreter::ObservedAccess& access) override;
  Written* find_written(const u8* host);
  void move_held(bool to_copies);
  void note_written(u8* host);
  void fill_table();
  void empty_table();
  void end_observation();
  void take(Registers& to) const;
  void put(const Registers& registers);
  bool same_registers() const;
  std::string differences_of_memory() const;

  Cpu& cpu_;
  bool vectors_ = false, x87_ = false;
  u64 charged_ = 0;
  interpreter::TlbEntries* tlb_ = nullptr;
  const interpreter::Tlb::OwnedTable table_;
  std::vector<Touched> touched_;
  std::vector<Written> written_;
  std::size_t written_count_ = 0;
  Registers before_, interpreted_, departed_, translated_;
};

}  // namespace doppel::translator
