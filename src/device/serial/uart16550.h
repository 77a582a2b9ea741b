// The 16550A UART (National Semiconductor PC16550D datasheet, June 1995): FIFOs, interrupts, modem loopback, break.
//
// The line is infinitely fast: a byte that is written is gone at once, unless the host's end falls behind. Then THRE stays
// clear until it has caught up, and what a guest writes meanwhile is still kept (a kernel's console gives up waiting for THRE
// after some milliseconds), up to a bound far beyond the 16 bytes of the chip. The character timeout interrupt comes at
// once, so that a few typed characters need not wait. OUT2 does not gate the interrupt and characters have 8 bits whatever LCR
// says, since guests made for emulators set neither.
#pragma once

#include <array>
#include <mutex>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "device/device.h"
#include "device/irq_line.h"
#include "device/serial/character_port.h"
#include "memory/bus.h"

namespace doppel {

class Uart16550 final : public Device, public IoHandler, public CharacterPort {
 public:
  static constexpr u64 port_count = 8;
  static constexpr std::size_t fifo_bytes = 16;
  static constexpr Nanoseconds gather_time = 1'000'000;  // output waits this long for more
  static constexpr std::size_t gather_bytes = 4096;      // but only this long once there is so much:
  static constexpr Nanoseconds urgent_time = 1'000;
  static constexpr std::size_t congested_bytes = 32 * 1024;  // from here on THRE is withheld
  static constexpr std::size_t output_bytes = 64 * 1024;     // what is written beyond this, against THRE, is lost

  Uart16550(std::string_view name, Clock& clock, IrqLine irq);

  void connect(Sink sink, std::function<void()> input_wanted) override;
  void flush() override;
  std::size_t can_receive() override;
  std::size_t receive(std::span<const u8> bytes) override;
  void receive_break();  // I/O thread; dropped if the FIFO is full

  u64 read(Access access) override;
  void write(Access access, u64 value) override;

  std::string_view name() const override { return name_; }
  void reset() override;
  void state(state::Archive& archive) override;

 private:
  struct Received {
    u8 data;
    u8 errors;  // bits of LSR
  };

  u8 read_register(u64 offset);
  void write_register(u64 offset, u8 value);
  u8 read_receiver();
  u8 read_line_status();
  u8 read_modem_status();
  u8 read_interrupt_identification();
  void write_transmitter(u8 value);
  void write_interrupt_enable(u8 value);
  void write_fifo_control(u8 value);
  void write_line_control(u8 value);
  void write_modem_control(u8 value);

  bool fifos_enabled() const;
  bool loopback() const;
  bool divisor_access() const;
  std::size_t receiver_capacity() const { return fifos_enabled() ? fifo_bytes : 1; }
  u8 pop_received();
  void receive_looped(Received received);
  void put_output(u8 byte);
  void flush_within(Nanoseconds time);
  bool wants_refused_input();
  bool transmitter_empty() const { return output_.size() < congested_bytes; }
  void set_modem_lines(u8 lines);
  u8 interrupt_id() const;
  void update_interrupt();

  const std::string_view name_;
  Clock& clock_;
  IrqLine irq_;
  Sink sink_;
  std::function<void()> input_wanted_;

  std::mutex mutex_;  // guards what follows; held while the line is set
  u8 ier_ = 0, fcr_ = 0, lcr_ = 0, mcr_ = 0, msr_ = 0, scratch_ = 0;
  u16 divisor_ = 1;
  bool line_ = false;  // of the interrupt
  bool overrun_ = false;
  bool thre_pending_ = false;  // the THRE interrupt, which reading IIR or writing THR takes back
  std::array<Received, fifo_bytes> received_{};
  std::size_t received_count_ = 0;
  std::vector<u8> output_;      // bytes that the sink did not take yet
  Nanoseconds flush_at_ = 0;    // when the alarm is set for; 0: it is not
  bool sink_full_ = false;      // it took less than it was given: wait for flush()
  bool refused_input_ = false;  // receive() took less than it was given
  std::unique_ptr<Alarm> alarm_;
};

}  // namespace doppel
