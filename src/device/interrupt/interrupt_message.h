// What travels between the I/O APIC, PCI functions (MSI) and the local APICs. Intel SDM vol. 3 §11.6, §11.11 (edition 085).
#pragma once

#include "base/types.h"

namespace doppel {

// Encoded alike in the ICR, the LVT, redirection entries and MSI data.
enum class DeliveryMode : u8 { fixed, lowest_priority, smi, reserved, nmi, init, startup, external };

struct InterruptMessage {
  enum class To : u8 { physical, logical, all, all_but_sender };

  To to = To::physical;
  u32 destination = 0;  // APIC ID, or logical destination as the sender writes it; broadcasts are To::all
  u32 sender = 0;       // APIC ID; matters to all_but_sender
  DeliveryMode mode = DeliveryMode::fixed;
  u8 vector = 0;
  bool level = false;  // trigger mode: its end is broadcast to the I/O APIC

  bool operator==(const InterruptMessage&) const = default;
};

// The system bus as APICs see it.
class InterruptBus {
 public:
  virtual ~InterruptBus() = default;
  // Any thread; the caller must hold no local APIC's lock. True if a processor accepted it.
  virtual bool deliver(const InterruptMessage& message) = 0;
  // A local APIC tells the I/O APIC that a level-triggered interrupt was serviced. Any thread, no local APIC's lock held.
  virtual void end_of_interrupt(u8 vector) = 0;
};

}  // namespace doppel
