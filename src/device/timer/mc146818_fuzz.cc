// The RTC.
#include "device/timer/mc146818.h"

#include "device/testing/device_fuzz.h"

namespace doppel {
namespace {

struct Rig : testing::FuzzRig {
  Rig() {
    devices = {&rtc};
    map(Mc146818::port_count, rtc);
  }
  Mc146818 rtc{clock, IrqLine([](bool) {}), 1'700'000'000};
};

}  // namespace
}  // namespace doppel

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  doppel::testing::fuzz_device<doppel::Rig>(data, size);
  return 0;
}
