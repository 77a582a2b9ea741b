// Any sequence of accesses and of DMA requests: no crash, and nothing is written outside of RAM.
#include "device/firmware/fw_cfg.h"
#include "device/testing/byte_source.h"

using namespace doppel;

extern "C" int LLVMFuzzerTestOneInput(const u8* data, std::size_t size) {
  static Bus mmio(u64{1} << 40);
  static auto memory = [] {
    auto created = std::move(*PhysicalMemory::create(16 * page_size, mmio));
    (void)created->map(0, 0, 16 * page_size, PhysicalMemory::Kind::ram, "ram");
    return created;
  }();
  Dma dma(*memory);
  FwCfg device(dma);
  (void)device.add_file("etc/a", {1, 2, 3});
  (void)device.add_file("etc/b", std::vector<u8>(5000, 7));
  testing::ByteSource in(data, size);
  while (!in.empty()) {
    const u8 what = static_cast<u8>(in.next(1));
    const unsigned bytes = 1u << (what >> 1 & 3);
    const u64 offset = in.next(1) % FwCfg::size;
    if (offset + bytes > FwCfg::size) continue;
    switch (what & 0x81) {
      case 0: device.read({offset, bytes}); break;
      case 1: device.write({offset, bytes}, in.next(bytes)); break;
      default: {  // plants a descriptor and starts it
        std::array<u8, 16> descriptor{};
        for (u8& byte : descriptor) byte = static_cast<u8>(in.next(1));
        dma.write(0x100, descriptor);
        device.write({8, 4}, 0x0001'0000);
      }
    }
  }
  return 0;
}
