// A hostile driver against the network device, while frames arrive.
#include "device/testing/virtio_fuzz.h"
#include "device/virtio/net.h"

using namespace doppel;
using namespace doppel::testing;

namespace {

struct FuzzPort final : network::Port {
  bool link_up() const override { return up; }
  void send(std::span<const u8> frame) override {
    CHECK(frame.size() >= 14 && frame.size() <= network::max_frame_bytes);
  }
  void set_receiver(Receiver r) override { receiver = std::move(r); }
  void ready() override {}
  bool up = true;
  Receiver receiver;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  ByteSource in(data, size);
  FuzzPort port;
  VirtioMachine machine((in.next(1) & 1) != 0);
  machine.plug([&](VirtioMachine& m) {
    return std::make_unique<VirtioNet>("net", m.dma(), m.policy(), port, VirtioNet::MacAddress{2});
  });
  fuzz_virtio(machine, in, [&](ByteSource& bytes) {
    const std::vector<u8> frame(bytes.next(2));
    port.receiver(frame);
    port.up = (bytes.next(1) & 1) != 0;
    static_cast<VirtioNet&>(machine.device()).link_changed();
  });
  return 0;
}
