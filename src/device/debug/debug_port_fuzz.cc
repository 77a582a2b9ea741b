// The debug console and the exit port.
#include "device/debug/debug_port.h"

#include "device/testing/device_fuzz.h"

namespace doppel {
namespace {

struct Rig : testing::FuzzRig {
  Rig() {
    devices = {&console, &exit};
    map(1, console);
    map(4, exit);
  }
  void host_event(testing::ByteSource&) override { console.flush(); }
  DebugConsole console{
      [](std::span<const u8> line) { CHECK(!line.empty() && line.size() <= DebugConsole::longest_line); }};
  DebugExit exit{[](u32) {}};
};

}  // namespace
}  // namespace doppel

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  doppel::testing::fuzz_device<doppel::Rig>(data, size);
  return 0;
}
