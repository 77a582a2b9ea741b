// A virtqueue alone: rings anywhere in memory that holds anything. What is popped lies in memory and within its limits.
#include "device/virtio/virtqueue.h"

#include "base/check.h"
#include "device/testing/byte_source.h"

using namespace doppel;
using doppel::testing::ByteSource;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  constexpr u64 ram_bytes = 0x8000;
  ByteSource in(data, size);
  Bus mmio(u64{1} << 40);
  auto memory = std::move(*PhysicalMemory::create(ram_bytes, mmio));
  CHECK(memory->map(0, 0, ram_bytes, PhysicalMemory::Kind::ram, "ram"));
  Dma dma(*memory);
  Virtqueue queue(dma, 64);
  queue.set_size(static_cast<u16>(in.next(2)));
  for (const auto part : {Virtqueue::Part::descriptors, Virtqueue::Part::driver, Virtqueue::Part::device})
    queue.set_address(part, in.next(2));
  const u8 features = static_cast<u8>(in.next(1));
  queue.enable({.indirect = (features & 1) != 0, .event_index = (features & 2) != 0});
  std::vector<Virtqueue::Chain> kept;
  while (!in.empty()) {
    switch (in.next(1) % 6) {
      case 0: {
        const auto offset = static_cast<GuestPhysical>(in.next(2));
        const u64 value = in.next(8);
        dma.write(offset, value);
        break;
      }
      case 1:
        if (auto chain = queue.pop()) {
          CHECK(chain->head < queue.size() && kept.size() < queue.size());
          u64 readable = 0;
          for (const auto& piece : chain->readable) {
            CHECK(piece.data() >= memory->ram() && piece.data() + piece.size() <= memory->ram() + ram_bytes);
            readable += piece.size();
          }
          CHECK(readable == chain->readable_bytes);
          for (const auto& piece : chain->writable) {
            CHECK(piece.data() >= memory->ram() && piece.data() + piece.size() <= memory->ram() + ram_bytes);
          }
          kept.push_back(std::move(*chain));
        }
        break;
      case 2:
        if (!kept.empty()) {
          const u8 byte = 0x5a;
          kept.back().write(in.next(2), &byte, 1);
          queue.push(kept.back(), kept.back().writable_bytes);
          kept.pop_back();
        }
        break;
      case 3: queue.should_interrupt(); break;
      case 4: queue.enable_notifications(); break;
      case 5: queue.disable_notifications(); break;
    }
  }
  return 0;
}
