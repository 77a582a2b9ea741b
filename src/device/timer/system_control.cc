// See system_control.h.
#include "device/timer/system_control.h"

#include "base/bits.h"

namespace doppel {

namespace {

namespace port_b {
using Gate2 = Bits<0>;
using Refresh = Bits<4>;
using Output2 = Bits<5>;
constexpr u8 writable = 0x0f;
constexpr Nanoseconds refresh_period = 15'085;
}  // namespace port_b

namespace port_a {
using FastReset = Bits<0>;
constexpr u8 writable = 0x03;
constexpr u8 at_reset = 0x02;  // A20 open
}  // namespace port_a

}  // namespace

void SystemControl::reset() {
  const std::lock_guard lock(mutex_);
  port_b_ = 0;
  port_a_ = port_a::at_reset;
  pit_.set_gate2(false);
}

u64 SystemControl::read_61(Access) {
  const std::lock_guard lock(mutex_);
  return port_b_ | port_b::Refresh::of(clock_.now() / port_b::refresh_period) | port_b::Output2::of(pit_.output2());
}

void SystemControl::write_61(Access, u64 value) {
  const std::lock_guard lock(mutex_);
  port_b_ = value & port_b::writable;
  pit_.set_gate2(port_b::Gate2::get(port_b_));
}

u64 SystemControl::read_92(Access) {
  const std::lock_guard lock(mutex_);
  return port_a_;
}

void SystemControl::write_92(Access, u64 value) {
  bool fast_reset;
  {
    const std::lock_guard lock(mutex_);
    fast_reset = port_a::FastReset::get(value) && !port_a::FastReset::get(port_a_);
    port_a_ = value & port_a::writable;
  }
  if (fast_reset && request_reset_) request_reset_();
}

void SystemControl::state(state::Archive& archive) {
  const std::lock_guard lock(mutex_);
  archive.begin("system-control", 1);
  archive(port_b_);
  archive(port_a_);
  archive.require((port_b_ & ~port_b::writable) == 0 && (port_a_ & ~port_a::writable) == 0, "port");
  archive.end();
}

}  // namespace doppel
