// The PIIX3's PCI-to-ISA bridge (82371SB datasheet, order number 290550), 8086:7000 at 01.0: routes the four PIRQs to
// ISA interrupts through PIRQRC[A:D]. The 8259s, the 8254 and the rest of the chip are devices of their own.
#pragma once

#include <array>
#include <mutex>

#include "device/irq_line.h"
#include "device/pci/pci_function.h"

namespace doppel {

class Piix3IsaBridge final : public PciFunction {
 public:
  static constexpr unsigned pirqrc_a = 0x60;  // bit 7: not routed; bits 3:0: ISA interrupt (§2.2.6)

  // One line per ISA interrupt; a line is high while any PIRQ routed to it is. Lines that PIRQs cannot reach
  // (0, 1, 2, 8, 13) are never set and may be left unconnected.
  explicit Piix3IsaBridge(std::array<IrqLine, 16> isa);

  // PIRQ 0–3 (A–D), for PciBus::connect. Any thread.
  void set_pirq(unsigned pirq, bool level);

  void reset() override;
  void state(state::Archive& archive) override;

 protected:
  void after_config_write(unsigned offset, unsigned bytes) override;

 private:
  void reroute();  // takes over the routing registers
  void drive();    // locked

  std::array<IrqLine, 16> isa_;
  std::mutex routing_mutex_;  // guards what follows; held while lines are set
  std::array<u8, 4> routes_{};
  std::array<bool, 4> pirqs_{};
  u16 driven_ = 0;  // ISA lines that are high because of PIRQs
};

}  // namespace doppel
