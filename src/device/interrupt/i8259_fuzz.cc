// Any sequence of port accesses, line changes and acknowledgements; what is saved must load and show the same output.
#include "device/interrupt/i8259.h"

#include "base/check.h"
#include "device/testing/byte_source.h"

using namespace doppel;

namespace {

struct Fixture {
  bool intr = false;
  I8259 pic{IrqLine([this](bool level) { intr = level; })};
};

void reload_and_compare(Fixture& original) {
  auto saved = state::Archive::for_saving();
  original.pic.state(saved);
  auto archive = state::Archive::for_loading(saved.take());
  Fixture copy;
  copy.pic.state(archive);
  CHECK(archive.ok());
  CHECK(copy.intr == original.intr);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const u8* data, std::size_t size) {
  testing::ByteSource in(data, size);
  Fixture fixture;
  fixture.pic.reset();
  IoHandler* const blocks[] = {&fixture.pic.master_ports(), &fixture.pic.slave_ports(), &fixture.pic.elcr_ports()};
  while (!in.empty()) {
    const u8 action = static_cast<u8>(in.next(1));
    IoHandler& block = *blocks[(action >> 4) % 3];
    const Access access{.offset = action >> 3 & 1u, .bytes = action & 0x80 && !(action & 8) ? 2u : 1u};
    switch (action & 7) {
      case 0: block.read(access); break;
      case 1: fixture.pic.set_irq(action >> 4, action & 8); break;
      case 2: fixture.pic.acknowledge(); break;
      case 3: reload_and_compare(fixture); break;
      default: block.write(access, in.next(access.bytes)); break;
    }
  }
  return 0;
}
