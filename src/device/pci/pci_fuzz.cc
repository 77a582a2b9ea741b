// Configuration space through its ports, and whatever that maps: BARs on top of each other, PIRQs to anywhere.
#include "base/check.h"
#include "device/pci/i440fx.h"
#include "device/pci/pci_bus.h"
#include "device/pci/piix3.h"
#include "device/pci/piix4_pm.h"
#include "device/testing/byte_source.h"

using namespace doppel;
using doppel::testing::ByteSource;

namespace {

struct Registers final : IoHandler {
  u64 read(Access access) override {
    CHECK(access.offset + access.bytes <= 0x10000);
    return access.offset;
  }
  void write(Access, u64) override {}
};

class FuzzFunction final : public PciFunction, public IoHandler {
 public:
  FuzzFunction() : PciFunction("fuzz", {.vendor = 1, .device = 2, .class_code = 0xff0000, .interrupt_pin = 1}) {
    add_bar(0, BarKind::memory32, 0x2000, *this);
    add_bar(1, BarKind::io, 0x20, registers_);
    add_bar(2, BarKind::memory64, 0x1000, registers_);
    add_msi(3, [](MsiMessage) {});
    msix_ = &add_msix(70, 0, 0x0, 0x1000, [](MsiMessage message) { CHECK((message.address & 3) == 0); });
  }
  u64 read(Access access) override {
    return access.offset < 0x1000 ? msix_->read_table(access)
                                  : msix_->read_pending({access.offset - 0x1000, access.bytes});
  }
  void write(Access access, u64 value) override {
    if (access.offset < 0x1000) msix_->write_table(access, value);
  }
  using PciFunction::send_message;
  using PciFunction::set_intx;

 private:
  Registers registers_;
  Msix* msix_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  ByteSource in(data, size);
  Bus ports(0x10000), memory(u64{1} << 40);
  PciBus bus(ports, memory);
  PciConfigPorts config(bus, [] {});
  CHECK(ports.map(PciConfigPorts::base, PciConfigPorts::size, config, "pci"));
  Registers pm_registers;
  u16 lines = 0;
  std::array<IrqLine, 16> isa;
  for (unsigned irq = 0; irq < 16; ++irq) {
    isa[irq] = IrqLine(
        [&lines, irq](bool level) { lines = static_cast<u16>((lines & ~(1u << irq)) | (level ? 1u << irq : 0u)); });
  }
  I440fxHostBridge host;
  Piix3IsaBridge bridge(std::move(isa));
  Piix4Pm pm(ports, pm_registers);
  FuzzFunction a, b;
  CHECK(bus.attach(0, 0, host) && bus.attach(1, 0, bridge) && bus.attach(1, 3, pm) && bus.attach(2, 0, a) &&
        bus.attach(3, 0, b));
  for (unsigned i = 0; i < 4; ++i) bus.connect(i, IrqLine([&bridge, i](bool level) { bridge.set_pirq(i, level); }));
  while (!in.empty()) {
    FuzzFunction& function = (in.next(1) & 1) != 0 ? a : b;
    switch (in.next(1) % 8) {
      case 0: ports.write(0xcf8, 4, 0x80000000 | (in.next(1) % 4) << 11 | (in.next(1) % 4) << 8 | in.next(1)); break;
      case 1: ports.write(0xcf8 + in.next(1) % 8, 1u << in.next(1) % 3, in.next(4)); break;
      case 2: ports.read(in.next(2), 1u << in.next(1) % 3); break;
      case 3: memory.write(in.next(4), 1u << in.next(1) % 4, in.next(8)); break;
      case 4: memory.read(in.next(5), 1u << in.next(1) % 4); break;
      case 5: function.set_intx((in.next(1) & 1) != 0); break;
      case 6: function.send_message(static_cast<unsigned>(in.next(1))); break;
      case 7: function.reset(); break;
    }
    CHECK((lines & 0x2107) == 0);  // interrupts that PIRQs cannot reach
  }
  a.set_intx(false);
  b.set_intx(false);
  CHECK(lines == 0);
  return 0;
}
