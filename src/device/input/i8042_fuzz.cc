// The keyboard controller with its keyboard and mouse.
#include "device/input/i8042.h"

#include "device/testing/device_fuzz.h"

namespace doppel {
namespace {

struct Rig : testing::FuzzRig {
  Rig() {
    devices = {&i8042};
    map(1, i8042.data_port());
    map(1, i8042.command_port());
  }
  void host_event(testing::ByteSource& in) override {
    const std::vector<u8> codes(in.next(1) % 20, static_cast<u8>(in.next(1)));
    i8042.type(codes);
  }
  I8042 i8042{IrqLine([](bool) {}), IrqLine([](bool) {}), [] {}};
};

}  // namespace
}  // namespace doppel

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  doppel::testing::fuzz_device<doppel::Rig>(data, size);
  return 0;
}
