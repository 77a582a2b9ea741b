// Any sequence of accesses, line changes and ends of interrupts. No message may leave a masked input, remote IRR holds a level
// back, and what is saved must load and save the same again.
#include "device/interrupt/io_apic.h"

#include "base/check.h"
#include "device/testing/byte_source.h"

using namespace doppel;

namespace {

struct CountingBus final : InterruptBus {
  bool accepts = true;
  unsigned messages = 0;

  bool deliver(const InterruptMessage& message) override {
    CHECK(message.mode != DeliveryMode::reserved && message.mode != DeliveryMode::startup);
    ++messages;
    return accepts;
  }
  void end_of_interrupt(u8) override {}
};

std::vector<u8> save(IoApic& apic) {
  auto archive = state::Archive::for_saving();
  apic.state(archive);
  return archive.take();
}

u32 low_entry(IoApic& apic, unsigned input) {
  const u64 selected = apic.read({.offset = 0, .bytes = 1});
  apic.write({.offset = 0, .bytes = 1}, 0x10 + 2 * input);
  const u32 value = static_cast<u32>(apic.read({.offset = 0x10, .bytes = 4}));
  apic.write({.offset = 0, .bytes = 1}, selected);
  return value;
}

void toggle_input(IoApic& apic, CountingBus& bus, unsigned input, bool level) {
  const u32 before = low_entry(apic, input);
  const unsigned messages = bus.messages;
  apic.set_input(input, level);
  if (before & 0x1'4000 || !level) CHECK(bus.messages == messages);  // masked, in service, or let go
  CHECK(bus.messages <= messages + 1);
}

void reload_and_compare(IoApic& apic) {
  const std::vector<u8> saved = save(apic);
  CountingBus bus;
  IoApic copy(bus);
  auto archive = state::Archive::for_loading(saved);
  copy.state(archive);
  CHECK(archive.ok() && save(copy) == saved);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const u8* data, std::size_t size) {
  testing::ByteSource in(data, size);
  CountingBus bus;
  IoApic apic(bus);
  apic.reset();
  while (!in.empty()) {
    const u8 action = static_cast<u8>(in.next(1));
    const unsigned input = (action >> 3) % IoApic::inputs;
    switch (action & 7) {
      case 0: toggle_input(apic, bus, input, in.next(1) & 1); break;
      case 1: apic.end_of_interrupt(static_cast<u8>(in.next(1))); break;
      case 2: bus.accepts = action & 8; break;
      case 3: reload_and_compare(apic); break;
      case 4: apic.write({.offset = 0, .bytes = 1}, 0x10 + 2 * input + in.next(1) % 2); break;
      case 5: apic.write({.offset = 0x10, .bytes = 4}, in.next(4)); break;
      default: {
        const Access access{.offset = in.next(1), .bytes = 1u << (action >> 3 & 3)};
        action & 1 ? static_cast<void>(apic.read(access)) : apic.write(access, in.next(access.bytes));
      }
    }
  }
  return 0;
}
