// The 8254 and the ports 0x61 and 0x92.
#include "device/timer/i8254.h"

#include "device/testing/device_fuzz.h"
#include "device/timer/system_control.h"

namespace doppel {
namespace {

struct Rig : testing::FuzzRig {
  Rig() {
    devices = {&pit, &system};
    map(I8254::port_count, pit);
    map(1, system.port_61());
    map(1, system.port_92());
  }
  I8254 pit{clock, IrqLine([](bool) {})};
  SystemControl system{clock, pit, [] {}};
};

}  // namespace
}  // namespace doppel

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  doppel::testing::fuzz_device<doppel::Rig>(data, size);
  return 0;
}
