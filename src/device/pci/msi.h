// MSI (PCI Local Bus 3.0 §6.8.1) with 64-bit addresses and per-vector masking. Its registers live in the function's
// configuration space, which the function's lock guards; so every call here is made with that lock held.
//
//   +0 ID  +1 next  +2 Message Control  +4 address  +8 upper address  +c data  +10 mask bits  +14 pending bits
#pragma once

#include "device/irq_line.h"
#include "device/pci/config_space.h"

namespace doppel {

class Msi {
 public:
  // 2^vectors_log2 vectors, at most 32.
  Msi(ConfigSpace& space, unsigned vectors_log2, MsiSink sink);

  bool enabled() const;
  void notify(unsigned vector, bool may_send);
  void registers_changed(
      bool may_send);  // after any configuration write: delivers what was pending and is not masked any more

 private:
  void send(unsigned vector);
  u32 word(unsigned offset) const { return space_.get(capability_ + offset, 4); }

  ConfigSpace& space_;
  const MsiSink sink_;
  unsigned capability_;
  unsigned vectors_log2_;
};

}  // namespace doppel
