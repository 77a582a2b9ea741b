// A hostile driver against the entropy device.
#include "device/testing/virtio_fuzz.h"
#include "device/virtio/entropy.h"

using namespace doppel;
using namespace doppel::testing;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  ByteSource in(data, size);
  SeededEntropy source(1);
  VirtioMachine machine((in.next(1) & 1) != 0);
  machine.plug([&](VirtioMachine& m) { return std::make_unique<VirtioEntropy>("rng", m.dma(), m.policy(), source); });
  fuzz_virtio(machine, in, [](ByteSource&) {});
  return 0;
}
