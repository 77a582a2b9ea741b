// One counter of the 8254 (Intel 8254 datasheet, order number 231164): all six modes, binary and BCD, latches. It is a
// function of time: nothing runs between accesses; each call names the tick of the 1.193182 MHz clock at which it happens.
// Illegal counts (1 in modes 2 and 3) are taken as 2.
#pragma once

#include <optional>

#include "base/types.h"
#include "state/archive.h"

namespace doppel {

class I8254Counter {
 public:
  using Tick = i64;
  // Saved ticks beyond this are refused; it keeps all sums, and their nanoseconds, within 64 bits.
  static constexpr Tick last_tick = Tick{1} << 54;

  explicit I8254Counter(bool gate) : gate_(gate) {}

  // Ticks never go backwards from one call to the next.
  void write_control(u8 control, Tick now);  // a control word that is neither a latch nor a read-back command
  void write(u8 byte, Tick now);
  u8 read(Tick now);
  void latch_count(Tick now);
  void latch_status(Tick now);
  void set_gate(bool level, Tick now);

  unsigned mode() const { return mode_; }
  bool periodic() const { return mode_ == 2 || mode_ == 3; }
  bool output(Tick now);
  // The first tick after `now` at which OUT rises, if nothing is written until then.
  std::optional<Tick> next_rising_edge(Tick now);

  void state(state::Archive& archive);

 private:
  bool triggered() const { return mode_ == 1 || mode_ == 5; }  // by the gate, not by writing a count
  i64 written_span() const;
  i64 high_span(i64 span) const { return mode_ == 3 ? (span + 1) / 2 : span - 1; }
  void write_count(Tick now);
  void hold(Tick now, bool output);
  void load(Tick start);
  void schedule_reload(Tick now);
  void settle(Tick now);
  u16 count(Tick now) const;
  bool output_at(Tick now) const;
  u8 status(Tick now) const;
  i64 elapsed(Tick now) const { return stopped_ ? stopped_at_ : now - start_; }

  // What was programmed.
  u8 mode_ = 0;
  u8 access_ = 3;  // 1: least significant byte only, 2: most significant byte only, 3: both, least significant first
  bool bcd_ = false;
  bool gate_;
  u16 count_register_ = 0;  // CR
  u8 low_byte_ = 0;
  bool write_high_ = false, read_high_ = false;

  // Latches. A latched count is read as one or two bytes.
  u16 count_latch_ = 0;
  u8 count_latch_bytes_ = 0;
  u8 status_latch_ = 0;
  bool status_latched_ = false;

  // The counting element (CE). Before a load, and until the tick of the load, CE and OUT are as held.
  bool loaded_ = false;
  bool pending_ = false;  // CR waits: for the end of a period, or for a trigger
  Tick start_ = 0;        // CE holds the initial count at this tick
  i64 span_ = 0x10000;    // the initial count
  Tick reload_at_ = 0;    // modes 2 and 3 while pending
  bool stopped_ = false;  // by the gate
  i64 stopped_at_ = 0;    // ticks since start_ then
  u16 held_count_ = 0;
  bool held_output_ = false;
};

}  // namespace doppel
