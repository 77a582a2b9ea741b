// A PS/2 keyboard and mouse, as far as drivers probe and set them up (IBM PS/2 hardware interface technical reference,
// "Keyboards" and "Mouse"). Keys can be typed, in scan code set 2; the mouse never moves.
// Absent: typematic repeat, scan code sets 1 and 3 (asked for, they are acknowledged and set 2 stays).
#pragma once

#include <array>
#include <span>

#include "base/types.h"
#include "state/archive.h"

namespace doppel {

// What a device has to say and the controller has not fetched yet.
class Ps2Queue {
 public:
  static constexpr std::size_t capacity = 16;

  bool empty() const { return count_ == 0; }
  void clear() { count_ = 0; }
  bool push(std::span<const u8> bytes);  // all or, if they don't fit, none
  u8 pop();                              // not while empty
  u8 last() const { return last_; }      // what was popped last
  void state(state::Archive& archive);

 private:
  std::array<u8, capacity> bytes_{};
  u8 count_ = 0;
  u8 last_ = 0;
};

class Ps2Keyboard {
 public:
  void write(u8 byte);
  bool type(std::span<const u8> scan_codes) { return scanning_ && queue_.push(scan_codes); }
  Ps2Queue& queue() { return queue_; }
  void state(state::Archive& archive);

 private:
  void write_argument(u8 byte);

  Ps2Queue queue_;
  u8 argument_of_ = 0;  // the command whose argument comes next; 0: none
  bool scanning_ = true;
};

class Ps2Mouse {
 public:
  void write(u8 byte);
  Ps2Queue& queue() { return queue_; }
  void state(state::Archive& archive);

 private:
  void set_defaults();
  bool write_in_wrap_mode(u8 byte);

  Ps2Queue queue_;
  u8 argument_of_ = 0;
  bool reporting_ = false, remote_ = false, wrap_ = false, scaled_ = false;
  u8 resolution_ = 2, rate_ = 100;
};

}  // namespace doppel
