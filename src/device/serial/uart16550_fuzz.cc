// The 16550A between a guest and a terminal that stalls.
#include "device/serial/uart16550.h"

#include "device/testing/device_fuzz.h"

#include <algorithm>

namespace doppel {
namespace {

struct Rig : testing::FuzzRig {
  Rig() {
    uart.connect([this](std::span<const u8> bytes) { return std::min(bytes.size(), terminal_room); }, [] {});
    devices = {&uart};
    map(Uart16550::port_count, uart);
  }
  void host_event(testing::ByteSource& in) override {
    const u64 what = in.next(1);
    terminal_room = what * what;
    const std::vector<u8> typed(what, static_cast<u8>(what));
    const std::size_t room = uart.can_receive();
    if (what < 100) CHECK(uart.receive(typed) == std::min(typed.size(), room));
    if (what == 100) uart.receive_break();
    if (what > 200) uart.flush();
  }
  std::size_t terminal_room = 1;
  Uart16550 uart{"serial0", clock, IrqLine([](bool) {})};
};

}  // namespace
}  // namespace doppel

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  doppel::testing::fuzz_device<doppel::Rig>(data, size);
  return 0;
}
