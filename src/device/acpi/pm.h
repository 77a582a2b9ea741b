// ACPI fixed hardware (ACPI 6.4 §4.8) with the register layout of the PIIX4's power management block (82371AB datasheet,
// order number 290562, §7.2): PM1a events and control, the PM timer, one general-purpose event block. There is no system
// management mode: the machine starts in ACPI mode (SCI_EN), an FADT needs no SMI_CMD, and of the APM ports 0xb2/0xb3 the two
// commands that switch ACPI on and off are carried out here.
//
//   +0x0 PM1_STS   +0x2 PM1_EN   +0x4 PM1_CNT   +0x8 PM_TMR (32 bits, read-only)   +0xc GPE0_STS   +0xe GPE0_EN
//
// Absent: sleep states but S5, sleep button, RTC wake-up, throttling. The reset register 0xcf9 is in device/pci/pci_bus.h.
#pragma once

#include <functional>
#include <mutex>

#include "base/clock.h"
#include "device/device.h"
#include "device/io_window.h"
#include "device/irq_line.h"

namespace doppel {

class AcpiPm final : public Device, public IoHandler {
 public:
  // What the FADT and the DSDT tell of this block. Offsets are from PMBASE.
  static constexpr u64 block_bytes = 64;
  static constexpr u64 pm1_event = 0x0, pm1_control = 0x4, pm_timer = 0x8, gpe0 = 0xc;
  static constexpr u8 pm1_event_bytes = 4, pm1_control_bytes = 2, pm_timer_bytes = 4, gpe0_bytes = 4;
  static constexpr u64 pm_timer_hz = 3'579'545;
  static constexpr u16 smi_command_port = 0xb2;
  static constexpr u8 acpi_enable = 0xf1, acpi_disable = 0xf0;
  static constexpr u8 s5_sleep_type = 0;  // SLP_TYPx of soft off, the PIIX4's SUS_TYP 000

  enum class TimerWidth : u8 { bits24 = 24, bits32 = 32 };  // 32: the FADT must set TMR_VAL_EXT

  // `power_off` runs on the vCPU thread that entered S5, with no lock held.
  AcpiPm(Clock& clock, IrqLine sci, TimerWidth width, std::function<void()> power_off);

  void press_power_button();       // any thread
  void raise_gpe(unsigned event);  // any thread; 0 to 15

  u64 read(Access access) override;  // the block at PMBASE
  void write(Access access, u64 value) override;
  IoHandler& apm_ports() { return apm_ports_; }  // two ports at smi_command_port

  std::string_view name() const override { return "acpi-pm"; }
  void reset() override;
  void state(state::Archive& archive) override;

 private:
  u8 read_byte(u64 offset, u32 timer) const;
  bool write_byte(u64 offset, u8 value);
  u64 read_apm(Access access);
  void write_apm(Access access, u64 value);

  u64 timer_ticks(Nanoseconds now) const { return ticks_of(now, pm_timer_hz); }
  u64 carries(Nanoseconds now) const { return timer_ticks(now) >> (static_cast<unsigned>(width_) - 1); }
  bool settle(Nanoseconds now);  // returns whether TMR_STS was set
  void follow_events();

  Clock& clock_;
  IrqLine sci_;
  const TimerWidth width_;
  const std::function<void()> power_off_;
  IoWindow<AcpiPm> apm_ports_{*this, &AcpiPm::read_apm, &AcpiPm::write_apm};
  std::mutex mutex_;                           // guards what follows; held while the line is set
  u16 status_ = 0, enable_ = 0, control_ = 1;  // SCI_EN
  u16 gpe_status_ = 0, gpe_enable_ = 0;
  u8 apm_command_ = 0, apm_status_ = 0;
  u64 carries_seen_ = 0;  // changes of the timer's top bit, as far as TMR_STS knows them
  std::unique_ptr<Alarm> alarm_;
};

}  // namespace doppel
