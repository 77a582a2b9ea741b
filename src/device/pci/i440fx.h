// The i440FX host bridge (82441FX PMC datasheet, order number 290549), 8086:1237 at 00.0. Its memory controller is
// plain storage here: the address map is the board's. Firmware finds the PAM and DRAM row registers as it left them.
#pragma once

#include "device/pci/pci_function.h"

namespace doppel {

class I440fxHostBridge final : public PciFunction {
 public:
  static constexpr unsigned pam0 = 0x59, smram = 0x72;
  I440fxHostBridge();
};

}  // namespace doppel
