// A machine around one virtio device on PCI, and a small driver for it: for tests and fuzz targets of virtio devices.
#pragma once

#include <fmt/format.h>

#include <cstring>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/check.h"
#include "base/event_loop.h"
#include "base/units.h"
#include "device/pci/assign.h"
#include "device/testing/fake_clock.h"
#include "device/virtio/virtio_pci.h"

namespace doppel::testing {

// 1 MiB of RAM at 0, read-only memory at 0xf0000 in it, and the device at slot 3 with its BAR at 0x1000'0000.
struct VirtioMachine {
  static constexpr u64 ram_bytes = 1 * MiB, rom_base = 0xf0000, bar = 0x1000'0000;
  static constexpr unsigned slot = 3;
  static constexpr Nanoseconds delay = 1000;
  using Make = std::function<std::unique_ptr<VirtioDevice>(VirtioMachine&)>;

  explicit VirtioMachine(bool deterministic = false) : synchronous(deterministic) {
    CHECK(memory->map(0, 0, rom_base, PhysicalMemory::Kind::ram, "ram"));
    CHECK(memory->map(rom_base, rom_base, ram_bytes - rom_base, PhysicalMemory::Kind::rom, "rom"));
  }

  void plug(const Make& make) {
    function = std::make_unique<VirtioPci>(make(*this), [this](MsiMessage message) {
      if (on_message) return on_message();
      log += fmt::format("msi{:x} ", message.data);
    });
    CHECK(pci.attach(slot, 0, *function));
    pci.connect(PciBus::pirq_of(slot, 1), IrqLine([this](bool level) {
                  if (std::exchange(intx, level) != level) log += level ? "intx+ " : "intx- ";
                }));
    function->reset();
    power_up();
  }
  void power_up() {
    CHECK(assign_pci_resources(pci, {.io_base = 0xc000, .io_end = 0xd000, .memory_base = bar, .memory_end = bar + MiB},
                               {10, 10, 11, 11}));
  }
  VirtioDevice& device() { return function->device(); }
  Dma dma() { return Dma(*memory); }
  CompletionPolicy policy() {
    return synchronous ? CompletionPolicy::fixed_delay(clock, delay) : CompletionPolicy::immediate(*loop);
  }

  // Lets the device work until nothing more happens at once.
  void settle(int rounds = 4) {
    if (synchronous) return clock.advance(delay);
    for (int i = 0; i < rounds; ++i) loop->run_once(0);
  }
  std::string take_log() { return std::exchange(log, {}); }

  const bool synchronous;
  std::string log;
  std::function<void()> on_message{};  // instead of the log
  bool intx = false;
  FakeClock clock;
  std::unique_ptr<EventLoop> loop = std::move(*EventLoop::create());
  Bus ports{0x10000};
  Bus mmio{u64{1} << 40};
  std::unique_ptr<PhysicalMemory> memory = std::move(*PhysicalMemory::create(ram_bytes, mmio));
  PciBus pci{ports, mmio};
  std::unique_ptr<VirtioPci> function;
};

// Rings of queue q live at 0x1000 + q * 0x4000: descriptors, +0x1000 driver area, +0x2000 device area, +0x3000 indirect table.
class VirtioDriver {
 public:
  static constexpr u16 flag_next = 1, flag_write = 2, flag_indirect = 4;
  static constexpr u64 default_features = virtio::feature_version_1 | virtio::feature_indirect |
                                          virtio::feature_event_index;
  struct Buffer {
    u64 address;
    u32 bytes;
    bool writable = false;
  };
  struct Descriptor {
    u64 address;
    u32 length;
    u16 flags;
    u16 next;
  };

  explicit VirtioDriver(VirtioMachine& m) : machine(m) {}

  u64 read(u64 offset, unsigned bytes) { return machine.mmio.read(VirtioMachine::bar + offset, bytes); }
  void write(u64 offset, unsigned bytes, u64 value) { machine.mmio.write(VirtioMachine::bar + offset, bytes, value); }
  u8 status() { return static_cast<u8>(read(0x14, 1)); }
  void set_status(u8 value) { write(0x14, 1, value); }
  u64 offered() {
    write(0, 4, 0);
    const u64 low = read(4, 4);
    write(0, 4, 1);
    return low | read(4, 4) << 32;
  }
  void accept(u64 features) {
    for (unsigned half = 0; half < 2; ++half) {
      write(8, 4, half);
      write(12, 4, features >> (32 * half) & 0xffffffff);
    }
  }

  static u64 ring(unsigned queue, u64 part) { return 0x1000 + queue * 0x4000 + part * 0x1000; }
  void set_up_queue(unsigned queue, u16 size, u16 vector = VirtioPci::no_vector) {
    write(0x16, 2, queue);
    write(0x18, 2, size);
    write(0x1a, 2, vector);
    for (unsigned part = 0; part < 3; ++part) {
      const std::vector<u8> zero(0x1000);
      machine.dma().write(ring(queue, part), zero.data(), zero.size());
      write(0x20 + 8 * part, 4, ring(queue, part));
      write(0x24 + 8 * part, 4, 0);
    }
    write(0x1c, 2, 1);
    sizes.resize(std::max<std::size_t>(sizes.size(), queue + 1));
    available.resize(sizes.size());
    seen.resize(sizes.size());
    sizes[queue] = size;
    available[queue] = seen[queue] = 0;
  }

  // The whole dance (§3.1.1) with all queues at `size`; MSI-X with vector q for queue q if asked. True if the device is live.
  bool start(u64 features, u16 size = 16, bool msix = false) {
    set_status(0);
    set_status(virtio::status_acknowledge);
    set_status(virtio::status_acknowledge | virtio::status_driver);
    accept(features);
    u8 agreed = virtio::status_acknowledge | virtio::status_driver | virtio::status_features_ok;
    set_status(agreed);
    if ((status() & virtio::status_features_ok) == 0) return false;
    if (msix) enable_msix();
    const u64 found = read(0x12, 2);
    const unsigned queues = found == 0xffff ? 0 : static_cast<unsigned>(found);  // all ones: its BAR is off
    for (unsigned q = 0; q < queues; ++q) set_up_queue(q, size, msix ? static_cast<u16>(q) : VirtioPci::no_vector);
    if (msix) write(0x10, 2, queues);
    event_index = (features & virtio::feature_event_index) != 0;
    set_status(agreed | virtio::status_driver_ok);
    return (status() & (virtio::status_driver_ok | virtio::status_needs_reset)) == virtio::status_driver_ok;
  }
  void enable_msix() {
    const unsigned capability = find_capability(pci::capability_msix);
    machine.pci.config_write(0, VirtioMachine::slot, 0, capability + 2, 2, 0x8000);
    for (unsigned vector = 0; vector <= read(0x12, 2) % 0xffff; ++vector) {
      write(0x4000 + 16 * vector, 4, 0xfee00000);
      write(0x4000 + 16 * vector + 8, 4, 0x40 + vector);
      write(0x4000 + 16 * vector + 12, 4, 0);
    }
  }
  unsigned find_capability(u8 id) {
    unsigned at = machine.pci.config_read(0, VirtioMachine::slot, 0, pci::capabilities_pointer, 1);
    while (at != 0 && machine.pci.config_read(0, VirtioMachine::slot, 0, at, 1) != id)
      at = machine.pci.config_read(0, VirtioMachine::slot, 0, at + 1, 1);
    return at;
  }

  void put(unsigned queue, u16 index, const Descriptor& descriptor) {
    machine.dma().write(ring(queue, 0) + 16 * index, descriptor);
  }
  // Makes the chain that starts at `head` available.
  void offer(unsigned queue, u16 head) {
    machine.dma().write(ring(queue, 1) + 4 + 2u * (available[queue] % sizes[queue]), head);
    machine.dma().write(ring(queue, 1) + 2, ++available[queue]);
    if (event_index)
      machine.dma().write(ring(queue, 1) + 4 + 2u * sizes[queue],
                          static_cast<u16>(available[queue] - 1));  // interrupt for the last
  }
  // Writes a chain of direct descriptors from `head` on (or one indirect) and makes it available.
  void add(unsigned queue, u16 head, const std::vector<Buffer>& buffers, bool indirect = false) {
    for (std::size_t i = 0; i < buffers.size(); ++i) {
      const bool last = i + 1 == buffers.size();
      const u16 index = static_cast<u16>(indirect ? i : head + i);
      const Descriptor descriptor{buffers[i].address, buffers[i].bytes,
                                  static_cast<u16>((last ? 0 : flag_next) | (buffers[i].writable ? flag_write : 0)),
                                  static_cast<u16>(index + 1)};
      machine.dma().write((indirect ? ring(queue, 3) : ring(queue, 0)) + 16u * index, descriptor);
    }
    if (indirect) put(queue, head, {ring(queue, 3), static_cast<u32>(16 * buffers.size()), flag_indirect, 0});
    offer(queue, head);
  }
  void kick(unsigned queue) { write(0x3000 + 4 * queue, 2, queue); }
  // The next used chain: "head:length".
  std::optional<std::pair<u32, u32>> used(unsigned queue) {
    u16 index = 0;
    machine.dma().read(ring(queue, 2) + 2, index);
    if (index == seen[queue]) return std::nullopt;
    std::pair<u32, u32> entry;
    machine.dma().read(ring(queue, 2) + 4 + 8u * (seen[queue]++ % sizes[queue]), &entry.first, 4);
    machine.dma().read(ring(queue, 2) + 8 + 8u * ((seen[queue] - 1u) % sizes[queue]), &entry.second, 4);
    return entry;
  }
  std::string all_used(unsigned queue) {
    std::string result;
    while (const auto entry = used(queue)) result += fmt::format("{}:{} ", entry->first, entry->second);
    return result;
  }

  VirtioMachine& machine;
  bool event_index = false;
  std::vector<u16> sizes, available, seen;
};

}  // namespace doppel::testing
