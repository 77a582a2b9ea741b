// See hpet.h.
//
//   0x000 GCAP_ID   0x010 GEN_CONF   0x020 GINTR_STA   0x0f0 MAIN_CNT
//   0x100 + 0x20·n:  +0x00 Tn_CONF_CAP   +0x08 Tn_COMP   +0x10 Tn_FSB_ROUTE
#include "device/timer/hpet.h"

#include <algorithm>
#include <utility>

#include "base/bits.h"

namespace doppel {

namespace {

// §2.3.4 to §2.3.7
constexpr u64 general_capabilities = 0x000, general_configuration = 0x010, interrupt_status = 0x020,
              main_counter = 0x0f0;
namespace capability {
using Revision = Bits<0, 8>;
using LastTimer = Bits<8, 5>;
using CountSize64 = Bits<13>;
using LegacyRoute = Bits<15>;
using Vendor = Bits<16, 16>;
using PeriodFemtoseconds = Bits<32, 32>;
}  // namespace capability
namespace configuration {
using Enable = Bits<0>;
using LegacyRoute = Bits<1>;
constexpr u64 writable = 3;
}  // namespace configuration

// §2.3.8 to §2.3.10
constexpr u64 first_timer = 0x100, timer_stride = 0x20;
constexpr u64 timer_configuration = 0x00, timer_comparator = 0x08, timer_fsb_route = 0x10;
namespace timer_config {
using Level = Bits<1>;
using InterruptEnable = Bits<2>;
using Periodic = Bits<3>;
using PeriodicCapable = Bits<4>;
using Size64 = Bits<5>;
using ValueSet = Bits<6>;
using Force32 = Bits<8>;
using Route = Bits<9, 5>;
using FsbEnable = Bits<14>;
using FsbCapable = Bits<15>;
using RouteCapable = Bits<32, 32>;
constexpr u64 writable = 0x7f4e;
}  // namespace timer_config

constexpr u64 femtoseconds_per_second = 1'000'000'000'000'000;
constexpr u64 identification = capability::Revision::of(1) | capability::LastTimer::of(Hpet::timer_count - 1) |
                               capability::CountSize64::of(1) | capability::LegacyRoute::of(1) |
                               capability::Vendor::of(0x8086) |
                               capability::PeriodFemtoseconds::of(femtoseconds_per_second / Hpet::frequency_hz);

// Wire numbers beyond the I/O APIC's.
constexpr unsigned wire_irq0 = 32, wire_irq8 = 33;
// A match further away than this (36 years) never comes.
constexpr u64 far_ticks = u64{1} << 57;
constexpr u64 shortest_ticks = ticks_of(Hpet::shortest_period, Hpet::frequency_hz);

}  // namespace

Hpet::Hpet(Clock& clock, Wires wires) : clock_(clock), wires_(std::move(wires)) {
  for (Timer& timer : timers_) timer.config = capabilities_of_timer();
  alarm_ = clock_.make_alarm([this] {
    const std::lock_guard lock(mutex_);
    const Nanoseconds now = clock_.now();
    settle(now);
    drive();
    arm();
  });
}

IrqLine Hpet::input(unsigned which) {
  return IrqLine([this, which](bool level) {
    const std::lock_guard lock(mutex_);
    inputs_[which] = level;
    drive();
  });
}

u64 Hpet::capabilities_of_timer() const {
  return timer_config::PeriodicCapable::of(1) | timer_config::Size64::of(1) |
         timer_config::FsbCapable::of(wires_.msi != nullptr) | timer_config::RouteCapable::of(wires_.routable);
}

void Hpet::reset() {
  const std::lock_guard lock(mutex_);
  config_ = status_ = 0;
  halted_counter_ = offset_ = 0;
  last_fire_ = 0;
  for (Timer& timer : timers_) timer = Timer{.config = capabilities_of_timer()};
  drive();
  alarm_->cancel();
}

bool Hpet::enabled() const { return configuration::Enable::get(config_); }
bool Hpet::legacy() const { return configuration::LegacyRoute::get(config_); }

u64 Hpet::width_mask(const Timer& timer) { return low_bits(timer_config::Force32::get(timer.config) ? 32 : 64); }

u64 Hpet::counter(Nanoseconds now) const { return enabled() ? ticks_of(now, frequency_hz) + offset_ : halted_counter_; }

u64 Hpet::read(Access access) {
  if (access.offset % access.bytes != 0) return ~u64{0};  // §2.3.2: software must not
  const std::lock_guard lock(mutex_);
  return read_register(access.offset & ~u64{7}, clock_.now()) >> (8 * (access.offset & 7));
}

void Hpet::write(Access access, u64 value) {
  if (access.offset % access.bytes != 0) return;
  const unsigned shift = 8 * (access.offset & 7);
  const std::lock_guard lock(mutex_);
  const Nanoseconds now = clock_.now();
  settle(now);
  write_register(access.offset & ~u64{7}, value << shift, low_bits(8 * access.bytes) << shift, now);
  settle(now);  // a comparator may have been set to the present count
  drive();
  arm();
}

u64 Hpet::read_register(u64 offset, Nanoseconds now) {
  switch (offset) {
    case general_capabilities: return identification;
    case general_configuration: return config_;
    case main_counter: return counter(now);
    default: break;
  }
  settle(now);  // alarms may be late, or absent where nothing interrupts
  drive();
  arm();
  if (offset == interrupt_status) return status_;
  const u64 index = (offset - first_timer) / timer_stride;
  if (offset < first_timer || index >= timer_count) return 0;
  const Timer& timer = timers_[index];
  switch ((offset - first_timer) % timer_stride) {
    case timer_configuration: return timer.config;
    case timer_comparator: return timer.comparator & width_mask(timer);
    case timer_fsb_route: return timer.fsb_route;
    default: return 0;
  }
}

void Hpet::write_register(u64 offset, u64 value, u64 mask, Nanoseconds now) {
  if (offset == general_configuration) return write_configuration((config_ & ~mask) | (value & mask), now);
  if (offset == interrupt_status) {
    status_ &= ~(value & mask);
    return;
  }
  if (offset == main_counter) return set_counter((counter(now) & ~mask) | (value & mask), now);
  const u64 index = (offset - first_timer) / timer_stride;
  if (offset < first_timer || index >= timer_count) return;
  const u64 reg = (offset - first_timer) % timer_stride;
  if (reg == timer_comparator) return write_comparator(timers_[index], value, mask, now);
  write_timer(timers_[index], reg, value, mask);
}

void Hpet::write_configuration(u64 value, Nanoseconds now) {
  const u64 count = counter(now);
  config_ = value & configuration::writable;
  halted_counter_ = count;
  offset_ = count - ticks_of(now, frequency_hz);
}

// The count that is set counts as not yet compared.
void Hpet::set_counter(u64 value, Nanoseconds now) {
  halted_counter_ = value;
  offset_ = value - ticks_of(now, frequency_hz);
  for (Timer& timer : timers_) timer.checked = value - 1;
}

void Hpet::write_timer(Timer& timer, u64 reg, u64 value, u64 mask) {
  if (reg == timer_fsb_route) timer.fsb_route = (timer.fsb_route & ~mask) | (value & mask);
  if (reg != timer_configuration) return;
  u64 writable = timer_config::writable & mask;
  if (!wires_.msi) writable &= ~timer_config::FsbEnable::mask;
  u64 config = (timer.config & ~writable) | (value & writable);
  // A route that the timer cannot take reads back as it was (§2.3.8).
  if ((wires_.routable >> timer_config::Route::get(config) & 1) == 0) {
    config = timer_config::Route::set(config, timer_config::Route::get(timer.config));
  }
  timer.config = config;
}

// §2.3.9.2.2: in periodic mode a write sets the period, and the accumulator too if VAL_SET was set before it. A single write
// with VAL_SET thus starts a period; Linux makes a second one, which changes the period only.
void Hpet::write_comparator(Timer& timer, u64 value, u64 mask, Nanoseconds now) {
  const bool periodic = timer_config::Periodic::get(timer.config);
  if (!periodic || timer_config::ValueSet::get(timer.config)) {
    timer.comparator = (timer.comparator & ~mask) | (value & mask);
    timer.checked = counter(now) - 1;
  }
  if (periodic) timer.period = (timer.period & ~mask) | (value & mask);
  timer.config = timer_config::ValueSet::set(timer.config, 0);
}

void Hpet::settle(Nanoseconds now) {
  if (!enabled()) return;
  const u64 count = counter(now);
  for (unsigned i = 0; i < timer_count; ++i) {
    Timer& timer = timers_[i];
    const u64 mask = width_mask(timer);
    const u64 before_match = (timer.comparator - timer.checked - 1) & mask;  // ticks between checked and the match
    const u64 passed = count - timer.checked;
    timer.checked = count;
    if (passed <= before_match) continue;
    const u64 period = timer.period & mask;
    if (timer_config::Periodic::get(timer.config) && period != 0) {
      timer.comparator = (timer.comparator + period * ((passed - before_match - 1) / period + 1)) & mask;
    }
    last_fire_ = now;
    fire(i);
  }
}

// A match: an edge now, or a level that drive() follows.
void Hpet::fire(unsigned index) {
  const Timer& timer = timers_[index];
  const bool enable = timer_config::InterruptEnable::get(timer.config);
  if (timer_config::FsbEnable::get(timer.config)) {
    if (enable) wires_.msi({.address = timer.fsb_route >> 32, .data = static_cast<u32>(timer.fsb_route)});
  } else if (timer_config::Level::get(timer.config)) {
    status_ |= u64{1} << index;
  } else if (enable) {
    set_wire(wire_of(index), false);
    set_wire(wire_of(index), true);
    driven_ |= u64{1} << wire_of(index);
  }
}

// §2.3.4: with legacy replacement timers 0 and 1 take the place of the 8254 and the RTC, whatever their routes say.
unsigned Hpet::wire_of(unsigned index) const {
  if (legacy() && index < 2) return wire_irq0 + index;
  return static_cast<unsigned>(timer_config::Route::get(timers_[index].config));
}

void Hpet::set_wire(unsigned wire, bool level) {
  if (wire == wire_irq0) return wires_.irq0.set(level);
  if (wire == wire_irq8) return wires_.irq8.set(level);
  if ((wires_.routable >> wire & 1) != 0) wires_.ioapic[wire].set(level);
}

// Brings the wires to the levels that the status asks for; edges are over.
void Hpet::drive() {
  u64 wanted = 0;
  for (unsigned i = 0; i < timer_count; ++i) {
    const u64 config = timers_[i].config;
    const bool level = timer_config::Level::get(config) && !timer_config::FsbEnable::get(config);
    const bool active = enabled() && timer_config::InterruptEnable::get(config) && (status_ >> i & 1) != 0;
    if (level && active) wanted |= u64{1} << wire_of(i);
  }
  if (!legacy()) wanted |= u64{inputs_[0]} << wire_irq0 | u64{inputs_[1]} << wire_irq8;
  const u64 changed = wanted ^ driven_;
  driven_ = wanted;
  for (unsigned wire = 0; wire <= wire_irq8; ++wire) {
    if ((changed >> wire & 1) != 0) set_wire(wire, (wanted >> wire & 1) != 0);
  }
}

void Hpet::arm() {
  std::optional<Nanoseconds> due;
  for (unsigned i = 0; i < timer_count && enabled(); ++i) {
    const Timer& timer = timers_[i];
    const bool level = timer_config::Level::get(timer.config) && !timer_config::FsbEnable::get(timer.config);
    const bool waiting = timer_config::InterruptEnable::get(timer.config) && !(level && (status_ >> i & 1) != 0);
    const u64 before_match = (timer.comparator - timer.checked - 1) & width_mask(timer);
    if (!waiting || before_match >= far_ticks) continue;
    const u64 match = timer.checked + before_match + 1 - offset_;  // in ticks of the clock
    Nanoseconds time = time_of_ticks(match, frequency_hz);
    if (timer_config::Periodic::get(timer.config) && (timer.period & width_mask(timer)) < shortest_ticks) {
      time = std::max(time, last_fire_ + shortest_period);
    }
    due = std::min(due.value_or(time), time);
  }
  if (due) {
    alarm_->set(*due);
  } else {
    alarm_->cancel();
  }
}

void Hpet::state(state::Archive& archive) {
  const std::lock_guard lock(mutex_);
  archive.begin("hpet", 1);
  archive(config_);
  archive.require((config_ & ~configuration::writable) == 0, "configuration");
  archive(status_);
  archive.require(status_ < u64{1} << timer_count, "status");
  archive(halted_counter_);
  archive(offset_);
  for (Timer& timer : timers_) {
    archive(timer.config);
    const u64 fixed = ~timer_config::writable;
    archive.require((timer.config & fixed) == (capabilities_of_timer() & fixed), "timer capabilities");
    archive.require(wires_.msi || !timer_config::FsbEnable::get(timer.config), "message delivery");
    archive(timer.comparator);
    archive(timer.period);
    archive(timer.fsb_route);
    archive(timer.checked);
  }
  archive(last_fire_);
  archive.require(last_fire_ < Nanoseconds{1} << 62, "time of the last match");
  archive(inputs_);
  archive(driven_);
  archive.end();
  if (!archive.loading() || !archive.ok()) return;
  for (unsigned wire = 0; wire <= wire_irq8; ++wire) {
    if ((driven_ >> wire & 1) != 0) set_wire(wire, true);
  }
  arm();
}

}  // namespace doppel
