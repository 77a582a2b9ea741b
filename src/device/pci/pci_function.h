// One PCI function (PCI Local Bus 3.0): its configuration space, base address registers, INTx pin, MSI and MSI-X.
// A kind of device derives from it, declares registers and BARs in its constructor, and drives its interrupts.
//
// Locking: the function's own mutex guards configuration space and mappings. It is not held while a BAR's handler or
// a hook runs. The order is: device → this function → PciBus → interrupt controllers.
#pragma once

#include <array>
#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "device/device.h"
#include "device/pci/config_space.h"
#include "device/pci/msi.h"
#include "device/pci/msix.h"
#include "memory/bus.h"

namespace doppel {

class PciBus;

class PciFunction : public Device {
 public:
  struct Identity {
    u16 vendor, device;
    u8 revision = 0;
    u32 class_code;  // base class, subclass, interface: 0x060000 is a host bridge
    u16 subsystem_vendor = 0, subsystem = 0;
    bool multifunction = false;
    u8 interrupt_pin = 0;  // 1 is INTA#; 0: none
  };
  enum class BarKind { io, memory32, memory64 };

  PciFunction(std::string name, const Identity& identity);
  ~PciFunction() override;
  PciFunction(const PciFunction&) = delete;
  PciFunction& operator=(const PciFunction&) = delete;

  // Any thread. 1, 2 or 4 bytes at any offset.
  u32 config_read(unsigned offset, unsigned bytes);
  void config_write(unsigned offset, unsigned bytes, u32 value);

  struct Bar {
    BarKind kind;
    u64 size = 0;  // a power of two; 0: no such BAR, or the upper half of the one before
    bool prefetchable = false;
    IoHandler* handler = nullptr;
    std::optional<u64> mapped;  // where the bus answers for it now
  };
  static constexpr unsigned bar_count = 6;
  // The BARs as the constructor declared them; for whoever assigns resources.
  const std::array<Bar, bar_count>& bars() const { return bars_; }

  std::string_view name() const override { return name_; }
  void reset() override;
  void state(state::Archive& archive) override;

 protected:
  // In constructors only.
  void define(std::span<const ConfigRegister> registers) { space_.define(registers); }
  unsigned add_capability(u8 id, unsigned bytes) { return space_.add_capability(id, bytes); }
  void add_bar(unsigned index, BarKind kind, u64 size, IoHandler& handler, bool prefetchable = false);
  void add_msi(unsigned vectors_log2, MsiSink sink);
  // The device forwards the table's and the pending bits' part of the BAR to the returned Msix.
  Msix& add_msix(unsigned vectors, unsigned bar, u32 table_offset, u32 pending_offset, MsiSink sink);

  // Any thread, also with the device's lock held.
  void set_intx(bool level);
  bool send_message(unsigned vector);  // by MSI-X or MSI; false if neither is enabled and INTx# is in use
  bool bus_master() const { return bus_master_.load(std::memory_order_acquire); }
  u32 config_get(unsigned offset, unsigned bytes);  // past the masks and the hooks
  void config_put(unsigned offset, unsigned bytes, u32 value);

  // Hooks, called without any lock, on the thread that accesses configuration space.
  virtual void before_config_read(unsigned /*offset*/, unsigned /*bytes*/) {}
  virtual void after_config_write(unsigned /*offset*/, unsigned /*bytes*/) {}

 private:
  friend class PciBus;

  void attach(PciBus& bus, unsigned slot, unsigned function);
  void retry_refused();      // by the bus, when another function gave up addresses
  bool registers_changed();  // locked: acts on command, BARs, MSI; true if addresses were given up
  bool update_mappings();    // locked
  void unmap_all();          // locked
  std::optional<u64> wanted_base(unsigned index) const;  // locked
  Bus& space_of(const Bar& bar) const;
  void drive_intx();  // locked

  const std::string name_;
  const u8 interrupt_pin_;
  PciBus* bus_ = nullptr;
  unsigned slot_ = 0, function_ = 0;

  std::mutex mutex_;  // guards what follows
  ConfigSpace space_;
  std::array<Bar, bar_count> bars_{};
  bool intx_ = false;
  std::unique_ptr<Msi> msi_;
  std::unique_ptr<Msix> msix_;  // locks itself
  unsigned msix_capability_ = 0;
  std::atomic<bool> bus_master_ = false;
};

}  // namespace doppel
