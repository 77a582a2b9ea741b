// A hostile driver against the block device, with an image whose requests end late, fail, or end in a reset.
#include "device/testing/memory_image.h"
#include "device/testing/virtio_fuzz.h"
#include "device/virtio/block.h"

using namespace doppel;
using namespace doppel::testing;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  ByteSource in(data, size);
  VirtioMachine machine((in.next(1) & 1) != 0);
  MemoryImage* image = nullptr;
  machine.plug([&](VirtioMachine& m) {
    auto made = std::make_unique<MemoryImage>(64 * KiB, (in.next(1) & 7) == 0);
    image = made.get();
    return std::make_unique<VirtioBlock>("disk", m.dma(), m.policy(), std::move(made),
                                         VirtioBlock::Options{.serial = "fuzz", .queues = 2});
  });
  fuzz_virtio(machine, in, [&](ByteSource& bytes) {
    image->fail_with = (bytes.next(1) & 3) == 0 ? EIO : 0;
    image->complete(bytes.next(1) % 8);
    image->log.clear();
    if (bytes.next(1) == 0) machine.function->reset(), machine.power_up();
  });
  return 0;
}
