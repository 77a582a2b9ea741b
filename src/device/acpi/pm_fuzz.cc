// The ACPI power management block.
#include "device/acpi/pm.h"

#include "device/testing/device_fuzz.h"

namespace doppel {
namespace {

struct Rig : testing::FuzzRig {
  Rig() {
    devices = {&pm};
    map(AcpiPm::block_bytes, pm);
    map(2, pm.apm_ports());
  }
  void host_event(testing::ByteSource& in) override {
    const u64 what = in.next(1);
    if (what == 0) {
      pm.press_power_button();
    } else {
      pm.raise_gpe(static_cast<unsigned>(what));
    }
  }
  AcpiPm pm{clock, IrqLine([](bool) {}), AcpiPm::TimerWidth::bits24, [] {}};
};

}  // namespace
}  // namespace doppel

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  doppel::testing::fuzz_device<doppel::Rig>(data, size);
  return 0;
}
