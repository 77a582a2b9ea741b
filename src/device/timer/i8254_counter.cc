// See i8254_counter.h. `elapsed` counts the clock pulses since the counting element (CE) was loaded; everything else
// follows from it and the initial count N:
//
//   mode 0   OUT low, high from N on                       mode 1   OUT high, low for N pulses after a trigger
//   mode 2   OUT low for the last pulse of each N          mode 3   OUT high for (N+1)/2, low for N/2, repeated
//   mode 4   OUT low for the one pulse at N                mode 5   as mode 4, started by a trigger
#include "device/timer/i8254_counter.h"

#include <algorithm>

namespace doppel {

namespace {

u16 to_bcd(u64 value) {
  return static_cast<u16>(value / 1000 % 10 << 12 | value / 100 % 10 << 8 | value / 10 % 10 << 4 | value % 10);
}
i64 from_bcd(u16 digits) {
  return (digits >> 12) * 1000 + (digits >> 8 & 15) * 100 + (digits >> 4 & 15) * 10 + (digits & 15);
}

}  // namespace

i64 I8254Counter::written_span() const {
  const i64 count = bcd_ ? from_bcd(count_register_) : count_register_;
  if (count == 0) return bcd_ ? 10000 : 0x10000;
  return periodic() ? std::max<i64>(count, 2) : count;
}

void I8254Counter::hold(Tick now, bool output) {
  held_count_ = count(now);
  held_output_ = output;
}

void I8254Counter::load(Tick start) {
  start_ = start;
  span_ = written_span();
  loaded_ = true;
  pending_ = false;
  stopped_ = !gate_ && !triggered();
  stopped_at_ = 0;
}

void I8254Counter::write_control(u8 control, Tick now) {
  settle(now);
  held_count_ = count(now);
  mode_ = control >> 1 & 7;
  if (mode_ > 5) mode_ -= 4;  // the top bit does not matter for modes 2 and 3
  access_ = control >> 4 & 3;
  bcd_ = (control & 1) != 0;
  held_output_ = mode_ != 0;
  loaded_ = pending_ = stopped_ = false;
  write_high_ = read_high_ = false;
  count_latch_bytes_ = 0;
  status_latched_ = false;
}

void I8254Counter::write(u8 byte, Tick now) {
  settle(now);
  if (access_ == 3 && !write_high_) {
    low_byte_ = byte;
    write_high_ = true;
    if (mode_ == 0) {  // the first byte stops the count and lowers OUT at once
      hold(now, false);
      loaded_ = false;
    }
    return;
  }
  write_high_ = false;
  if (access_ == 1) count_register_ = byte;
  if (access_ == 2) count_register_ = static_cast<u16>(byte << 8);
  if (access_ == 3) count_register_ = static_cast<u16>(byte << 8 | low_byte_);
  write_count(now);
}

void I8254Counter::write_count(Tick now) {
  if (triggered()) {
    pending_ = true;
  } else if (!periodic()) {
    hold(now, mode_ != 0);
    load(now + 1);
  } else if (!gate_) {
    pending_ = true;  // the gate's rise loads it
  } else if (!loaded_ || now < start_) {
    if (!loaded_) hold(now, true);
    load(now + 1);
  } else {
    schedule_reload(now);
  }
}

// Modes 2 and 3 take a new count at the end of the period or half period under way.
void I8254Counter::schedule_reload(Tick now) {
  const i64 position = (now - start_) % span_;
  const bool first_half = mode_ == 3 && position < high_span(span_);
  reload_at_ = now - position + (first_half ? high_span(span_) : span_);
  pending_ = true;
}

void I8254Counter::settle(Tick now) {
  if (!pending_ || !loaded_ || !periodic() || stopped_ || now < reload_at_) return;
  const bool in_low_half = (reload_at_ - start_) % span_ != 0;
  load(reload_at_);
  if (in_low_half) start_ -= high_span(span_);
}

void I8254Counter::set_gate(bool level, Tick now) {
  if (level == gate_) return;
  settle(now);
  gate_ = level;
  const bool has_count = loaded_ || pending_;
  if (level && has_count && (triggered() || periodic())) {
    hold(now, periodic() || output_at(now));
    load(now + 1);
  } else if (level && loaded_ && stopped_) {
    stopped_ = false;
    start_ = now - stopped_at_;
  } else if (!level && loaded_ && !triggered()) {
    stopped_at_ = std::max<i64>(now - start_, 0);
    stopped_ = true;
  }
}

u16 I8254Counter::count(Tick now) const {
  if (!loaded_ || elapsed(now) < 0) return held_count_;
  const i64 wrap = bcd_ ? 10000 : 0x10000;
  i64 value = span_ - elapsed(now) % wrap;
  if (periodic()) {
    const i64 position = elapsed(now) % span_;
    const i64 high = high_span(span_);
    if (mode_ == 2) value = span_ - position;
    if (mode_ == 3) value = (span_ & ~i64{1}) - 2 * (position < high ? position : position - high);
  }
  value = ((value % wrap) + wrap) % wrap;
  return bcd_ ? to_bcd(static_cast<u64>(value)) : static_cast<u16>(value);
}

bool I8254Counter::output_at(Tick now) const {
  if (!loaded_ || elapsed(now) < 0) return held_output_;
  const i64 at = elapsed(now);
  if (periodic()) return stopped_ || at % span_ < high_span(span_);
  if (mode_ <= 1) return at >= span_;
  return at != span_;
}

bool I8254Counter::output(Tick now) {
  settle(now);
  return output_at(now);
}

std::optional<I8254Counter::Tick> I8254Counter::next_rising_edge(Tick now) {
  settle(now);
  if (!loaded_ || stopped_) return std::nullopt;
  if (!periodic()) {
    const Tick edge = start_ + span_ + (mode_ >= 4 ? 1 : 0);
    if (edge > now) return edge;
    return std::nullopt;
  }
  const Tick edge = now < start_ ? start_ + span_ : now + span_ - (now - start_) % span_;
  if (!pending_ || reload_at_ >= edge) return edge;
  const i64 next_span = written_span();  // the low half under way is then of the new count
  return reload_at_ + next_span - high_span(next_span);
}

u8 I8254Counter::status(Tick now) const {
  const bool null_count = pending_ || !loaded_ || elapsed(now) < 0;
  return static_cast<u8>(output_at(now) << 7 | null_count << 6 | access_ << 4 | mode_ << 1 | bcd_);
}

void I8254Counter::latch_status(Tick now) {
  if (status_latched_) return;
  settle(now);
  status_latch_ = status(now);
  status_latched_ = true;
}

void I8254Counter::latch_count(Tick now) {
  if (count_latch_bytes_ != 0) return;
  settle(now);
  count_latch_ = count(now);
  count_latch_bytes_ = access_ == 3 ? 2 : 1;
}

u8 I8254Counter::read(Tick now) {
  settle(now);
  if (status_latched_) {
    status_latched_ = false;
    return status_latch_;
  }
  const u16 value = count_latch_bytes_ != 0 ? count_latch_ : count(now);
  if (count_latch_bytes_ != 0) --count_latch_bytes_;
  bool high = access_ == 2;
  if (access_ == 3) {
    high = read_high_;
    read_high_ = !read_high_;
  }
  return static_cast<u8>(high ? value >> 8 : value);
}

void I8254Counter::state(state::Archive& archive) {
  archive.begin("counter", 1);
  archive(mode_);
  archive(access_);
  archive(bcd_);
  archive(gate_);
  archive(count_register_);
  archive(low_byte_);
  archive(write_high_);
  archive(read_high_);
  archive(count_latch_);
  archive(count_latch_bytes_);
  archive(status_latch_);
  archive(status_latched_);
  archive(loaded_);
  archive(pending_);
  archive(start_);
  archive(span_);
  archive(reload_at_);
  archive(stopped_);
  archive(stopped_at_);
  archive(held_count_);
  archive(held_output_);
  archive.require(mode_ <= 5 && access_ >= 1 && access_ <= 3 && count_latch_bytes_ <= 2, "mode");
  archive.require(span_ >= (periodic() ? 2 : 1) && span_ <= 0x10000, "count");
  archive.require(start_ >= -last_tick && start_ <= last_tick, "start");
  archive.require(reload_at_ >= -last_tick && reload_at_ <= last_tick, "reload");
  archive.require(stopped_at_ >= 0 && stopped_at_ <= last_tick, "elapsed time");
  archive.end();
}

}  // namespace doppel
