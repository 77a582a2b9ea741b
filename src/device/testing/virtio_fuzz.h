// Turns a fuzzer's bytes into what a hostile driver does: registers in any order, rings and buffers of any shape.
#pragma once

#include <functional>

#include "device/testing/byte_source.h"
#include "device/testing/virtio_driver.h"

namespace doppel::testing {

// `extra` is called now and then, for what else can happen to the device.
inline void fuzz_virtio(VirtioMachine& machine, ByteSource& in, const std::function<void(ByteSource&)>& extra) {
  VirtioDriver driver(machine);
  const auto queues = static_cast<u32>(driver.read(0x12, 2));
  driver.set_up_queue(queues - 1, 16);  // so that every ring has a size
  // Places worth pointing at: rings, buffers, the ends of memory and nothing at all.
  const auto address = [&]() -> u64 {
    constexpr std::array<u64, 8> bases = {0x1000,        0x2000, 0x4000, 0x20000, 0xefff0, 0xfffe0, VirtioMachine::bar,
                                          ~u64{0} - 0x40};
    return bases[in.next(1) % bases.size()] + in.next(1);
  };
  const auto queue = [&] { return static_cast<unsigned>(in.next(1) % queues); };
  const auto start = [&] {
    const u8 how = static_cast<u8>(in.next(1));
    const u64 features = how & 1 ? driver.offered() : (driver.offered() & in.next(4)) | virtio::feature_version_1;
    driver.start(features, static_cast<u16>(1u << (how >> 4 & 7)), (how & 2) != 0);
  };
  const auto add_chain = [&] {
    std::vector<VirtioDriver::Buffer> buffers(1 + in.next(1) % 6);
    for (auto& buffer : buffers) buffer = {address(), static_cast<u32>(in.next(2)), (in.next(1) & 1) != 0};
    buffers[0].bytes = 16;
    const u8 how = static_cast<u8>(in.next(1));
    driver.add(queue(), how >> 4, buffers, (how & 1) != 0);
  };
  start();
  for (unsigned steps = 0; !in.empty() && steps < 500; ++steps) {
    switch (in.next(1) % 12) {
      case 0: driver.write(in.next(2), 1u << in.next(1) % 4, in.next(8)); break;
      case 1: driver.read(in.next(2), 1u << in.next(1) % 4); break;
      case 2: driver.write(in.next(1) % 0x40, 1u << in.next(1) % 4, in.next(2)); break;
      case 3:
        machine.pci.config_write(0, VirtioMachine::slot, 0, static_cast<unsigned>(in.next(1)), 1u << in.next(1) % 3,
                                 static_cast<u32>(in.next(4)));
        break;
      case 4:
        machine.pci.config_read(0, VirtioMachine::slot, 0, static_cast<unsigned>(in.next(1)), 1u << in.next(1) % 3);
        break;
      case 5: start(); break;
      case 6: add_chain(); break;
      case 7: driver.kick(queue()); break;
      case 8: {
        const u64 value = in.next(8);
        machine.dma().write(address(), value);
        break;
      }
      case 9:
        driver.put(queue(), static_cast<u16>(in.next(1) % 16),
                   {address(), static_cast<u32>(in.next(3)), static_cast<u16>(in.next(1) % 8),
                    static_cast<u16>(in.next(1) % 20)});
        break;
      case 10: machine.settle(); break;
      case 11: extra(in); break;
    }
  }
  machine.settle();
  machine.function->pause();
  auto archive = state::Archive::for_saving();
  machine.function->state(archive);
  CHECK(archive.ok());
}

}  // namespace doppel::testing
