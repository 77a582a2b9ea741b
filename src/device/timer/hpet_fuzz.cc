// The HPET, with what drives its legacy inputs.
#include "device/timer/hpet.h"

#include "device/testing/device_fuzz.h"

namespace doppel {
namespace {

struct Rig : testing::FuzzRig {
  Rig() {
    devices = {&hpet};
    map(Hpet::region_bytes, hpet);
  }
  static Hpet::Wires wires() {
    const IrqLine line([](bool) {});
    Hpet::Wires result{.irq0 = line, .irq8 = line, .routable = 0xffff'0004, .msi = [](MsiMessage) {}};
    result.ioapic.fill(line);
    return result;
  }
  void host_event(testing::ByteSource& in) override {
    const u64 what = in.next(1);
    ((what & 2) != 0 ? hpet.pit_input() : hpet.rtc_input()).set((what & 1) != 0);
  }
  Hpet hpet{clock, wires()};
};

}  // namespace
}  // namespace doppel

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  doppel::testing::fuzz_device<doppel::Rig>(data, size);
  return 0;
}
