// The high precision event timers (IA-PC HPET specification 1.0a, October 2004): a 64-bit counter of 100 MHz and three timers,
// each one-shot or periodic, 32 or 64 bits wide, edge, level or message-signalled; legacy replacement routing.
//
// Nothing runs between accesses but one alarm at the next match that interrupts. Matches that passed unseen are one interrupt.
// In legacy replacement mode the HPET takes over the wires of the 8254 (IRQ 0) and the RTC (IRQ 8): these two are
// connected through it, with pit_input() and rtc_input().
#pragma once

#include <array>
#include <mutex>
#include <optional>

#include "base/clock.h"
#include "device/device.h"
#include "device/irq_line.h"
#include "memory/bus.h"

namespace doppel {

class Hpet final : public Device, public IoHandler {
 public:
  static constexpr u64 region_bytes = 0x400;  // 0xfed00000 on PCs
  static constexpr u64 frequency_hz = 100'000'000;
  static constexpr unsigned timer_count = 3;
  // Faster periods than this coalesce, as in the 8254.
  static constexpr Nanoseconds shortest_period = 20'000;

  struct Wires {
    IrqLine irq0, irq8;              // the ISA interrupts of the 8254 and the RTC
    std::array<IrqLine, 32> ioapic;  // interrupt inputs by number
    u32 routable = 0;                // which of them timers may be routed to: Tn_INT_ROUTE_CAP
    MsiSink msi;                     // empty: message delivery is not advertised
  };
  Hpet(Clock& clock, Wires wires);

  // What the 8254 and the RTC drive instead of IRQ 0 and IRQ 8.
  IrqLine pit_input() { return input(0); }
  IrqLine rtc_input() { return input(1); }

  u64 read(Access access) override;
  void write(Access access, u64 value) override;

  std::string_view name() const override { return "hpet"; }
  void reset() override;
  void state(state::Archive& archive) override;

 private:
  struct Timer {
    u64 config = 0;
    u64 comparator = ~u64{0};
    u64 period = 0;
    u64 fsb_route = 0;
    u64 checked = 0;  // matches are settled up to and with this count
  };

  IrqLine input(unsigned which);
  u64 capabilities_of_timer() const;
  // One access happens at one time: the clock may move on meanwhile.
  u64 read_register(u64 offset, Nanoseconds now);
  void write_register(u64 offset, u64 value, u64 mask, Nanoseconds now);
  void write_configuration(u64 value, Nanoseconds now);
  void write_timer(Timer& timer, u64 reg, u64 value, u64 mask);
  void write_comparator(Timer& timer, u64 value, u64 mask, Nanoseconds now);
  void set_counter(u64 value, Nanoseconds now);

  bool enabled() const;
  bool legacy() const;
  static u64 width_mask(const Timer& timer);
  u64 counter(Nanoseconds now) const;
  void settle(Nanoseconds now);
  void fire(unsigned index);
  void drive();
  unsigned wire_of(unsigned index) const;
  void set_wire(unsigned wire, bool level);
  void arm();

  Clock& clock_;
  Wires wires_;
  std::mutex mutex_;  // guards what follows; held while the wires are set
  u64 config_ = 0;
  u64 status_ = 0;
  u64 halted_counter_ = 0;  // while disabled
  u64 offset_ = 0;          // while enabled: counter less ticks of the clock
  std::array<Timer, timer_count> timers_{};
  Nanoseconds last_fire_ = 0;
  std::array<bool, 2> inputs_{};  // levels from the 8254 and the RTC
  u64 driven_ = 0;                // wires that are high: 31:0 I/O APIC inputs, then IRQ 0 and IRQ 8
  std::unique_ptr<Alarm> alarm_;
};

}  // namespace doppel
