// Configuration mechanism 1, BARs, interrupts and routing, as scripts that run through the ports.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <sstream>

#include "device/pci/assign.h"
#include "device/pci/i440fx.h"
#include "device/pci/piix3.h"
#include "device/pci/piix4_pm.h"

namespace doppel {
namespace {

struct Tagged final : IoHandler {
  explicit Tagged(u64 t) : tag(t) {}
  u64 read(Access access) override { return tag << 8 | access.offset; }
  void write(Access, u64) override {}
  u64 tag;
};

// A function with one BAR of each kind, MSI and INTA#.
class TestFunction final : public PciFunction {
 public:
  TestFunction(std::string name, u64 tag, MsiSink sink)
      : PciFunction(std::move(name), {.vendor = 0x1234, .device = 0x5678, .class_code = 0xff0000, .interrupt_pin = 1}),
        memory(tag),
        ports(tag + 1),
        memory64(tag + 2) {
    add_bar(0, BarKind::memory32, 0x1000, memory);
    add_bar(1, BarKind::io, 0x20, ports);
    add_bar(2, BarKind::memory64, 0x2000, memory64, true);
    add_msi(2, std::move(sink));
  }
  using PciFunction::send_message;
  using PciFunction::set_intx;
  Tagged memory, ports, memory64;
};

// Slot 0 i440FX, 1.0 PIIX3, 1.3 PIIX4, 3 and 4 test functions "a" and "b".
struct PciTest : ::testing::Test {
  std::string log;
  Bus ports{0x10000}, memory{u64{1} << 40};
  PciBus bus{ports, memory};
  PciConfigPorts config_ports{bus, [this] { log += "reset "; }};
  Tagged acpi{0xac};
  I440fxHostBridge host;
  Piix3IsaBridge isa{lines()};
  Piix4Pm pm{ports, acpi};
  TestFunction a{"a", 0xa0, sink("a")}, b{"b", 0xb0, sink("b")};

  std::array<IrqLine, 16> lines() {
    std::array<IrqLine, 16> result;
    for (unsigned irq = 0; irq < 16; ++irq) {
      result[irq] = IrqLine([this, irq](bool level) { log += fmt::format("irq{}{} ", irq, level ? '+' : '-'); });
    }
    return result;
  }
  MsiSink sink(const char* name) {
    return [this, name](MsiMessage m) { log += fmt::format("msi-{}:{:x}={:x} ", name, m.address, m.data); };
  }
  void SetUp() override {
    ASSERT_TRUE(ports.map(PciConfigPorts::base, PciConfigPorts::size, config_ports, "pci"));
    ASSERT_TRUE(bus.attach(0, 0, host));
    ASSERT_TRUE(bus.attach(1, 0, isa));
    ASSERT_TRUE(bus.attach(1, 3, pm));
    ASSERT_TRUE(bus.attach(3, 0, a));
    ASSERT_TRUE(bus.attach(4, 0, b));
    EXPECT_FALSE(bus.attach(4, 0, b));
    for (unsigned i = 0; i < 4; ++i) bus.connect(i, IrqLine([this, i](bool level) { isa.set_pirq(i, level); }));
    for (PciFunction* function :
         {static_cast<PciFunction*>(&host), static_cast<PciFunction*>(&isa), static_cast<PciFunction*>(&pm),
          static_cast<PciFunction*>(&a), static_cast<PciFunction*>(&b)}) {
      function->reset();
    }
    log.clear();
  }
  // Commands, numbers in hex:  r SLOT FN OFFSET BYTES   w SLOT FN OFFSET BYTES VALUE   m ADDRESS   p PORT
  //                            + FUNCTION / - FUNCTION: drive INTA#   ! FUNCTION VECTOR: send a message
  void check(const std::string& script, const std::string& expected) {
    std::istringstream in(script);
    in >> std::hex;
    log.clear();
    std::string command;
    while (in >> command) {
      const auto number = [&] {
        u64 value = 0;
        in >> value;
        return value;
      };
      const auto function = [&]() -> TestFunction& {
        std::string name;
        in >> name;
        return name == "a" ? a : b;
      };
      if (command == "r" || command == "w") {
        const u64 slot = number(), fn = number(), offset = number(), bytes = number();
        ports.write(0xcf8, 4, u64{1} << 31 | slot << 11 | fn << 8 | (offset & 0xfc));
        if (command == "w")
          ports.write(0xcfc + (offset & 3), static_cast<unsigned>(bytes), number());
        else
          log += fmt::format("{:x} ", ports.read(0xcfc + (offset & 3), static_cast<unsigned>(bytes)));
      } else if (command == "m") {
        log += fmt::format("{:x} ", memory.read(number(), 4));
      } else if (command == "p") {
        log += fmt::format("{:x} ", ports.read(number(), 4));
      } else if (command == "!") {
        TestFunction& target = function();
        if (!target.send_message(static_cast<unsigned>(number()))) log += "no-message ";
      } else {
        function().set_intx(command == "+");
      }
    }
    EXPECT_EQ(log, expected) << script;
  }
};

TEST_F(PciTest, Enumeration) {
  check("r 0 0 0 4  r 1 0 0 4  r 1 3 0 4  r 2 0 0 4  r 3 0 0 4  r 3 1 0 4",
        "12378086 70008086 71138086 ffffffff 56781234 ffffffff ");
  check("r 0 0 a 2  r 1 0 a 2  r 1 3 a 2  r 1 0 e 1  r 0 0 e 1", "600 601 680 80 0 ");
  check("r 0 0 2 1  r 0 0 3 1  r 0 0 2 2", "37 12 1237 ");
  check("r 3 0 34 1  r 3 0 40 2  r 3 0 6 2", "40 5 10 ");
  check("w 0 0 59 1 ff  r 0 0 59 1  w 0 0 0 4 0  r 0 0 0 4", "33 12378086 ");  // PAM0; IDs are not writable
  ports.write(0xcf8, 4, 0x80010000);                                           // bus 1
  EXPECT_EQ(ports.read(0xcfc, 4), 0xffffffffu);
  ports.write(0xcf8, 4, 0);  // mechanism off
  EXPECT_EQ(ports.read(0xcfc, 4), 0xffffffffu);
  ports.write(0xcf8, 4, 0xffffffff);
  EXPECT_EQ(ports.read(0xcf8, 4), 0x80fffffcu);
  ports.write(0xcf8, 1, 0x12);  // only dwords reach CONFADD
  EXPECT_EQ(ports.read(0xcf8, 4), 0x80fffffcu);
}

TEST_F(PciTest, ResetControl) {
  check("", "");
  ports.write(0xcf9, 1, 0x02);
  EXPECT_EQ(log, "");
  ports.write(0xcf9, 1, 0x06);
  ports.write(0xcf9, 1, 0x06);  // no further edge
  EXPECT_EQ(log, "reset ");
  EXPECT_EQ(ports.read(0xcf9, 1), 0x06u);
}

TEST_F(PciTest, BarsAreSizedAndMapped) {
  check("w 3 0 10 4 ffffffff  r 3 0 10 4  w 3 0 14 4 ffffffff  r 3 0 14 4", "fffff000 ffffffe1 ");
  check("w 3 0 18 4 ffffffff  r 3 0 18 4  w 3 0 1c 4 ffffffff  r 3 0 1c 4  r 3 0 20 4  r 3 0 30 4",
        "ffffe00c ffffffff 0 0 ");
  check("w 3 0 10 4 e0000000  w 3 0 14 4 c000  w 3 0 18 4 0  w 3 0 1c 4 1  m e0000004  p c004",
        "ffffffff ffffffff ");  // decoding is off
  check("w 3 0 4 2 3  m e0000004  p c004  m 100000008", "a004 a104 a208 ");
  check("w 3 0 4 2 2  p c004  m e0000004", "ffffffff a004 ");
  check("w 3 0 10 4 e1000000  m e0000004  m e1000004", "ffffffff a004 ");
  check("w 3 0 10 4 ffffffff  m fffff004  m e1000004  w 3 0 10 4 e0000000  m e0000004",
        "ffffffff ffffffff a004 ");               // sized while decoding
  check("w 3 0 1c 4 ffff  m e0000004", "a004 ");  // beyond the address space: maps nothing
  check("w 3 0 10 4 0  m 4", "ffffffff ");
}

TEST_F(PciTest, OverlapIsRefusedAndMendsItself) {
  check("w 3 0 10 4 e0000000  w 3 0 4 2 2  w 4 0 10 4 e0000000  w 4 0 4 2 2  m e0000000", "a000 ");
  check("r 4 0 10 4", "e0000000 ");
  check("w 3 0 10 4 e2000000  m e0000000  m e2000000", "b000 a000 ");
  check("w 3 0 10 4 e0000000  m e0000000  w 4 0 4 2 0  m e0000000", "b000 a000 ");
  a.reset();
  check("m e0000000  w 4 0 4 2 2  m e0000000", "ffffffff b000 ");
}

TEST_F(PciTest, PinsAreSwizzledAndShared) {
  check("w 1 0 60 4 0b0b0a80  + a  + b  - b", "irq11+ ");  // slot 3 INTA# is PIRQ C, slot 4 INTA# PIRQ D
  check("- a", "irq11- ");
  check("+ a  w 1 0 62 1 5  w 1 0 62 1 80  w 1 0 62 1 d", "irq11+ irq5+ irq11- irq5- ");  // 13 cannot be routed to
  check("w 1 0 62 1 a  + b  w 3 0 4 2 400  w 3 0 4 2 0  r 3 0 6 2", "irq10+ irq11+ irq10- irq10+ 18 ");
  check("- a  - b  r 3 0 6 2", "irq10- irq11- 10 ");
  EXPECT_EQ(PciBus::pirq_of(1, 1), 0u);
  EXPECT_EQ(PciBus::pirq_of(3, 4), 1u);
  EXPECT_EQ(PciBus::pirq_of(0, 1), 3u);
}

TEST_F(PciTest, Messages) {
  check("! a 0", "no-message ");
  check("w 3 0 44 4 fee01004  w 3 0 48 4 0  w 3 0 4c 2 4050  w 3 0 4 2 4  w 3 0 42 2 21  ! a 0  ! a 3  ! a 4",
        "msi-a:fee01004=4050 msi-a:fee01004=4053 ");
  check("w 3 0 42 2 1  ! a 3", "msi-a:fee01004=4050 ");  // one vector enabled: the number wraps
  check("w 3 0 42 2 21  w 3 0 50 4 2  ! a 1  r 3 0 54 4  w 3 0 50 4 0  r 3 0 54 4", "2 msi-a:fee01004=4051 0 ");
  check("w 3 0 4 2 0  ! a 2  w 3 0 4 2 4", "msi-a:fee01004=4052 ");  // no bus mastering, no message
}

TEST_F(PciTest, PowerManagementBase) {
  check("w 1 3 40 4 ffffffff  r 1 3 40 4  w 1 3 40 4 601  p 608", "ffc1 ffffffff ");
  check("w 1 3 80 1 ff  r 1 3 80 1  p 608  w 1 3 40 4 b001  p 608  p b008", "1 ac08 ffffffff ac08 ");
  check("w 1 3 40 4 cc1  p cc0  p b008", "ffffffff ffffffff ");                           // would cover the PCI ports
  check("w 1 3 40 4 ca1  r 1 3 40 4  p ca0  w 1 3 80 1 0  p ca0", "c81 ac20 ffffffff ");  // aligned to its size
}

TEST_F(PciTest, ResourcesWithoutFirmware) {
  ASSERT_TRUE(assign_pci_resources(bus, {0xc000, 0xc100, 0xe0000000, 0xe0010000}, {10, 10, 11, 5}));
  check("m e0000004  m e0002008  m e0004004  p c004  p c024", "a004 a208 b004 a104 b104 ");
  check("r 3 0 3c 2  r 4 0 3c 2  r 1 0 60 4", "10b 105 50b0a0a ");
  const auto small = assign_pci_resources(bus, {0xc000, 0xc020, 0xe0000000, 0xe0010000}, {10, 10, 11, 11});
  ASSERT_FALSE(small);
  EXPECT_EQ(small.error().message, "the PCI address window is too small for 'b'");
}

TEST_F(PciTest, SavedAndLoaded) {
  check("w 3 0 10 4 e0000000  w 3 0 4 2 2  w 4 0 10 4 e1000000  w 4 0 4 2 2  w 1 0 60 4 0b0b0a80  + a", "irq11+ ");
  auto saving = state::Archive::for_saving();
  for (Device* device : {static_cast<Device*>(&config_ports), static_cast<Device*>(&isa), static_cast<Device*>(&a),
                         static_cast<Device*>(&b)})
    device->state(saving);
  auto bytes = saving.take();
  check("- a  w 3 0 10 4 e1000000  w 4 0 10 4 e0000000  w 1 0 60 4 80808080", "irq11- ");
  log.clear();
  auto loading = state::Archive::for_loading(bytes);
  for (Device* device : {static_cast<Device*>(&config_ports), static_cast<Device*>(&isa), static_cast<Device*>(&a),
                         static_cast<Device*>(&b)})
    device->state(loading);
  ASSERT_TRUE(loading.status());
  EXPECT_EQ(log, "irq11+ ");
  check("m e0000000  m e1000000  - a", "a000 b000 irq11- ");

  auto wrong = state::Archive::for_loading(bytes);
  config_ports.state(wrong);
  host.state(wrong);  // another function's section
  EXPECT_FALSE(wrong.ok());
}

}  // namespace
}  // namespace doppel
