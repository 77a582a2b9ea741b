// The PIIX4's power management function (82371AB datasheet, order number 290562), 8086:7113: configuration space with
// PMBASE. The ACPI register block is handed in as a handler and answers at PMBASE while PMREGMISC enables it; the
// SMBus host is absent.
#pragma once

#include "device/pci/pci_function.h"

namespace doppel {

class Piix4Pm final : public PciFunction {
 public:
  static constexpr unsigned pmbase = 0x40, pmregmisc = 0x80;
  static constexpr u64 register_bytes = 64;

  // The registers at PMBASE; they are mapped into `ports` while enabled. SCI is the ISA interrupt 9, which the
  // register block drives itself; Interrupt Pin reads INTA#, as on the chip.
  Piix4Pm(Bus& ports, IoHandler& registers);
  ~Piix4Pm() override;

  void reset() override;
  void state(state::Archive& archive) override;

 protected:
  void after_config_write(unsigned offset, unsigned bytes) override;

 private:
  void remap();

  Bus& ports_;
  IoHandler& registers_;
  std::mutex mapping_mutex_;  // guards mapped_
  u64 mapped_ = 0;            // 0: nowhere
};

}  // namespace doppel
