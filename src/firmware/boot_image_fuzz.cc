// Any bytes as a kernel: parsed and loaded into 64 MiB without a crash. Afterwards the entry point lies in RAM.
#include "base/units.h"
#include "firmware/boot.h"
#include "firmware/testing/images.h"

using namespace doppel;

extern "C" int LLVMFuzzerTestOneInput(const u8* data, std::size_t size) {
  static Bus mmio(u64{1} << 40);
  static auto memory = [] {
    auto created = std::move(*PhysicalMemory::create(64 * MiB, mmio));
    (void)created->map(0, 0, 64 * MiB, PhysicalMemory::Kind::ram, "ram");
    return created;
  }();
  static const firmware::MemoryMapEntry map[] = {{0, 0x9fc00, firmware::MemoryType::ram},
                                                 {0xf0000, 0x10000, firmware::MemoryType::reserved},
                                                 {MiB, 63 * MiB, firmware::MemoryType::ram}};
  Dma dma(*memory);
  const firmware::BootEnvironment environment{firmware::testing::layout, map, 0xe0000};
  const auto state = firmware::load_boot_image(dma, {"kernel", {data, size}}, {"initrd", {data, size / 2}},
                                               "console=ttyS0", environment);
  if (state ? state->rip < MiB || state->rip >= 64 * MiB : state.error().message.empty()) __builtin_trap();
  return 0;
}
