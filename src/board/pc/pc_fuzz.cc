// A hostile guest without processors: any accesses to ports, memory-mapped registers, APICs and MSRs of a whole PC, with DMA to
// wherever it says and time going on; then its state is saved and must load again.
#include "board/pc/layout.h"
#include "board/pc/testing/bare_pc.h"
#include "device/testing/byte_source.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace doppel;
  testing::BarePc pc({.cpus = 2, .debug_exit = true});
  testing::ByteSource in(data, size);
  LocalInterrupts& cpu = pc.board->local_interrupts(0);
  const auto mmio_regions = pc.mmio.regions();
  for (unsigned step = 0; !in.empty() && step < 2000; ++step) {
    const unsigned bytes = 1u << in.next(1) % 4;
    switch (in.next(1) % 8) {
      case 0: pc.in(in.next(2), std::min(bytes, 4u)); break;
      case 1: pc.out(in.next(2), in.next(4), std::min(bytes, 4u)); break;
      case 2: {
        const auto& region = mmio_regions[in.next(1) % mmio_regions.size()];
        pc.mmio.read(region.base + in.next(2) % region.size, bytes);
        break;
      }
      case 3: {
        const auto& region = mmio_regions[in.next(1) % mmio_regions.size()];
        pc.mmio.write(region.base + in.next(2) % region.size, bytes, in.next(bytes));
        break;
      }
      case 4: cpu.write_apic(static_cast<u32>(in.next(2) & 0xffc), static_cast<u32>(in.next(4))); break;
      case 5: {
        const u32 msr = 0x800 + static_cast<u32>(in.next(1) & 0x3f);
        cpu.write_msr(msr, in.next(8));
        cpu.read_msr(msr);
        break;
      }
      case 6:
        cpu.acknowledge();
        pc.out(0xcf8, 0x8000'0000 | in.next(2), 4);
        pc.out(0xcfc, in.next(4), 4);
        break;
      case 7: pc.clock.advance(in.next(3)); break;
    }
    pc.log.clear();
  }
  const auto state = pc.save();
  testing::BarePc copy({.cpus = 2, .debug_exit = true});
  if (!copy.load(state)) __builtin_trap();
  return 0;
}
