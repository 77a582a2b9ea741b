// A hostile driver against the SCSI host device: rings and registers of any shape, and whole requests whose commands are the
// fuzzer's, to a disk and a CD-ROM drive whose requests end late, or fail.
#include "device/testing/memory_image.h"
#include "device/testing/virtio_fuzz.h"
#include "device/virtio/scsi.h"

using namespace doppel;
using namespace doppel::testing;

namespace {

constexpr u64 header = 0x20000, data = 0x22000, answer = 0x30000;

// A request, or a control request, with well-formed buffers around what the fuzzer chose.
void send_request(VirtioMachine& machine, ByteSource& in) {
  VirtioDriver driver(machine);
  if (!driver.start(driver.offered())) return;  // such as while a reset waits for requests
  for (unsigned count = 1 + static_cast<unsigned>(in.next(1) % 4), i = 0; i < count; ++i) {
    const u8 how = static_cast<u8>(in.next(1));
    const unsigned queue = how & 3;
    std::vector<u8> bytes(51);
    bytes[0] = 1, bytes[1] = how >> 2 & 3;
    for (std::size_t at = queue == 0 ? 0 : 19; at < 35; ++at) bytes[at] = static_cast<u8>(in.next(1));
    const u64 from = header + 64 * i;
    machine.dma().write(from, bytes.data(), bytes.size());
    for (u64 at = 0; at < 48; at += 8) machine.dma().write(data + at, in.next(8));
    std::vector<VirtioDriver::Buffer> buffers{{from, 51}};
    if ((how & 0x10) != 0) buffers.push_back({data, static_cast<u32>(1 + in.next(2))});
    buffers.push_back({answer, 108, true});
    if ((how & 0x20) != 0) buffers.push_back({data, static_cast<u32>(1 + in.next(2)), true});
    driver.add(queue, static_cast<u16>(4 * i), buffers);
    driver.kick(queue);
  }
  machine.settle();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  ByteSource in(bytes, size);
  VirtioMachine machine((in.next(1) & 1) != 0);
  std::vector<MemoryImage*> images;
  machine.plug([&](VirtioMachine& m) {
    std::vector<std::unique_ptr<scsi::LogicalUnit>> units;
    for (const auto kind : {scsi::LogicalUnit::Kind::disk, scsi::LogicalUnit::Kind::cdrom}) {
      auto image = std::make_unique<MemoryImage>(64 * KiB, (in.next(1) & 7) == 0);
      images.push_back(image.get());
      units.push_back(std::make_unique<scsi::LogicalUnit>(kind, std::move(image), "fuzz"));
    }
    return std::make_unique<VirtioScsi>("scsi", m.dma(), m.policy(), std::move(units), VirtioScsi::Options{.queues = 2});
  });
  const auto extra = [&](ByteSource& more) {
    MemoryImage* image = images[more.next(1) & 1];
    image->fail_with = (more.next(1) & 3) == 0 ? EIO : 0;
    image->complete(more.next(1) % 8);
    image->log.clear();
    switch (more.next(1) % 8) {
      case 0: machine.function->reset(), machine.power_up(); break;
      case 1:
      case 2: send_request(machine, more); break;
      default: break;
    }
  };
  while ((in.next(1) & 1) != 0) send_request(machine, in);
  fuzz_virtio(machine, in, extra);
  return 0;
}
