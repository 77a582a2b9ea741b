// What firmware does with PCI before it starts an operating system, for machines that boot without one: BARs get
// addresses, decoding and bus mastering go on, PIRQs and Interrupt Line registers are programmed.
#pragma once

#include <array>

#include "base/result.h"
#include "device/pci/pci_bus.h"

namespace doppel {

struct PciWindows {
  u64 io_base, io_end;          // [base, end) on the port bus
  u64 memory_base, memory_end;  // below 4 GiB
};

// After every reset of the machine, before its first instruction. `pirq_isa`: the ISA interrupt of PIRQ A–D, which is
// programmed into the first PIIX3 that is found. Fails, naming the function, when a window is too small.
Result<> assign_pci_resources(PciBus& bus, const PciWindows& windows, const std::array<u8, PciBus::pirqs>& pirq_isa);

}  // namespace doppel
