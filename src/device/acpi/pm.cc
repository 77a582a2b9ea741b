// See pm.h.
#include "device/acpi/pm.h"

#include "base/bits.h"

namespace doppel {

namespace {

// PM1 status and enable, ACPI 6.4 §4.8.3.1.
namespace pm1 {
using Timer = Bits<0>;
using Global = Bits<5>;
using PowerButton = Bits<8>;
constexpr u16 enables = Timer::mask | Global::mask | PowerButton::mask | 0x0600;  // sleep button and RTC never happen
constexpr u16 statuses = 0x8731;
}  // namespace pm1

// PM1 control, ACPI 6.4 §4.8.3.2.1.
namespace control {
using SciEnable = Bits<0>;
using SleepType = Bits<10, 3>;
using SleepEnable = Bits<13>;
constexpr u16 at_reset = SciEnable::mask;  // there is no firmware in system management mode to switch from
constexpr u16 writable = 0x1c03;           // SCI_EN, BM_RLD, SLP_TYP; GBL_RLS and SLP_EN read as zero
}  // namespace control

u8 byte_of(u64 value, u64 index) { return static_cast<u8>(value >> (8 * index)); }

void set_byte(u16& reg, u64 index, u8 value, u16 writable) {
  const auto mask = static_cast<u16>((0xff << (8 * index)) & writable);
  reg = static_cast<u16>((reg & ~mask) | ((value << (8 * index)) & mask));
}

void clear_ones(u16& reg, u64 index, u8 value) { reg = static_cast<u16>(reg & ~(value << (8 * index))); }

}  // namespace

AcpiPm::AcpiPm(Clock& clock, IrqLine sci, TimerWidth width, std::function<void()> power_off)
    : clock_(clock), sci_(std::move(sci)), width_(width), power_off_(std::move(power_off)) {
  alarm_ = clock_.make_alarm([this] {
    const std::lock_guard lock(mutex_);
    settle(clock_.now());
    follow_events();
  });
}

void AcpiPm::reset() {
  const std::lock_guard lock(mutex_);
  status_ = enable_ = 0;
  control_ = control::at_reset;
  gpe_status_ = gpe_enable_ = 0;
  apm_command_ = apm_status_ = 0;
  carries_seen_ = carries(clock_.now());
  follow_events();
}

void AcpiPm::press_power_button() {
  const std::lock_guard lock(mutex_);
  status_ |= pm1::PowerButton::mask;
  follow_events();
}

void AcpiPm::raise_gpe(unsigned event) {
  const std::lock_guard lock(mutex_);
  gpe_status_ |= static_cast<u16>(1u << (event & 15));
  follow_events();
}

u64 AcpiPm::read(Access access) {
  const std::lock_guard lock(mutex_);
  const Nanoseconds now = clock_.now();
  if (settle(now)) follow_events();
  const auto timer = static_cast<u32>(timer_ticks(now) & low_bits(static_cast<unsigned>(width_)));
  return read_bytewise(access, [&](u64 offset) { return read_byte(offset, timer); });
}

u8 AcpiPm::read_byte(u64 offset, u32 timer) const {
  const u64 half = offset & 1;
  switch (offset - half) {
    case 0x0: return byte_of(status_, half);
    case 0x2: return byte_of(enable_, half);
    case 0x4: return byte_of(control_, half);
    case 0x8: return byte_of(timer, half);
    case 0xa: return byte_of(timer, 2 + half);
    case 0xc: return byte_of(gpe_status_, half);
    case 0xe: return byte_of(gpe_enable_, half);
    default: return 0;
  }
}

void AcpiPm::write(Access access, u64 value) {
  bool soft_off = false;
  {
    const std::lock_guard lock(mutex_);
    settle(clock_.now());
    write_bytewise(access, value, [&](u64 offset, u8 byte) { soft_off |= write_byte(offset, byte); });
    follow_events();
  }
  if (soft_off && power_off_) power_off_();
}

// Returns whether this enters S5.
bool AcpiPm::write_byte(u64 offset, u8 value) {
  const u64 half = offset & 1;
  switch (offset - half) {
    case 0x0: clear_ones(status_, half, value); return false;
    case 0x2: set_byte(enable_, half, value, pm1::enables); return false;
    case 0xc: clear_ones(gpe_status_, half, value); return false;
    case 0xe: set_byte(gpe_enable_, half, value, 0xffff); return false;
    case 0x4: break;
    default: return false;
  }
  set_byte(control_, half, value, control::writable);
  const u64 written = u64{value} << (8 * half);
  return control::SleepEnable::get(written) && control::SleepType::get(control_) == s5_sleep_type;
}

// TMR_STS is set whenever the timer's top bit changes (ACPI 6.4 §4.8.2.1).
bool AcpiPm::settle(Nanoseconds now) {
  const u64 count = carries(now);
  if (count == carries_seen_) return false;
  carries_seen_ = count;
  status_ |= pm1::Timer::mask;
  return true;
}

// The SCI is level-triggered; while SCI_EN is clear events would raise SMI#, which nobody hears.
void AcpiPm::follow_events() {
  const bool events = (status_ & enable_) != 0 || (gpe_status_ & gpe_enable_) != 0;
  const bool sci_enabled = control::SciEnable::get(control_);
  sci_.set(sci_enabled && events);
  if (sci_enabled && !events && pm1::Timer::get(enable_)) {
    alarm_->set(time_of_ticks((carries_seen_ + 1) << (static_cast<unsigned>(width_) - 1), pm_timer_hz));
  } else {
    alarm_->cancel();
  }
}

u64 AcpiPm::read_apm(Access access) {
  const std::lock_guard lock(mutex_);
  return read_bytewise(access, [this](u64 offset) { return offset == 0 ? apm_command_ : apm_status_; });
}

void AcpiPm::write_apm(Access access, u64 value) {
  const std::lock_guard lock(mutex_);
  write_bytewise(access, value, [this](u64 offset, u8 byte) {
    if (offset != 0) {
      apm_status_ = byte;
      return;
    }
    apm_command_ = byte;
    if (byte == acpi_enable) control_ |= control::SciEnable::mask;
    if (byte == acpi_disable) control_ &= static_cast<u16>(~control::SciEnable::mask);
  });
  settle(clock_.now());
  follow_events();
}

void AcpiPm::state(state::Archive& archive) {
  const std::lock_guard lock(mutex_);
  archive.begin("acpi-pm", 1);
  archive(status_);
  archive.require((status_ & ~pm1::statuses) == 0, "status");
  archive(enable_);
  archive(control_);
  archive.require((enable_ & ~pm1::enables) == 0 && (control_ & ~control::writable) == 0, "control");
  archive(gpe_status_);
  archive(gpe_enable_);
  archive(apm_command_);
  archive(apm_status_);
  archive(carries_seen_);
  archive.require(carries_seen_ < u64{1} << 33, "timer");
  archive.end();
  if (archive.loading() && archive.ok()) follow_events();
}

}  // namespace doppel
