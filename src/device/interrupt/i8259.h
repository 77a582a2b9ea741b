// The two cascaded 8259A interrupt controllers of a PC, with the edge/level control registers of the PIIX3 (82371SB).
// Intel 8259A datasheet (231468-003); 82371SB datasheet §2.4 (ports 0x4d0, 0x4d1).
// Left out: MCS-80 vectors (ICW4.µPM = 0 behaves as 8086 mode), buffered mode (stored, no effect), single mode (the cascade
// is wired), ICW1.LTIM (as in the PIIX3, the ELCR replaces it), ICW3 (the PC's wiring is fixed: the slave is on IR2).
#pragma once

#include <array>
#include <mutex>

#include "device/device.h"
#include "device/interrupt/processor_pins.h"
#include "device/irq_line.h"
#include "memory/bus.h"

namespace doppel {

// One 8259A without its bus: requests, priorities, command words. Not locked.
class I8259Chip {
 public:
  explicit I8259Chip(u8 level_capable) : level_capable_(level_capable) {}

  void reset();
  void set_input(unsigned input, bool level);
  // The cascade input follows the slave's output, whatever the trigger mode: no request of the slave is ever lost.
  void set_cascade(bool level) { cascade_ = level ? cascade_input : 0; }
  bool output() const { return !initializing() && pending() >= 0; }
  // INTA: the input to serve, now in service; -1 if the request went away.
  int acknowledge();
  u8 vector(unsigned input) const { return static_cast<u8>(vector_base_ | input); }

  u8 read(bool a0);
  void write(bool a0, u8 value);
  u8 elcr() const { return elcr_; }
  void set_elcr(u8 value);

  bool is_master = false;
  void state(state::Archive& archive);

 private:
  static constexpr u8 cascade_input = 1 << 2;

  bool initializing() const { return next_icw_ != 0; }
  u8 requests() const { return static_cast<u8>(latched_ | (inputs_ & elcr_) | cascade_); }
  int highest(u8 inputs) const;
  int pending() const;
  void serve(unsigned input);
  void write_icw1(u8 value);
  void write_icw(u8 value);
  void write_ocw2(u8 value);
  void write_ocw3(u8 value);
  void end_of_interrupt(unsigned input, bool rotate);

  const u8 level_capable_;
  u8 inputs_ = 0;   // levels of the wires
  u8 latched_ = 0;  // edges not yet acknowledged
  u8 cascade_ = 0;
  u8 elcr_ = 0;
  u8 imr_ = 0;
  u8 isr_ = 0;
  u8 vector_base_ = 0;
  u8 lowest_ = 7;    // the input of lowest priority
  u8 next_icw_ = 0;  // 2–4 during initialization, 0 when it is over
  bool wants_icw3_ = false;
  bool wants_icw4_ = false;
  bool auto_eoi_ = false;
  bool rotate_on_auto_eoi_ = false;
  bool special_fully_nested_ = false;
  bool special_mask_ = false;
  bool read_isr_ = false;
  bool poll_ = false;
};

class I8259 final : public Device, public InterruptAcknowledge {
 public:
  // `output` is INTR: to LINT0 of the local APICs (and input 0 of the I/O APIC). Called with the 8259s' lock held.
  explicit I8259(IrqLine output);

  std::string_view name() const override { return "i8259"; }
  void reset() override;
  void state(state::Archive& archive) override;

  // ISA interrupt 0–15 (2 is the cascade and not connected).
  IrqLine line(unsigned irq);
  void set_irq(unsigned irq, bool level);

  // Both INTA pulses. When nothing is pending any more: IRQ 7 (or 15) of the chip that lost it, without in-service bit.
  u8 acknowledge() override;

  IoHandler& master_ports() { return master_ports_; }  // 0x20  +0 ICW1/OCW2/OCW3/IRR/ISR  +1 ICW2–4/IMR
  IoHandler& slave_ports() { return slave_ports_; }    // 0xa0  the same
  IoHandler& elcr_ports() { return elcr_ports_; }      // 0x4d0  +0 IRQ 0–7  +1 IRQ 8–15

 private:
  enum class Block : u8 { master, slave, elcr };
  struct Ports final : IoHandler {
    Ports(I8259& owner, Block which) : pic(owner), block(which) {}
    u64 read(Access access) override;
    void write(Access access, u64 value) override;
    I8259& pic;
    const Block block;
  };

  u8 read_port(Block block, unsigned offset);
  void write_port(Block block, unsigned offset, u8 value);
  void update();

  std::mutex mutex_;
  IrqLine output_;
  bool output_level_ = false;
  I8259Chip master_{0xf8};  // IRQ 0–2 are always edges
  I8259Chip slave_{0xde};   // IRQ 8 and 13 are always edges
  Ports master_ports_{*this, Block::master}, slave_ports_{*this, Block::slave}, elcr_ports_{*this, Block::elcr};
};

}  // namespace doppel
