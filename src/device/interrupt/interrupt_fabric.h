// Routes interrupt messages to local APICs: from the I/O APIC, from MSI writes and from the ICR; and ends of level-triggered
// interrupts back to the I/O APIC. Intel SDM vol. 3 §11.6.2, §11.11 (edition 085).
// It has no state and no lock: what is attached before the machine starts stays.
#pragma once

#include <vector>

#include "device/interrupt/interrupt_message.h"
#include "device/irq_line.h"

namespace doppel {

class IoApic;
class LocalApic;

// An MSI's address and data as a message; false if it is none (another address, a level-triggered de-assert).
bool decode_msi(MsiMessage msi, InterruptMessage& message);

class InterruptFabric final : public InterruptBus {
 public:
  // In the order of their IDs 0, 1, 2, …; before the machine starts.
  void attach(LocalApic& apic);
  void attach(IoApic& apic) { io_apic_ = &apic; }

  bool deliver(const InterruptMessage& message) override;
  void end_of_interrupt(u8 vector) override;

  // Any thread, also with a device's lock held; the sink must not outlive the fabric.
  void deliver_msi(MsiMessage msi);
  MsiSink msi_sink() {
    return [this](MsiMessage msi) { deliver_msi(msi); };
  }
  // The wire to one local interrupt pin of every processor, as LINT0 (8259s) and LINT1 (NMI) are on a PC.
  IrqLine lint(unsigned pin);

 private:
  bool deliver_to_lowest(const InterruptMessage& message);

  std::vector<LocalApic*> apics_;  // by ID
  IoApic* io_apic_ = nullptr;
};

}  // namespace doppel
