// A PCI function's header, BARs and interrupts; see pci_function.h.
#include "device/pci/pci_function.h"

#include <fmt/format.h>

#include <bit>

#include "base/bits.h"
#include "base/check.h"
#include "base/log.h"
#include "device/pci/pci_bus.h"

namespace doppel {

namespace {
using MsixFunctionMask = Bits<14>;  // Message Control, §6.8.2.3
using MsixEnable = Bits<15>;

constexpr unsigned bar_offset(unsigned index) { return pci::bar0 + 4 * index; }
}  // namespace

PciFunction::PciFunction(std::string name, const Identity& id)
    : name_(std::move(name)), interrupt_pin_(id.interrupt_pin) {
  const u16 command = pci::command_io | pci::command_memory | pci::command_bus_master | pci::command_intx_disable;
  const ConfigRegister header[] = {
      {.name = "Vendor ID", .offset = pci::vendor_id, .bytes = 2, .reset = id.vendor},
      {.name = "Device ID", .offset = pci::device_id, .bytes = 2, .reset = id.device},
      {.name = "Command", .offset = pci::command, .bytes = 2, .writable = command},
      {.name = "Status", .offset = pci::status, .bytes = 2, .clears = 0xf900},
      {.name = "Revision ID", .offset = pci::revision_id, .bytes = 1, .reset = id.revision},
      {.name = "Class Code", .offset = pci::class_code, .bytes = 1, .reset = id.class_code & 0xff},
      {.name = "Subclass", .offset = pci::class_code + 1, .bytes = 2, .reset = id.class_code >> 8},
      {.name = "Cache Line Size", .offset = 0x0c, .bytes = 1, .writable = 0xff},
      {.name = "Latency Timer", .offset = 0x0d, .bytes = 1, .writable = 0xff},
      {.name = "Header Type", .offset = pci::header_type, .bytes = 1, .reset = id.multifunction ? 0x80u : 0u},
      {.name = "Subsystem Vendor ID", .offset = pci::subsystem_vendor_id, .bytes = 2, .reset = id.subsystem_vendor},
      {.name = "Subsystem ID", .offset = pci::subsystem_id, .bytes = 2, .reset = id.subsystem},
      {.name = "Interrupt Line",
       .offset = pci::interrupt_line,
       .bytes = 1,
       .writable = id.interrupt_pin != 0 ? 0xffu : 0u},
      {.name = "Interrupt Pin", .offset = pci::interrupt_pin, .bytes = 1, .reset = id.interrupt_pin},
  };
  space_.define(header);
}

PciFunction::~PciFunction() {
  const std::lock_guard lock(mutex_);
  unmap_all();
}

void PciFunction::add_bar(unsigned index, BarKind kind, u64 size, IoHandler& handler, bool prefetchable) {
  CHECK(index < bar_count && bars_[index].size == 0 && std::has_single_bit(size));
  CHECK(kind == BarKind::io ? size >= 4 && size <= 256 : size >= 16);
  CHECK(kind == BarKind::memory64 ? index + 1 < bar_count : size <= u64{1} << 31);
  bars_[index] = {.kind = kind, .size = size, .prefetchable = prefetchable, .handler = &handler};
  const u64 mask = ~(size - 1);
  // §6.2.5.1: bit 0 I/O; memory: bits 2:1 = 2 is 64-bit, bit 3 prefetchable.
  const u32 type = kind == BarKind::io ? 1 : (kind == BarKind::memory64 ? 4u : 0u) | (prefetchable ? 8u : 0u);
  space_.define(
      {.name = "BAR", .offset = bar_offset(index), .bytes = 4, .reset = type, .writable = static_cast<u32>(mask)});
  if (kind == BarKind::memory64) {
    space_.define({.name = "BAR, upper half",
                   .offset = bar_offset(index + 1),
                   .bytes = 4,
                   .writable = static_cast<u32>(mask >> 32)});
  }
}

void PciFunction::add_msi(unsigned vectors_log2, MsiSink sink) {
  CHECK(!msi_);
  msi_ = std::make_unique<Msi>(space_, vectors_log2, std::move(sink));
}

Msix& PciFunction::add_msix(unsigned vectors, unsigned bar, u32 table_offset, u32 pending_offset, MsiSink sink) {
  CHECK(!msix_ && bar < bar_count && table_offset % 8 == 0 && pending_offset % 8 == 0);
  msix_ = std::make_unique<Msix>(vectors, std::move(sink));
  msix_capability_ = space_.add_capability(pci::capability_msix, 12);
  const ConfigRegister registers[] = {
      {.name = "Message Control",
       .offset = msix_capability_ + 2,
       .bytes = 2,
       .reset = vectors - 1,
       .writable = static_cast<u32>(MsixFunctionMask::mask | MsixEnable::mask)},
      {.name = "Table Offset/BIR", .offset = msix_capability_ + 4, .bytes = 4, .reset = table_offset | bar},
      {.name = "PBA Offset/BIR", .offset = msix_capability_ + 8, .bytes = 4, .reset = pending_offset | bar},
  };
  space_.define(registers);
  return *msix_;
}

void PciFunction::attach(PciBus& bus, unsigned slot, unsigned function) {
  CHECK(bus_ == nullptr);
  bus_ = &bus;
  slot_ = slot;
  function_ = function;
}

u32 PciFunction::config_read(unsigned offset, unsigned bytes) {
  before_config_read(offset, bytes);
  const std::lock_guard lock(mutex_);
  return space_.read(offset, bytes);
}

void PciFunction::config_write(unsigned offset, unsigned bytes, u32 value) {
  bool gave_up_addresses = false;
  {
    const std::lock_guard lock(mutex_);
    space_.write(offset, bytes, value);
    gave_up_addresses = registers_changed();
  }
  if (gave_up_addresses && bus_ != nullptr) bus_->addresses_freed();
  after_config_write(offset, bytes);
}

u32 PciFunction::config_get(unsigned offset, unsigned bytes) {
  const std::lock_guard lock(mutex_);
  return space_.get(offset, bytes);
}

void PciFunction::config_put(unsigned offset, unsigned bytes, u32 value) {
  const std::lock_guard lock(mutex_);
  space_.put(offset, bytes, value);
}

bool PciFunction::registers_changed() {
  const bool master = (space_.get(pci::command, 2) & pci::command_bus_master) != 0;
  bus_master_.store(master, std::memory_order_release);
  if (msi_) msi_->registers_changed(master);
  if (msix_) {
    const u32 control = space_.get(msix_capability_ + 2, 2);
    msix_->configure(MsixEnable::get(control) != 0, MsixFunctionMask::get(control) != 0, master);
  }
  drive_intx();
  return update_mappings();
}

// ---- base address registers ----

Bus& PciFunction::space_of(const Bar& bar) const { return bar.kind == BarKind::io ? bus_->ports() : bus_->memory(); }

// Nothing while decoding is off, for base 0 (not assigned yet), and for all ones (being sized).
std::optional<u64> PciFunction::wanted_base(unsigned index) const {
  const Bar& bar = bars_[index];
  const bool io = bar.kind == BarKind::io;
  if (bar.size == 0 || bus_ == nullptr) return std::nullopt;
  if ((space_.get(pci::command, 2) & (io ? pci::command_io : pci::command_memory)) == 0) return std::nullopt;
  const u32 low = space_.get(bar_offset(index), 4) & static_cast<u32>(~(bar.size - 1));
  const u64 high = bar.kind == BarKind::memory64 ? space_.get(bar_offset(index + 1), 4) : 0;
  const u64 base = high << 32 | low;
  const bool sizing = bar.size <= u64{1} << 31 && low == static_cast<u32>(~(bar.size - 1));
  if (base == 0 || sizing) return std::nullopt;
  return base;
}

bool PciFunction::update_mappings() {
  bool gave_up = false;
  for (unsigned i = 0; i < bar_count; ++i) {
    Bar& bar = bars_[i];
    if (!bar.mapped || bar.mapped == wanted_base(i)) continue;
    space_of(bar).unmap(*bar.mapped);
    bar.mapped.reset();
    gave_up = true;
  }
  for (unsigned i = 0; i < bar_count; ++i) {
    Bar& bar = bars_[i];
    const auto base = wanted_base(i);
    if (bar.mapped || !base) continue;
    const auto mapped = space_of(bar).map(*base, bar.size, *bar.handler, fmt::format("{} BAR{}", name_, i));
    if (mapped) {
      bar.mapped = base;
    } else {
      log::debug("PCI: {}", mapped.error().message);  // a guest may do that; the BAR answers when the other has moved
    }
  }
  return gave_up;
}

void PciFunction::retry_refused() {
  const std::lock_guard lock(mutex_);
  update_mappings();
}

void PciFunction::unmap_all() {
  for (Bar& bar : bars_) {
    if (bar.mapped) space_of(bar).unmap(*bar.mapped);
    bar.mapped.reset();
  }
}

// ---- interrupts ----

void PciFunction::set_intx(bool level) {
  const std::lock_guard lock(mutex_);
  intx_ = level;
  drive_intx();
}

void PciFunction::drive_intx() {
  if (interrupt_pin_ == 0) return;
  const u32 status = space_.get(pci::status, 2) & ~u32{pci::status_interrupt};
  space_.put(pci::status, 2, status | (intx_ ? pci::status_interrupt : 0u));
  const bool disabled = (space_.get(pci::command, 2) & pci::command_intx_disable) != 0;
  if (bus_ != nullptr) bus_->set_intx(slot_, function_, interrupt_pin_, intx_ && !disabled);
}

bool PciFunction::send_message(unsigned vector) {
  if (msix_ && msix_->enabled()) {
    msix_->notify(vector);
    return true;
  }
  if (!msi_) return false;
  const std::lock_guard lock(mutex_);
  if (!msi_->enabled()) return false;
  msi_->notify(vector, bus_master());
  return true;
}

// ---- life cycle ----

void PciFunction::reset() {
  {
    const std::lock_guard lock(mutex_);
    space_.reset();
    intx_ = false;
    if (msix_) msix_->reset();
    registers_changed();
  }
  if (bus_ != nullptr) bus_->addresses_freed();
}

void PciFunction::state(state::Archive& archive) {
  {
    const std::lock_guard lock(mutex_);
    archive.begin("pci", 1);
    space_.state(archive);
    archive(intx_);
    if (msix_) msix_->state(archive);
    archive.end();
    if (archive.loading()) registers_changed();
  }
  // Functions load one after another: one that was loaded earlier may have been refused what this one has left.
  if (archive.loading() && bus_ != nullptr) bus_->addresses_freed();
}

}  // namespace doppel
