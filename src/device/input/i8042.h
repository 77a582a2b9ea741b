// The 8042 keyboard controller of a PC (IBM PS/2 hardware interface technical reference, "Keyboard and Auxiliary Device
// Controller") with a keyboard and a mouse (ps2.h): what firmware and drivers probe and set up, and the reset line.
//
//   0x60 data    0x64 status (read), command (write)
//
// Everything is answered at once, so IBF is never set. A20 reads back as written and masks nothing (see
// timer/system_control.h). After a reset the command byte is as firmware leaves it: translating, keyboard interrupt on.
#pragma once

#include <array>
#include <functional>
#include <mutex>
#include <span>

#include "device/device.h"
#include "device/input/ps2.h"
#include "device/io_window.h"
#include "device/irq_line.h"

namespace doppel {

class I8042 final : public Device {
 public:
  // `request_reset` runs on the vCPU thread that pulsed the reset line, with no lock held.
  I8042(IrqLine keyboard, IrqLine aux, std::function<void()> request_reset);

  IoHandler& data_port() { return data_port_; }        // 0x60
  IoHandler& command_port() { return command_port_; }  // 0x64

  // Any thread. Scan codes of set 2, whole keys: false if they do not fit (at most 16 bytes wait) or the guest switched the
  // keyboard off; they are dropped then.
  bool type(std::span<const u8> scan_codes);

  std::string_view name() const override { return "i8042"; }
  void reset() override;
  void state(state::Archive& archive) override;

 private:
  u64 read_data(Access access);
  void write_data(Access access, u64 value);
  u64 read_status(Access access);
  void write_command(Access access, u64 value);

  bool command(u8 command);  // these two return whether the machine is to be reset
  bool argument(u8 command, u8 value);
  bool write_output_port(u8 value);
  void reply(u8 value, bool from_aux = false);
  void fill_output();
  bool translate(u8& code);
  void update_lines();
  u8 output_port() const;

  IrqLine keyboard_irq_, aux_irq_;
  const std::function<void()> request_reset_;
  IoWindow<I8042> data_port_{*this, &I8042::read_data, &I8042::write_data};
  IoWindow<I8042> command_port_{*this, &I8042::read_status, &I8042::write_command};

  std::mutex mutex_;          // guards what follows; held while the lines are set
  std::array<u8, 32> ram_{};  // byte 0: command byte
  u8 argument_of_ = 0;        // the command whose argument comes next at 0x60; 0: none
  bool last_was_command_ = false;
  bool a20_ = true;
  u8 output_ = 0;
  bool output_full_ = false, output_from_aux_ = false;
  u8 reply_ = 0;  // waits for the output buffer
  bool reply_waits_ = false, reply_from_aux_ = false;
  bool break_follows_ = false;  // translation saw 0xf0
  bool keyboard_line_ = false, aux_line_ = false;
  Ps2Keyboard keyboard_;
  Ps2Mouse mouse_;
};

}  // namespace doppel
