// Ports, registers and interrupts of the MC146818; its calendar is in mc146818_time.cc. See mc146818.h.
#include "device/timer/mc146818.h"

#include <algorithm>

#include "base/units.h"
#include "device/io_window.h"
#include "device/timer/mc146818_registers.h"

namespace doppel {

using namespace mc146818;

namespace {

// The periodic interrupt in ticks of the 32.768 kHz divider; 0 is off. Rates 1 and 2 repeat 8 and 9.
u64 periodic_ticks(u8 register_a) {
  const u64 rate = a::Rate::get(register_a);
  if (rate == 0) return 0;
  return u64{1} << (rate <= 2 ? rate + 6 : rate - 1);
}

constexpr u64 divider_hz = 32768;

bool is_time(u8 index) {
  const bool is_alarm = index == alarm_of(seconds) || index == alarm_of(minutes) || index == alarm_of(hours);
  return (index <= year && !is_alarm) || index == Mc146818::century;
}

}  // namespace

Mc146818::Mc146818(Clock& clock, IrqLine irq, i64 epoch_seconds)
    : clock_(clock), irq_(std::move(irq)), base_seconds_(std::clamp(epoch_seconds, first_second, last_second)) {
  cmos_[register_a] = a::at_power_on;
  cmos_[register_b] = b::at_power_on;
  cmos_[register_d] = d::Valid::of(1);
  alarm_ = clock_.make_alarm([this] {
    const std::lock_guard lock(mutex_);
    settle(clock_.now());
    follow_flags();
  });
}

void Mc146818::set_cmos(u8 index, u8 value) {
  const std::lock_guard lock(mutex_);
  if (index > register_d && index < cmos_.size()) cmos_[index] = value;
}

void Mc146818::set_memory_size(u64 below_4g, u64 above_4g) {
  const auto set_words = [this](u8 index, u64 value, unsigned bytes) {
    for (unsigned i = 0; i < bytes; ++i) set_cmos(static_cast<u8>(index + i), static_cast<u8>(value >> (8 * i)));
  };
  const auto above = [&](u64 start, u64 unit, u64 limit) {
    return std::min((below_4g > start ? below_4g - start : 0) / unit, limit);
  };
  set_words(0x15, 640, 2);                          // conventional memory in KiB
  set_words(0x17, above(1 * MiB, KiB, 0xffff), 2);  // extended memory in KiB
  set_words(0x30, above(1 * MiB, KiB, 0xffff), 2);
  set_words(0x34, above(16 * MiB, 64 * KiB, 0xffff), 2);  // above 16 MiB in units of 64 KiB
  set_words(0x5b, above_4g / (64 * KiB), 3);              // above 4 GiB in units of 64 KiB
  const std::lock_guard lock(mutex_);
  unsigned checksum = 0;
  for (unsigned i = 0x10; i <= 0x2d; ++i) checksum += cmos_[i];
  cmos_[0x2e] = static_cast<u8>(checksum >> 8);
  cmos_[0x2f] = static_cast<u8>(checksum);
}

void Mc146818::reset() {
  const std::lock_guard lock(mutex_);
  settle(clock_.now());
  cmos_[register_b] &= static_cast<u8>(~b::cleared_by_reset);
  cmos_[register_c] = 0;
  nmi_masked_ = false;
  follow_flags();
}

u64 Mc146818::read(Access access) {
  const std::lock_guard lock(mutex_);
  return read_bytewise(access, [this](u64 port) { return read_byte(port); });
}

void Mc146818::write(Access access, u64 value) {
  const std::lock_guard lock(mutex_);
  write_bytewise(access, value, [this](u64 port, u8 byte) { write_byte(port, byte); });
}

u8 Mc146818::read_byte(u64 port) {
  if (port == 1) return read_register(index_);
  if (port == 3) return extended_[extended_index_];
  return 0xff;  // the index registers are write-only
}

void Mc146818::write_byte(u64 port, u8 value) {
  if (port == 0) {
    index_ = value & 0x7f;
    nmi_masked_ = (value & 0x80) != 0;
  }
  if (port == 1) write_register(index_, value);
  if (port == 2) extended_index_ = value & 0x7f;
  if (port == 3) extended_[extended_index_] = value;
}

u8 Mc146818::read_register(u8 index) {
  const Nanoseconds now = clock_.now();
  if (is_time(index) && updating()) store_time(seconds_at(now));
  if (index == register_a) {
    const bool update_in_progress = updating() &&
                                    divider_time(now) % nanoseconds_per_second >= nanoseconds_per_second - update_time;
    return static_cast<u8>(a::UpdateInProgress::set(cmos_[register_a], update_in_progress));
  }
  if (index == register_c) return read_flags();
  return cmos_[index];
}

u8 Mc146818::read_flags() {
  settle(clock_.now());
  const u8 flags = cmos_[register_c];
  cmos_[register_c] = 0;
  follow_flags();
  return flags;
}

void Mc146818::write_register(u8 index, u8 value) {
  const Nanoseconds now = clock_.now();
  settle(now);
  if (index == register_a || index == register_b) {
    write_control(index, value, now);
  } else if (is_time(index) && updating()) {
    store_time(seconds_at(now));
    cmos_[index] = value;
    base_seconds_ += load_time() - seconds_at(now);
  } else if (index != register_c && index != register_d) {
    cmos_[index] = value;
  }
  follow_flags();
}

// Stopping the time leaves it in the registers, where it may be set; starting it takes it from there.
void Mc146818::write_control(u8 index, u8 value, Nanoseconds now) {
  const bool was_updating = updating(), was_dividing = dividing();
  if (was_updating) store_time(seconds_at(now));
  if (index == register_a) {
    cmos_[register_a] = value & a::writable;
  } else {
    if (b::Set::get(value)) value = static_cast<u8>(b::UpdateEnable::set(value, 0));
    cmos_[register_b] = value;
  }
  if (!was_dividing && dividing()) {  // the first update comes half a second after the divider starts
    divider_offset_ = (3 * nanoseconds_per_second / 2 - now % nanoseconds_per_second) % nanoseconds_per_second;
  }
  if (!was_updating && updating()) base_seconds_ += load_time() - seconds_at(now);
}

bool Mc146818::dividing() const { return a::Divider::get(cmos_[register_a]) <= a::divider_normal; }
bool Mc146818::updating() const { return dividing() && !b::Set::get(cmos_[register_b]); }

// Sets the flags of what happened since the last time.
void Mc146818::settle(Nanoseconds now) {
  if (now <= settled_) return;
  if (dividing()) settle_periodic(now);
  if (updating()) {
    const i64 before = seconds_at(settled_), after = seconds_at(now);
    if (after > before) cmos_[register_c] |= c::Update::mask;
    const std::optional<i64> alarm = next_alarm(before);
    if (alarm && *alarm <= after) cmos_[register_c] |= c::Alarm::mask;
  }
  settled_ = now;
}

void Mc146818::settle_periodic(Nanoseconds now) {
  const u64 period = periodic_ticks(cmos_[register_a]);
  if (period == 0) return;
  const u64 before = ticks_of(divider_time(settled_), divider_hz) / period;
  const u64 after = ticks_of(divider_time(now), divider_hz) / period;
  if (after > before) cmos_[register_c] |= c::Periodic::mask;
}

// IRQF and the line follow the flags and their enables, which are the same bits of C and B.
void Mc146818::follow_flags() {
  const bool request = (cmos_[register_b] & cmos_[register_c] & c::sources) != 0;
  cmos_[register_c] = static_cast<u8>(c::Request::set(cmos_[register_c], request));
  irq_.set(request);
  const std::optional<Nanoseconds> event = request ? std::nullopt : next_event();
  if (event) {
    alarm_->set(*event);
  } else {
    alarm_->cancel();
  }
}

// The next event after settled_ that interrupts.
std::optional<Nanoseconds> Mc146818::next_event() const {
  std::optional<Nanoseconds> first;
  const auto consider = [&](Nanoseconds time) { first = std::min(first.value_or(time), time); };
  const u8 enables = cmos_[register_b];
  const u64 period = periodic_ticks(cmos_[register_a]);
  if (b::PeriodicEnable::get(enables) && dividing() && period != 0) {
    const u64 next = ticks_of(divider_time(settled_), divider_hz) / period + 1;
    consider(time_of_ticks(next * period, divider_hz) - divider_offset_);
  }
  if (b::UpdateEnable::get(enables) && updating()) consider(time_of_second(seconds_at(settled_) + 1));
  if (b::AlarmEnable::get(enables) && updating()) {
    if (const std::optional<i64> alarm = next_alarm(seconds_at(settled_))) consider(time_of_second(*alarm));
  }
  return first;
}

void Mc146818::state(state::Archive& archive) {
  const std::lock_guard lock(mutex_);
  archive.begin("mc146818", 1);
  bool masked = nmi_masked_;
  archive(masked);
  nmi_masked_ = masked;
  archive(index_);
  archive(extended_index_);
  archive.require(index_ < cmos_.size() && extended_index_ < extended_.size(), "index");
  archive.raw(cmos_.data(), cmos_.size());
  archive.raw(extended_.data(), extended_.size());
  archive(base_seconds_);
  archive.require(base_seconds_ >= 2 * first_second && base_seconds_ <= last_second, "time");
  archive(divider_offset_);
  archive.require(divider_offset_ < nanoseconds_per_second, "divider");
  archive(weekday_offset_);
  archive.require(weekday_offset_ < 7, "day of week");
  archive(settled_);
  archive.require(settled_ < Nanoseconds{1} << 62, "time of flags");
  archive.end();
  if (archive.loading() && archive.ok()) follow_flags();
}

}  // namespace doppel
