// A hostile driver against the network device, while frames arrive.
#include "device/testing/virtio_fuzz.h"
#include "device/virtio/net.h"
#include "network/checksum.h"

using namespace doppel;
using namespace doppel::testing;

namespace {

struct FuzzPort final : network::Port {
  bool link_up() const override { return up; }
  network::Offloads takes() const override { return {.checksum = true, .tso4 = true, .tso6 = true, .ecn = true}; }
  network::Offloads gives() const override { return takes(); }
  void send(const network::PacketHeader& header, std::span<const u8> frame) override {
    CHECK(frame.size() >= 14 && frame.size() <= network::max_frame_bytes);
    CHECK(network::checksum_fits(header, frame.size()));
    std::vector<u8> copy(frame.begin(), frame.end());
    network::complete_checksum(header, copy);
  }
  void set_receiver(Receiver* r) override { receiver = r; }
  void ready() override {}
  bool up = true;
  Receiver* receiver = nullptr;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  ByteSource in(data, size);
  FuzzPort port;
  VirtioMachine machine((in.next(1) & 1) != 0);
  const unsigned pairs = 1 + static_cast<unsigned>(in.next(1) % 4);
  machine.plug([&](VirtioMachine& m) {
    return std::make_unique<VirtioNet>("net", m.dma(), m.policy(), port, VirtioNet::MacAddress{2}, pairs);
  });
  fuzz_virtio(machine, in, [&](ByteSource& bytes) {
    std::vector<u8> frame(bytes.next(2));
    for (std::size_t i = 0; i < frame.size() && i < 64; ++i) frame[i] = static_cast<u8>(bytes.next(1));
    network::PacketHeader header;
    header.flags = static_cast<u8>(bytes.next(1));
    header.gso_type = static_cast<u8>(bytes.next(1));
    header.csum_start = static_cast<u16>(bytes.next(2));
    port.receiver->receive(header, frame);
    if ((header.csum_start & 1) != 0) port.receiver->end_of_batch();
    port.up = (bytes.next(1) & 1) != 0;
    static_cast<VirtioNet&>(machine.device()).link_changed();
  });
  return 0;
}
