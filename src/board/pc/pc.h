// The PC: an i440FX host bridge, the PIIX3 with its 8259s, 8254, clock and ports, local and I/O APICs, HPET, ACPI power
// management, two serial ports, and virtio devices on PCI. Addresses and lines: layout.h.
#pragma once

#include <map>
#include <memory>
#include <vector>

#include "board/board.h"
#include "board/pc/processor.h"
#include "device/acpi/pm.h"
#include "device/entropy_source.h"
#include "device/interrupt/i8259.h"
#include "device/interrupt/interrupt_fabric.h"
#include "device/interrupt/io_apic.h"
#include "device/pci/pci_bus.h"
#include "device/pci/piix3.h"
#include "device/virtio/virtio_device.h"
#include "disk/io_engine.h"
#include "firmware/memory_map.h"
#include "network/port.h"

namespace doppel::pc {

class Pc final : public Board {
 public:
  static Result<std::unique_ptr<Board>> create(const BoardSpec& spec, const BoardContext& context);
  ~Pc() override;

  std::vector<Device*> devices() override;
  LocalInterrupts& local_interrupts(unsigned cpu) override { return *processors_[cpu]; }
  Result<> configure() override;
  Result<> boot(std::span<Vcpu* const> vcpus) override;
  CharacterPort& console() override { return *console_; }
  void press_power_button() override { pm_->press_power_button(); }
  std::vector<Wire> wires() const override { return wires_; }

 private:
  Pc(const BoardSpec& spec, const BoardContext& context);
  Result<> build();
  Result<> map_memory();
  void add_interrupt_controllers();
  Result<> add_timers();
  Result<> add_ports();
  Result<> add_pci();
  Result<> add_virtio();

  template <class T, class... Args>
  T& add(Args&&... args) {
    auto device = std::make_unique<T>(std::forward<Args>(args)...);
    T& reference = *device;
    owned_.push_back(std::move(device));
    devices_.push_back(&reference);
    return reference;
  }
  // Ports in the port bus; `device` names the region.
  Result<> map_ports(u64 base, u64 size, IoHandler& handler, std::string_view name);
  Result<> plug(unsigned slot, unsigned function, PciFunction& device);
  Result<> plug_virtio(std::unique_ptr<VirtioDevice> device);
  Result<> add_disks(const CompletionPolicy& policy);
  // An ISA interrupt, as a device of that name drives it: an input of the 8259s and one of the I/O APIC.
  IrqLine isa(unsigned irq, std::string_view name);
  std::vector<firmware::MemoryMapEntry> memory_map() const;

  const BoardSpec spec_;
  BoardContext context_;
  Dma dma_;
  std::vector<Wire> wires_;

  // What devices stand on comes before them, so that it outlives them.
  InterruptFabric fabric_;
  PciBus pci_;
  std::unique_ptr<EntropySource> entropy_;
  std::unique_ptr<disk::IoEngine> io_;
  std::vector<std::unique_ptr<network::Port>> ports_;
  std::vector<std::unique_ptr<Processor>> processors_;
  std::vector<std::unique_ptr<Device>> owned_;  // in the order of the parts list; taken down backwards
  std::vector<Device*> devices_;

  I8259* pic_ = nullptr;
  IoApic* io_apic_ = nullptr;
  Piix3IsaBridge* isa_bridge_ = nullptr;
  AcpiPm* pm_ = nullptr;
  CharacterPort* console_ = nullptr;
  unsigned next_slot_;
};

inline Result<std::unique_ptr<Board>> make_board(const BoardSpec& spec, const BoardContext& context) {
  return Pc::create(spec, context);
}

}  // namespace doppel::pc
