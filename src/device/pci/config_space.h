// The 256 bytes of a function's configuration space as data (PCI Local Bus 3.0 §6.1): every register says its reset
// value, which bits are writable and which are cleared by writing one. Not locked: its PciFunction is.
#pragma once

#include <array>
#include <span>

#include "base/types.h"
#include "state/archive.h"

namespace doppel {

struct ConfigRegister {
  const char* name;
  unsigned offset;
  unsigned bytes;  // 1, 2 or 4
  u32 reset = 0;
  u32 writable = 0;  // plain storage
  u32 clears = 0;    // write one to clear
  u32 kept = 0;      // changed by the function only, and part of saved state
};

namespace pci {
// Offsets in the header of type 0 (§6.1).
constexpr unsigned vendor_id = 0x00, device_id = 0x02, command = 0x04, status = 0x06, revision_id = 0x08;
constexpr unsigned class_code = 0x09, header_type = 0x0e, bar0 = 0x10, subsystem_vendor_id = 0x2c, subsystem_id = 0x2e;
constexpr unsigned capabilities_pointer = 0x34, interrupt_line = 0x3c, interrupt_pin = 0x3d;

// Command and status bits (§6.2.2, §6.2.3).
constexpr u16 command_io = 1 << 0, command_memory = 1 << 1, command_bus_master = 1 << 2, command_intx_disable = 1 << 10;
constexpr u16 status_interrupt = 1 << 3, status_capabilities = 1 << 4;

constexpr u8 capability_msi = 0x05, capability_vendor = 0x09, capability_msix = 0x11;
}  // namespace pci

class ConfigSpace {
 public:
  static constexpr unsigned size = 256;

  void define(const ConfigRegister& reg);
  void define(std::span<const ConfigRegister> registers) {
    for (const auto& reg : registers) define(reg);
  }
  // Links a capability of `bytes` (header included) into the list and returns its offset, a multiple of 4.
  unsigned add_capability(u8 id, unsigned bytes);

  void reset() { bytes_ = reset_; }

  // As the guest sees it. Any offset and width; what leaves the space reads as ones and is dropped.
  u32 read(unsigned offset, unsigned bytes) const;
  void write(unsigned offset, unsigned bytes, u32 value);

  // As the function itself sees it: no masks.
  u32 get(unsigned offset, unsigned bytes) const { return read(offset, bytes); }
  void put(unsigned offset, unsigned bytes, u32 value);

  // Loading changes only bits that are writable or kept, and refuses the state of another function.
  void state(state::Archive& archive);

 private:
  std::array<u8, size> bytes_{}, reset_{}, writable_{}, clears_{}, kept_{};
  unsigned next_capability_ = 0x40;
};

}  // namespace doppel
