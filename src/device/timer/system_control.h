// System control ports A (0x92) and B (0x61) of a PC (IBM PS/2 technical reference; PIIX3 datasheet §2.5.4, §2.5.7).
//
//   0x61  0 gate of 8254 channel 2   1 speaker data   2 SERR# disable   3 IOCHK# disable   4 refresh (toggles each 15.085 µs)
//         5 output of channel 2      6 IOCHK# NMI (never)               7 SERR# NMI (never)
//   0x92  0 fast reset (0 to 1)      1 fast A20
//
// There is no speaker. A20 reads back as written and masks nothing, as on processors since Haswell, which have no A20M#.
#pragma once

#include <functional>
#include <mutex>

#include "base/clock.h"
#include "device/device.h"
#include "device/io_window.h"
#include "device/timer/i8254.h"

namespace doppel {

class SystemControl final : public Device {
 public:
  // `request_reset` runs on the vCPU thread that asked, with no lock held.
  SystemControl(Clock& clock, I8254& pit, std::function<void()> request_reset)
      : clock_(clock), pit_(pit), request_reset_(std::move(request_reset)) {}

  IoHandler& port_61() { return port_61_; }
  IoHandler& port_92() { return port_92_; }

  std::string_view name() const override { return "system-control"; }
  void reset() override;
  void state(state::Archive& archive) override;

 private:
  u64 read_61(Access access);
  void write_61(Access access, u64 value);
  u64 read_92(Access access);
  void write_92(Access access, u64 value);

  Clock& clock_;
  I8254& pit_;
  const std::function<void()> request_reset_;
  IoWindow<SystemControl> port_61_{*this, &SystemControl::read_61, &SystemControl::write_61};
  IoWindow<SystemControl> port_92_{*this, &SystemControl::read_92, &SystemControl::write_92};
  std::mutex mutex_;  // guards what follows; held while the 8254 is called
  u8 port_b_ = 0;     // bits 3:0
  u8 port_a_ = 0x02;
};

}  // namespace doppel
