// The wires between a processor and what interrupts it; the board adapts them to its vCPUs.
#pragma once

#include "base/types.h"

namespace doppel {

// Called on any thread with the local APIC's lock held: must not call back and should only leave a note and wake the vCPU.
class ProcessorPins {
 public:
  virtual ~ProcessorPins() = default;
  virtual void interrupt_request(bool level) = 0;  // INTR; a level, told when it changes
  virtual void nmi() = 0;
  virtual void init() = 0;           // the local APIC has already taken its own INIT
  virtual void sipi(u8 vector) = 0;  // counts only while the processor waits for it
};

// The INTA cycle of an external controller (the 8259s). Called on a vCPU's thread with no local APIC's lock held.
class InterruptAcknowledge {
 public:
  virtual ~InterruptAcknowledge() = default;
  virtual u8 acknowledge() = 0;
};

}  // namespace doppel
