// A hostile driver against the console, with a sink that takes some, all or nothing.
#include "device/testing/virtio_fuzz.h"
#include "device/virtio/console.h"

using namespace doppel;
using namespace doppel::testing;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  ByteSource in(data, size);
  VirtioMachine machine((in.next(1) & 1) != 0);
  VirtioConsole* console = nullptr;
  machine.plug([&](VirtioMachine& m) {
    auto made = std::make_unique<VirtioConsole>("console", m.dma(), m.policy(), true);
    console = made.get();
    return made;
  });
  std::size_t room = 100;
  console->connect(
      [&](std::span<const u8> bytes) {
        const std::size_t taken = std::min(bytes.size(), room);
        room -= taken;
        return taken;
      },
      [] {});
  fuzz_virtio(machine, in, [&](ByteSource& bytes) {
    room = bytes.next(2);
    console->flush();
    std::vector<u8> typed(bytes.next(1) * 16);
    CHECK(console->receive(typed) <= typed.size());
    CHECK(console->can_receive() <= VirtioConsole::input_limit);
    console->resize(static_cast<u16>(bytes.next(1)), 25);
  });
  return 0;
}
