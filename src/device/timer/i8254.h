// The 8254 programmable interval timer (Intel 8254 datasheet, order number 231164) as a PC has it: channel 0 drives IRQ 0,
// channel 2 goes through port 0x61 (system_control.h); channel 1, once the DRAM refresh, only counts.
//
// Nothing runs between accesses but one alarm at the next rising edge of channel 0. That is what an edge-triggered interrupt
// needs, so the line may stay high over the low pulses of modes 2 to 5; it falls just before it rises.
#pragma once

#include <array>
#include <mutex>

#include "base/clock.h"
#include "device/device.h"
#include "device/irq_line.h"
#include "device/timer/i8254_counter.h"
#include "memory/bus.h"

namespace doppel {

class I8254 final : public Device, public IoHandler {
 public:
  static constexpr u64 frequency_hz = 1'193'182;
  static constexpr u64 port_count = 4;  // 0x40: counters 0 to 2, control word
  // Faster edges than this coalesce: no guest could take the interrupts, and they would only burn host time.
  static constexpr Nanoseconds shortest_period = 20'000;

  I8254(Clock& clock, IrqLine channel0);

  u64 read(Access access) override;
  void write(Access access, u64 value) override;

  // Channel 2, for port 0x61. Any thread.
  void set_gate2(bool level);
  bool output2();

  std::string_view name() const override { return "i8254"; }
  void reset() override;
  void state(state::Archive& archive) override;

 private:
  using Tick = I8254Counter::Tick;

  u8 read_byte(u64 offset);
  void write_byte(u64 offset, u8 value);
  void read_back(u8 command, Tick now);
  Tick tick() { return static_cast<Tick>(ticks_of(clock_.now(), frequency_hz)); }
  void deliver_edges(Tick now);
  void follow_output(Tick now);
  void set_line(bool level);
  void arm(Tick now);
  void set_alarm();

  Clock& clock_;
  IrqLine irq_;
  std::mutex mutex_;  // guards what follows
  std::array<I8254Counter, 3> counters_{I8254Counter(true), I8254Counter(true), I8254Counter(false)};
  bool line_ = false;
  Tick next_edge_ = 0;  // of channel 0; 0: none
  Nanoseconds last_edge_ = 0;
  std::unique_ptr<Alarm> alarm_;
};

}  // namespace doppel
