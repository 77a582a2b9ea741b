// PCI bus 0 and configuration mechanism 1; see pci_bus.h.
#include "device/pci/pci_bus.h"

#include <fmt/format.h>

#include "base/bits.h"
#include "base/check.h"

namespace doppel {

namespace {
// CONFADD, §3.2.2.3.2.
using Enable = Bits<31>;
using BusNumber = Bits<16, 8>;
using DeviceNumber = Bits<11, 5>;
using FunctionNumber = Bits<8, 3>;
using RegisterNumber = Bits<2, 6>;
constexpr u32 address_writable = 0x80fffffc;

// RCR, 82371SB datasheet §2.5.4.
using HardReset = Bits<1>;
using ResetCpu = Bits<2>;
}  // namespace

Result<> PciBus::attach(unsigned slot, unsigned function, PciFunction& device) {
  CHECK(slot < slots && function < functions_per_slot);
  PciFunction*& place = places_[slot * functions_per_slot + function];
  if (place != nullptr) {
    return fail(
        fmt::format("PCI slot {:02x}.{} of '{}' is taken by '{}'", slot, function, device.name(), place->name()));
  }
  place = &device;
  device.attach(*this, slot, function);
  return {};
}

u32 PciBus::config_read(unsigned bus, unsigned slot, unsigned function, unsigned offset, unsigned bytes) const {
  PciFunction* device = bus == 0 ? find(slot, function) : nullptr;
  return device != nullptr ? device->config_read(offset, bytes) : static_cast<u32>(low_bits(8 * bytes));
}

void PciBus::config_write(unsigned bus, unsigned slot, unsigned function, unsigned offset, unsigned bytes, u32 value) {
  if (PciFunction* device = bus == 0 ? find(slot, function) : nullptr) device->config_write(offset, bytes, value);
}

void PciBus::set_intx(unsigned slot, unsigned function, unsigned pin, bool level) {
  const std::lock_guard lock(mutex_);
  bool& driven = levels_[slot * functions_per_slot + function];
  const unsigned pirq = pirq_of(slot, pin);
  if (driven != level) {
    driven = level;
    asserted_[pirq] += level ? 1 : -1;
  }
  pirq_lines_[pirq].set(asserted_[pirq] != 0);
}

void PciBus::addresses_freed() {
  for (PciFunction* device : places_) {
    if (device != nullptr) device->retry_refused();
  }
}

u64 PciConfigPorts::read(Access access) {
  u32 address = 0;
  {
    const std::lock_guard lock(mutex_);
    if (access.offset == 0 && access.bytes == 4) return address_;
    if (access.offset == 1 && access.bytes == 1) return reset_control_;
    address = address_;
  }
  if (access.offset < 4 || access.bytes > 4 || Enable::get(address) == 0) return low_bits(8 * access.bytes);
  const unsigned offset = static_cast<unsigned>(RegisterNumber::get(address) * 4 + access.offset - 4);
  return bus_.config_read(static_cast<unsigned>(BusNumber::get(address)),
                          static_cast<unsigned>(DeviceNumber::get(address)),
                          static_cast<unsigned>(FunctionNumber::get(address)), offset, access.bytes);
}

void PciConfigPorts::write(Access access, u64 value) {
  u32 address = 0;
  bool reset_now = false;
  {
    const std::lock_guard lock(mutex_);
    if (access.offset == 0 && access.bytes == 4) address_ = static_cast<u32>(value) & address_writable;
    if (access.offset == 1 && access.bytes == 1) {
      reset_now = ResetCpu::get(value) != 0 && ResetCpu::get(reset_control_) == 0;  // on the rising edge
      reset_control_ = static_cast<u8>(value & (HardReset::mask | ResetCpu::mask));
    }
    address = address_;
  }
  if (reset_now && request_reset_) request_reset_();
  if (access.offset < 4 || access.bytes > 4 || Enable::get(address) == 0) return;
  const unsigned offset = static_cast<unsigned>(RegisterNumber::get(address) * 4 + access.offset - 4);
  bus_.config_write(static_cast<unsigned>(BusNumber::get(address)), static_cast<unsigned>(DeviceNumber::get(address)),
                    static_cast<unsigned>(FunctionNumber::get(address)), offset, access.bytes, static_cast<u32>(value));
}

void PciConfigPorts::reset() {
  const std::lock_guard lock(mutex_);
  address_ = 0;
  reset_control_ = 0;
}

void PciConfigPorts::state(state::Archive& archive) {
  const std::lock_guard lock(mutex_);
  archive.begin("pci-config", 1);
  archive(address_);
  archive(reset_control_);
  address_ &= address_writable;
  archive.end();
}

}  // namespace doppel
