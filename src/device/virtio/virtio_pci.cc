// virtio over PCI; see virtio_pci.h.
#include "device/virtio/virtio_pci.h"

#include <algorithm>
#include <array>

#include "base/bits.h"

namespace doppel {

namespace {

constexpr u64 page = 0x1000, bar_bytes = 8 * page;
enum Area : u64 { common = 0, isr = 1, device_config = 2, notifications = 3, msix_table = 4, msix_pending = 5 };
constexpr u32 notify_multiplier = 4;

// Structures that capabilities point to, §4.1.4.
enum class Structure : u8 { common = 1, notify = 2, isr = 3, device = 4, pci_window = 5 };
constexpr u8 isr_queue = 1, isr_config = 2;

// Common configuration, §4.1.4.3. 64-bit fields are written in halves, so each half is a field.
struct Field {
  enum Name : u8 {
    device_feature_select,
    device_feature,
    driver_feature_select,
    driver_feature,
    config_vector,
    num_queues,
    device_status,
    config_generation,
    queue_select,
    queue_size,
    queue_vector,
    queue_enable,
    queue_notify_off,
    queue_descriptors_low,
    queue_descriptors_high,
    queue_driver_low,
    queue_driver_high,
    queue_device_low,
    queue_device_high,
  };
  Name name;
  u8 offset;
  u8 bytes;
};
constexpr std::array fields = {
    Field{Field::device_feature_select, 0x00, 4},  Field{Field::device_feature, 0x04, 4},
    Field{Field::driver_feature_select, 0x08, 4},  Field{Field::driver_feature, 0x0c, 4},
    Field{Field::config_vector, 0x10, 2},          Field{Field::num_queues, 0x12, 2},
    Field{Field::device_status, 0x14, 1},          Field{Field::config_generation, 0x15, 1},
    Field{Field::queue_select, 0x16, 2},           Field{Field::queue_size, 0x18, 2},
    Field{Field::queue_vector, 0x1a, 2},           Field{Field::queue_enable, 0x1c, 2},
    Field{Field::queue_notify_off, 0x1e, 2},       Field{Field::queue_descriptors_low, 0x20, 4},
    Field{Field::queue_descriptors_high, 0x24, 4}, Field{Field::queue_driver_low, 0x28, 4},
    Field{Field::queue_driver_high, 0x2c, 4},      Field{Field::queue_device_low, 0x30, 4},
    Field{Field::queue_device_high, 0x34, 4},
};
constexpr u64 common_bytes = 0x38;

const Field* field_at(u64 offset) {
  const auto found = std::ranges::find_if(
      fields, [&](const Field& f) { return offset >= f.offset && offset < f.offset + u64{f.bytes}; });
  return found == fields.end() ? nullptr : &*found;
}

// Class codes as drivers that look at them expect.
u32 class_of(u16 type) {
  switch (type) {
    case virtio::type_network: return 0x020000;
    case virtio::type_block:
    case virtio::type_scsi: return 0x010000;
    case virtio::type_console: return 0x078000;
    default: return 0x00ff00;
  }
}

PciFunction::Identity identity_of(const VirtioDevice& device) {
  // §4.1.2: modern devices are 0x1040 + type, revision at least 1, subsystem at least 0x40.
  return {.vendor = VirtioPci::vendor,
          .device = static_cast<u16>(0x1040 + device.type()),
          .revision = 1,
          .class_code = class_of(device.type()),
          .subsystem_vendor = VirtioPci::vendor,
          .subsystem = 0x1100,
          .interrupt_pin = 1};
}

Virtqueue::Part part_of(Field::Name name) {
  switch (name) {
    case Field::queue_descriptors_low:
    case Field::queue_descriptors_high: return Virtqueue::Part::descriptors;
    case Field::queue_driver_low:
    case Field::queue_driver_high: return Virtqueue::Part::driver;
    default: return Virtqueue::Part::device;
  }
}

}  // namespace

VirtioPci::VirtioPci(std::unique_ptr<VirtioDevice> device, MsiSink msi)
    : PciFunction(std::string(device->name()), identity_of(*device)),
      queue_vectors_(device->queue_count(), no_vector),
      device_(std::move(device)) {
  add_bar(0, BarKind::memory32, bar_bytes, *this);
  add_capabilities(std::move(msi));
  device_->connect(*this);
}

VirtioPci::~VirtioPci() = default;

void VirtioPci::add_capabilities(MsiSink msi) {
  const auto add = [this](Structure structure, u8 bytes, Area area, u32 length) {
    const unsigned at = add_capability(pci::capability_vendor, bytes);
    const ConfigRegister registers[] = {
        {.name = "cap_len", .offset = at + 2, .bytes = 1, .reset = bytes},
        {.name = "cfg_type", .offset = at + 3, .bytes = 1, .reset = static_cast<u32>(structure)},
        {.name = "offset", .offset = at + 8, .bytes = 4, .reset = static_cast<u32>(area * page)},
        {.name = "length", .offset = at + 12, .bytes = 4, .reset = length},
    };
    define(registers);
    return at;
  };
  msix_ = &add_msix(device_->queue_count() + 1, 0, msix_table * page, msix_pending * page, std::move(msi));

  window_capability_ = add(Structure::pci_window, 20, common, 0);
  const ConfigRegister window_registers[] = {
      {.name = "bar", .offset = window_capability_ + 4, .bytes = 1, .writable = 0xff},
      {.name = "offset", .offset = window_capability_ + 8, .bytes = 4, .writable = ~u32{0}},
      {.name = "length", .offset = window_capability_ + 12, .bytes = 4, .writable = ~u32{0}},
      {.name = "pci_cfg_data", .offset = window_capability_ + 16, .bytes = 4, .writable = ~u32{0}},
  };
  define(window_registers);

  const unsigned notify = add(Structure::notify, 20, notifications, notify_multiplier * device_->queue_count());
  define(std::array{
      ConfigRegister{.name = "notify_off_multiplier", .offset = notify + 16, .bytes = 4, .reset = notify_multiplier}});
  add(Structure::device, 16, device_config, page);
  add(Structure::isr, 16, isr, 1);
  add(Structure::common, 16, common, common_bytes);
}

// ---- the BAR ----

u64 VirtioPci::read(Access access) {
  const Access inside{access.offset % page, access.bytes};
  switch (access.offset / page) {
    case common: {
      u64 value = 0;
      for (unsigned i = 0; i < access.bytes;) {
        const Field* field = field_at(inside.offset + i);
        if (field == nullptr) break;
        const unsigned skip = static_cast<unsigned>(inside.offset + i - field->offset);
        value |= read_common(field->offset) >> (8 * skip) << (8 * i);
        i += field->bytes - skip;
      }
      return value & low_bits(8 * access.bytes);
    }
    case isr: return inside.offset == 0 ? read_isr() : 0;
    case device_config: return device_->read_config(inside);
    case msix_table: return msix_->read_table(inside);
    case msix_pending: return msix_->read_pending(inside);
    default: return 0;
  }
}

void VirtioPci::write(Access access, u64 value) {
  const Access inside{access.offset % page, access.bytes};
  switch (access.offset / page) {
    case common:
      if (access.bytes != 8) return write_common(inside, value);
      write_common({inside.offset, 4}, value & 0xffffffff);
      return write_common({inside.offset + 4, 4}, value >> 32);
    case device_config: return device_->write_config(inside, value);
    case notifications: return device_->notify(static_cast<unsigned>(inside.offset / notify_multiplier));
    case msix_table: return msix_->write_table(inside, value);
    default: return;
  }
}

u64 VirtioPci::read_common(u64 offset) {
  std::unique_lock lock(mutex_);
  const u32 device_select = device_feature_select_, driver_select = driver_feature_select_;
  const u16 queue = queue_select_;
  const u16 queue_vector = queue < queue_vectors_.size() ? queue_vectors_[queue] : no_vector;
  const u16 config_vector = config_vector_;
  lock.unlock();  // the device's lock comes before it
  const Field& field = *field_at(offset);
  switch (field.name) {
    case Field::device_feature_select: return device_select;
    case Field::device_feature: return device_->device_features(device_select);
    case Field::driver_feature_select: return driver_select;
    case Field::driver_feature: return device_->driver_features(driver_select);
    case Field::config_vector: return config_vector;
    case Field::num_queues: return device_->queue_count();
    case Field::device_status: return device_->status();
    case Field::config_generation: return device_->config_generation();
    case Field::queue_select: return queue;
    case Field::queue_size: return device_->queue_size(queue);
    case Field::queue_vector: return queue_vector;
    case Field::queue_enable: return device_->queue_enabled(queue) ? 1 : 0;
    case Field::queue_notify_off: return queue;
    case Field::queue_descriptors_low:
    case Field::queue_driver_low:
    case Field::queue_device_low: return device_->queue_address(queue, part_of(field.name)) & 0xffffffff;
    case Field::queue_descriptors_high:
    case Field::queue_driver_high:
    case Field::queue_device_high: return device_->queue_address(queue, part_of(field.name)) >> 32;
  }
  return 0;
}

// Fields are written whole (§4.1.3.1); anything else is ignored.
void VirtioPci::write_common(Access access, u64 value) {
  const Field* field = field_at(access.offset);
  if (field == nullptr || field->offset != access.offset || field->bytes != access.bytes) return;
  const auto vector = [&] { return value < msix_->vectors() ? static_cast<u16>(value) : no_vector; };
  std::unique_lock lock(mutex_);
  const u16 queue = queue_select_;
  const u32 driver_select = driver_feature_select_;
  switch (field->name) {
    case Field::device_feature_select: device_feature_select_ = static_cast<u32>(value); return;
    case Field::driver_feature_select: driver_feature_select_ = static_cast<u32>(value); return;
    case Field::queue_select: queue_select_ = static_cast<u16>(value); return;
    case Field::config_vector: config_vector_ = vector(); return;
    case Field::queue_vector:
      if (queue < queue_vectors_.size()) queue_vectors_[queue] = vector();
      return;
    default: break;
  }
  lock.unlock();
  switch (field->name) {
    case Field::driver_feature: return device_->set_driver_features(driver_select, static_cast<u32>(value));
    case Field::device_status:
      device_->set_status(static_cast<u8>(value));
      if (value == 0) forget_driver();
      return;
    case Field::queue_size: return device_->set_queue_size(queue, static_cast<u16>(value));
    case Field::queue_enable:
      if (value == 1) device_->enable_queue(queue);
      return;
    case Field::queue_descriptors_low:
    case Field::queue_driver_low:
    case Field::queue_device_low: {
      const auto part = part_of(field->name);
      return device_->set_queue_address(queue, part, (device_->queue_address(queue, part) & ~u64{0xffffffff}) | value);
    }
    case Field::queue_descriptors_high:
    case Field::queue_driver_high:
    case Field::queue_device_high: {
      const auto part = part_of(field->name);
      return device_->set_queue_address(queue, part, (device_->queue_address(queue, part) & 0xffffffff) | value << 32);
    }
    default: return;
  }
}

// After the device was told to reset: it interrupts no more.
void VirtioPci::forget_driver() {
  const std::lock_guard lock(mutex_);
  config_vector_ = no_vector;
  std::ranges::fill(queue_vectors_, no_vector);
  isr_ = 0;
  set_intx(false);
}

// ---- interrupts ----

// §4.1.4.5: reading clears, and lowers the pin.
u8 VirtioPci::read_isr() {
  const std::lock_guard lock(mutex_);
  const u8 value = isr_;
  isr_ = 0;
  set_intx(false);
  return value;
}

void VirtioPci::queue_interrupt(unsigned queue) {
  const std::lock_guard lock(mutex_);
  interrupt(queue_vectors_[queue], isr_queue);
}

void VirtioPci::config_interrupt() {
  const std::lock_guard lock(mutex_);
  interrupt(config_vector_, isr_config);
}

void VirtioPci::interrupt(u16 vector, u8 isr_bit) {
  if (msix_->enabled()) {
    if (vector != no_vector) msix_->notify(vector);
    return;
  }
  isr_ |= isr_bit;
  set_intx(true);
}

// ---- configuration space ----

// §4.1.4.9: a window to the BAR for firmware that cannot map it.
Access VirtioPci::window() {
  const u32 bar = config_get(window_capability_ + 4, 1);
  const u32 offset = config_get(window_capability_ + 8, 4);
  const u32 length = config_get(window_capability_ + 12, 4);
  const bool valid = bar == 0 && (length == 1 || length == 2 || length == 4) && offset % length == 0 &&
                     offset <= bar_bytes - length;
  return {offset, valid ? length : 0};
}

void VirtioPci::before_config_read(unsigned offset, unsigned bytes) {
  const unsigned data = window_capability_ + 16;
  if (offset + bytes <= data || offset >= data + 4) return;
  const Access access = window();
  if (access.bytes != 0) config_put(data, 4, static_cast<u32>(read(access)));
}

void VirtioPci::after_config_write(unsigned offset, unsigned bytes) {
  const unsigned data = window_capability_ + 16;
  if (offset < data + 4 && offset + bytes > data) {
    const Access access = window();
    if (access.bytes != 0) write(access, config_get(data, access.bytes));
  }
  if (offset < pci::command + 2 && offset + bytes > pci::command && bus_master()) device_->dma_turned_on();
}

// ---- life cycle ----

void VirtioPci::reset() {
  device_->reset();
  forget_driver();
  {
    const std::lock_guard lock(mutex_);
    device_feature_select_ = driver_feature_select_ = 0;
    queue_select_ = 0;
  }
  PciFunction::reset();
}

void VirtioPci::state(state::Archive& archive) {
  archive.begin("virtio-pci", 1);
  PciFunction::state(archive);
  {
    const std::lock_guard lock(mutex_);
    archive(device_feature_select_);
    archive(driver_feature_select_);
    archive(queue_select_);
    archive(config_vector_);
    for (auto& vector : queue_vectors_) archive(vector);
    archive(isr_);
    for (const u16 vector : queue_vectors_)
      archive.require(vector == no_vector || vector < msix_->vectors(), "queue vector");
    archive.require(config_vector_ == no_vector || config_vector_ < msix_->vectors(), "configuration vector");
  }
  device_->state(archive);
  archive.end();
}

}  // namespace doppel
