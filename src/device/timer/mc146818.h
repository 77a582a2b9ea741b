// The MC146818 real-time clock and CMOS memory (Motorola MC146818A datasheet) as in the PIIX3 (datasheet §2.5.6): 128 bytes at
// ports 0x70/0x71, the second bank of 128 at 0x72/0x73, century in byte 0x32 (as the FADT says), NMI mask in port 0x70 bit 7.
//
// The time is a function of the Clock and of the start that the board gives, so that runs can be deterministic. Nothing runs
// between accesses but one alarm, at the next event whose interrupt is enabled. The update takes no time: UIP is high during
// the 2228 µs before the second changes (244 µs notice and 1984 µs update on the chip), and reads then are still good.
// Absent: daylight saving, square wave. Time registers with impossible values are brought into range when the clock runs.
#pragma once

#include <array>
#include <atomic>
#include <mutex>
#include <optional>

#include "base/clock.h"
#include "device/device.h"
#include "device/irq_line.h"
#include "memory/bus.h"

namespace doppel {

class Mc146818 final : public Device, public IoHandler {
 public:
  static constexpr u64 port_count = 4;  // 0x70
  static constexpr u8 century = 0x32;

  // `epoch_seconds`: the time that the clock shows at Clock time 0, in seconds since 1970.
  Mc146818(Clock& clock, IrqLine irq, i64 epoch_seconds);

  // Before the machine starts: what firmware finds. `index` is 0x0e to 0x7f, but for the century.
  void set_cmos(u8 index, u8 value);
  // The bytes in which PC firmware keeps the memory's size: RAM below and above 4 GiB.
  void set_memory_size(u64 below_4g, u64 above_4g);

  bool nmi_masked() const { return nmi_masked_.load(std::memory_order_relaxed); }  // any thread

  u64 read(Access access) override;
  void write(Access access, u64 value) override;

  std::string_view name() const override { return "mc146818"; }
  void reset() override;  // the reset pin: time and memory are kept
  void state(state::Archive& archive) override;

 private:
  u8 read_byte(u64 port);
  void write_byte(u64 port, u8 value);
  u8 read_register(u8 index);
  void write_register(u8 index, u8 value);
  u8 read_flags();
  void write_control(u8 index, u8 value, Nanoseconds now);

  bool dividing() const;  // the divider chain runs: periodic interrupts
  bool updating() const;  // and the time advances
  u64 divider_time(Nanoseconds now) const { return now + divider_offset_; }
  i64 seconds_at(Nanoseconds now) const;
  void store_time(i64 seconds);
  i64 load_time();
  u8 encode(unsigned value) const;
  unsigned decode(u8 value) const;
  u8 encode_hour(unsigned hour) const;
  unsigned decode_hour(u8 value) const;

  std::optional<i64> next_alarm(i64 after) const;
  std::optional<Nanoseconds> next_event() const;
  Nanoseconds time_of_second(i64 seconds) const;
  void settle(Nanoseconds now);
  void settle_periodic(Nanoseconds now);
  void follow_flags();

  Clock& clock_;
  IrqLine irq_;
  std::atomic<bool> nmi_masked_{false};
  std::mutex mutex_;  // guards what follows
  u8 index_ = 0, extended_index_ = 0;
  std::array<u8, 128> cmos_{};  // the time registers in it are valid only while the time stands still
  std::array<u8, 128> extended_{};
  i64 base_seconds_;                // seconds since 1970 at divider time 0
  Nanoseconds divider_offset_ = 0;  // below one second: divider time less Clock time
  u8 weekday_offset_ = 0;           // the day-of-week register is independent of the date: days ahead of the real one
  Nanoseconds settled_ = 0;         // flags in register C are right up to this time
  std::unique_ptr<Alarm> alarm_;
};

}  // namespace doppel
