// See i8254.h.
#include "device/timer/i8254.h"

#include <algorithm>

#include "base/bits.h"
#include "device/io_window.h"

namespace doppel {

namespace {

constexpr u64 control_offset = 3;

namespace control {
using Select = Bits<6, 2>;  // counter, or 3: read-back command
using Access = Bits<4, 2>;  // 0: latch the count
constexpr u64 read_back = 3;
}  // namespace control

namespace read_back_command {
using KeepCount = Bits<5>;  // active low: 0 latches
using KeepStatus = Bits<4>;
using Counters = Bits<1, 3>;
}  // namespace read_back_command

}  // namespace

I8254::I8254(Clock& clock, IrqLine channel0) : clock_(clock), irq_(std::move(channel0)) {
  alarm_ = clock_.make_alarm([this] {
    const std::lock_guard lock(mutex_);
    const Tick now = tick();
    deliver_edges(now);
    arm(now);
  });
}

void I8254::reset() {
  const std::lock_guard lock(mutex_);
  counters_ = {I8254Counter(true), I8254Counter(true), I8254Counter(false)};
  next_edge_ = 0;
  last_edge_ = 0;
  alarm_->cancel();
  set_line(false);
}

u64 I8254::read(Access access) {
  const std::lock_guard lock(mutex_);
  return read_bytewise(access, [this](u64 offset) { return read_byte(offset); });
}

void I8254::write(Access access, u64 value) {
  const std::lock_guard lock(mutex_);
  write_bytewise(access, value, [this](u64 offset, u8 byte) { write_byte(offset, byte); });
}

u8 I8254::read_byte(u64 offset) {
  if (offset >= counters_.size()) return 0xff;  // the control word is write-only
  return counters_[offset].read(tick());
}

void I8254::write_byte(u64 offset, u8 value) {
  const Tick now = tick();
  deliver_edges(now);
  if (offset < counters_.size()) {
    counters_[offset].write(value, now);
  } else if (offset == control_offset && control::Select::get(value) == control::read_back) {
    read_back(value, now);
  } else if (offset == control_offset) {
    I8254Counter& counter = counters_[control::Select::get(value)];
    if (control::Access::get(value) == 0) {
      counter.latch_count(now);
    } else {
      counter.write_control(value, now);
    }
  }
  follow_output(now);
}

void I8254::read_back(u8 command, Tick now) {
  for (unsigned i = 0; i < counters_.size(); ++i) {
    if ((read_back_command::Counters::get(command) >> i & 1) == 0) continue;
    if (!read_back_command::KeepCount::get(command)) counters_[i].latch_count(now);
    if (!read_back_command::KeepStatus::get(command)) counters_[i].latch_status(now);
  }
}

void I8254::set_gate2(bool level) {
  const std::lock_guard lock(mutex_);
  counters_[2].set_gate(level, tick());
}

bool I8254::output2() {
  const std::lock_guard lock(mutex_);
  return counters_[2].output(tick());
}

// Several edges that passed unseen are one: the interrupt controller would have kept one, too.
void I8254::deliver_edges(Tick now) {
  if (next_edge_ == 0 || now < next_edge_) return;
  next_edge_ = 0;
  last_edge_ = clock_.now();
  set_line(false);
  set_line(true);
}

void I8254::follow_output(Tick now) {
  if (counters_[0].mode() == 0) {
    set_line(counters_[0].output(now));
  } else {
    set_line(true);
  }
  arm(now);
}

void I8254::set_line(bool level) {
  if (line_ == level) return;
  line_ = level;
  irq_.set(level);
}

void I8254::arm(Tick now) {
  next_edge_ = counters_[0].next_rising_edge(now).value_or(0);
  set_alarm();
}

void I8254::set_alarm() {
  if (next_edge_ == 0) return alarm_->cancel();
  const Nanoseconds due = time_of_ticks(static_cast<u64>(next_edge_), frequency_hz);
  alarm_->set(counters_[0].periodic() ? std::max(due, last_edge_ + shortest_period) : due);
}

void I8254::state(state::Archive& archive) {
  const std::lock_guard lock(mutex_);
  archive.begin("i8254", 1);
  for (I8254Counter& counter : counters_) counter.state(archive);
  archive(line_);
  archive(next_edge_);
  archive.require(next_edge_ >= 0 && next_edge_ <= I8254Counter::last_tick, "edge");
  archive(last_edge_);
  archive.require(last_edge_ < Nanoseconds{1} << 62, "time of the last edge");
  archive.end();
  if (!archive.loading() || !archive.ok()) return;
  irq_.set(line_);
  set_alarm();
}

}  // namespace doppel
