// PCI bus 0: which function sits where, how INTx# pins reach the four PIRQs, and configuration mechanism 1
// (PCI Local Bus 3.0 §3.2.2.3.2) with the reset control register that shares its ports.
#pragma once

#include <array>
#include <functional>
#include <mutex>
#include <vector>

#include "base/result.h"
#include "device/device.h"
#include "device/irq_line.h"
#include "device/pci/pci_function.h"
#include "memory/bus.h"

namespace doppel {

class PciBus {
 public:
  static constexpr unsigned slots = 32, functions_per_slot = 8, pirqs = 4;

  PciBus(Bus& ports, Bus& memory) : ports_(ports), memory_(memory) {}

  // Before the machine starts. Fails if the place is taken. The function must be destroyed before the bus is used again.
  Result<> attach(unsigned slot, unsigned function, PciFunction& device);
  void connect(unsigned pirq, IrqLine line) { pirq_lines_[pirq] = std::move(line); }

  PciFunction* find(unsigned slot, unsigned function) const { return places_[slot * functions_per_slot + function]; }
  // Which PIRQ a pin (1 is INTA#) of a slot is wired to: i440FX boards rotate by slot, so that slot 1 INTA# is PIRQ A.
  static constexpr unsigned pirq_of(unsigned slot, unsigned pin) { return (slot + pirqs - 1 + pin - 1) % pirqs; }

  // Any thread. Nothing there: all ones, writes are dropped.
  u32 config_read(unsigned bus, unsigned slot, unsigned function, unsigned offset, unsigned bytes) const;
  void config_write(unsigned bus, unsigned slot, unsigned function, unsigned offset, unsigned bytes, u32 value);

  Bus& ports() const { return ports_; }
  Bus& memory() const { return memory_; }

  // By functions: the level of their pin (shared: a PIRQ is high while any of its pins is), and addresses they gave up.
  void set_intx(unsigned slot, unsigned function, unsigned pin, bool level);
  void addresses_freed();

 private:
  Bus& ports_;
  Bus& memory_;
  std::array<PciFunction*, slots * functions_per_slot> places_{};
  std::mutex mutex_;  // guards the levels; held while a line is set, so that the last level wins
  std::array<bool, slots * functions_per_slot> levels_{};
  std::array<unsigned, pirqs> asserted_{};
  std::array<IrqLine, pirqs> pirq_lines_;
};

// Ports 0xcf8–0xcff.  +0 CONFADD (dword only)  +1 RCR, the PIIX3's reset control (byte only)  +4..+7 CONFDATA
class PciConfigPorts final : public Device, public IoHandler {
 public:
  static constexpr u64 base = 0xcf8, size = 8;

  // `request_reset` runs on the vCPU thread that wrote RCR.
  PciConfigPorts(PciBus& bus, std::function<void()> request_reset)
      : bus_(bus), request_reset_(std::move(request_reset)) {}

  u64 read(Access access) override;
  void write(Access access, u64 value) override;

  std::string_view name() const override { return "pci-config"; }
  void reset() override;
  void state(state::Archive& archive) override;

 private:
  PciBus& bus_;
  const std::function<void()> request_reset_;
  std::mutex mutex_;  // guards what follows
  u32 address_ = 0;
  u8 reset_control_ = 0;
};

}  // namespace doppel
