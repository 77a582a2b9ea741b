// See apic_timer.h.
#include "device/interrupt/apic_timer.h"

#include <algorithm>
#include <utility>

#include "base/bits.h"

namespace doppel {

void ApicTimer::reset() {
  mode_ = Mode::one_shot;
  masked_ = true;
  running_ = expired_ = false;
  initial_count_ = divide_ = 0;
  tsc_deadline_ = 0;
}

// Divide configuration register: bits 3, 1 and 0 are the power of two, less one; 7 means division by 1.
unsigned ApicTimer::shift() const {
  const u32 code = (divide_ & 3) | (divide_ >> 1 & 4);
  return (code + 1) & 7;
}

// Brings the state forward to `now`. A masked timer counts on, but its expirations are gone.
void ApicTimer::settle(Nanoseconds now) {
  if (!running_ || now < expiry_) return;
  if (!masked_) expired_ = true;
  if (mode_ == Mode::periodic && initial_count_ != 0) {
    const Nanoseconds period = Nanoseconds{initial_count_} << shift();
    expiry_ += ((now - expiry_) / period + 1) * period;
  } else {
    running_ = false;
    tsc_deadline_ = 0;
  }
}

bool ApicTimer::take_expired() {
  if (suspended_) return false;
  settle(clock_.now());
  return std::exchange(expired_, false);
}

void ApicTimer::arm() {
  Nanoseconds wanted = never;
  if (running_ && !masked_ && !suspended_) {
    wanted = expiry_;
    const Nanoseconds period = Nanoseconds{initial_count_} << shift();
    if (mode_ == Mode::periodic && period < shortest_period)
      wanted += shortest_period - 1 - (wanted - 1) % shortest_period;
  }
  if (wanted == alarm_at_) return;
  alarm_at_ = wanted;
  wanted == never ? alarm_->cancel() : alarm_->set(wanted);
}

void ApicTimer::suspend() {
  suspended_ = true;
  arm();
}

void ApicTimer::configure(Mode mode, bool masked) {
  settle(clock_.now());
  const bool counted = counts();
  mode_ = mode;
  masked_ = masked;
  if (counts() == counted && mode != Mode::reserved) return;
  running_ = false;
  initial_count_ = 0;
  tsc_deadline_ = 0;
}

void ApicTimer::set_initial_count(u32 count) {
  if (!counts()) return;
  const Nanoseconds now = clock_.now();
  settle(now);
  initial_count_ = count;
  running_ = count != 0;
  expiry_ = now + (Nanoseconds{count} << shift());
}

// The count goes on from where it is, at the new rate.
void ApicTimer::set_divide(u32 value) {
  const Nanoseconds now = clock_.now();
  settle(now);
  const u32 count = count_at(now);
  divide_ = value;
  if (counts() && running_) expiry_ = now + (Nanoseconds{count} << shift());
}

u32 ApicTimer::count_at(Nanoseconds now) const {
  if (!counts() || !running_) return 0;
  const u64 count = (u128{expiry_ - now} + low_bits(shift())) >> shift();
  return static_cast<u32>(std::min<u64>(count, initial_count_));  // more only in a state file that was tampered with
}

u32 ApicTimer::current_count() {
  const Nanoseconds now = clock_.now();
  settle(now);
  return count_at(now);
}

void ApicTimer::set_tsc_deadline(u64 deadline) {
  const Nanoseconds now = clock_.now();
  settle(now);
  if (mode_ != Mode::tsc_deadline) return;
  tsc_deadline_ = deadline;
  schedule_deadline(now);
}

void ApicTimer::set_tsc_offset(u64 offset) {
  if (offset == tsc_offset_) return;
  const Nanoseconds now = clock_.now();
  settle(now);
  tsc_offset_ = offset;
  if (mode_ == Mode::tsc_deadline) schedule_deadline(now);
}

// A deadline that the TSC has passed expires at once; one beyond the end of time never comes.
void ApicTimer::schedule_deadline(Nanoseconds now) {
  const u64 tsc = now + tsc_offset_;
  const Nanoseconds left = tsc_deadline_ > tsc ? tsc_deadline_ - tsc : 0;
  running_ = tsc_deadline_ != 0;
  expiry_ = left < never - now ? now + left : never;
  settle(now);
}

u64 ApicTimer::tsc_deadline() {
  settle(clock_.now());
  return mode_ == Mode::tsc_deadline ? tsc_deadline_ : 0;
}

void ApicTimer::state(state::Archive& archive) {
  archive(mode_);
  for (bool* flag : {&masked_, &running_, &expired_}) archive(*flag);
  archive(initial_count_);
  archive(divide_);
  archive(tsc_deadline_);
  archive(tsc_offset_);
  archive(expiry_);
  archive.require(mode_ <= Mode::reserved && !(divide_ & ~0xbu), "local APIC: timer mode or divisor");
  archive.require(!running_ || (mode_ == Mode::tsc_deadline ? tsc_deadline_ != 0 : counts() && initial_count_ != 0),
                  "local APIC: a timer that runs without a count");
  archive.require(mode_ == Mode::tsc_deadline || expiry_ <= never / 2,
                  "local APIC: timer expiry");  // leaves room to add to it
}

}  // namespace doppel
