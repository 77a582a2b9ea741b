// The I/O APIC of a PC: 24 inputs, the register model of the 82093AA (290566-001), and the EOI register of version 20h
// (as in the ICH family's I/O APIC).
// Inputs are told "asserted", so polarity is stored only. Messages are accepted or refused at once: delivery status reads idle.
#pragma once

#include <array>
#include <mutex>

#include "device/device.h"
#include "device/interrupt/interrupt_message.h"
#include "device/irq_line.h"
#include "memory/bus.h"

namespace doppel {

// One page at 0xfec00000:  +00 IOREGSEL (8 bits)  +10 IOWIN (32 bits)  +40 EOI (vector, write only)
// Behind IOREGSEL:  00 ID  01 version  02 arbitration ID  10+2n/11+2n redirection entry n
class IoApic final : public Device, public IoHandler {
 public:
  static constexpr unsigned inputs = 24;

  // Messages are sent with the I/O APIC's lock held, which comes before the local APICs'.
  explicit IoApic(InterruptBus& bus) : bus_(bus) { entries_.fill(reset_entry); }

  std::string_view name() const override { return "io-apic"; }
  void reset() override;
  void state(state::Archive& archive) override;

  u64 read(Access access) override;
  void write(Access access, u64 value) override;

  IrqLine line(unsigned input);
  void set_input(unsigned input, bool asserted);

  // From the local APICs: the interrupt of this vector was serviced. Sends again what is still asserted.
  void end_of_interrupt(u8 vector);

 private:
  static constexpr u64 reset_entry = 1 << 16;  // masked

  u32 read_register() const;
  void write_register(u32 value);
  void write_entry(unsigned input, u64 value);
  void serve(unsigned input, bool edge);
  bool send(u64 entry, bool level);
  void end_locked(u8 vector);

  InterruptBus& bus_;
  std::mutex mutex_;
  u32 asserted_ = 0;  // levels of the inputs
  u8 select_ = 0;
  u8 id_ = 0;
  std::array<u64, inputs> entries_{};
};

}  // namespace doppel
