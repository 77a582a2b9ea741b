// The wiring of the PC: who answers where, which line goes where, what reaches the machine. The devices have tests of their own.
#include "board/pc/pc.h"

#include <gtest/gtest.h>

#include "board/pc/layout.h"
#include "board/pc/testing/bare_pc.h"

namespace doppel {
namespace {

using testing::BarePc;

TEST(Pc, RequestsReachTheMachine) {
  const auto check = [](u64 port, u64 value, unsigned bytes, const char* expected) {
    BarePc pc({.debug_exit = true});
    pc.out(port, value, bytes);
    EXPECT_EQ(pc.log, expected) << std::hex << port;
  };
  check(0x64, 0xfe, 1, "reset ");
  check(0xcf9, 0x06, 1, "reset ");
  check(0x92, 0x01, 1, "reset ");
  check(0xf4, 0x10, 1, "exit=33 ");
  check(pc::pm_ports + AcpiPm::pm1_control, 1 << 13 | AcpiPm::s5_sleep_type << 10, 2, "power-off ");
  check(0x80, 0xff, 1, "");
}

TEST(Pc, WithoutDebugExitThePortIsEmpty) {
  BarePc pc;
  pc.out(pc::debug_exit_port, 0);
  EXPECT_EQ(pc.log, "");
  EXPECT_EQ(pc.in(pc::debug_exit_port), 0xffu);
}

TEST(Pc, PciIsConfiguredAsFirmwareLeavesIt) {
  BarePc pc({.cpus = 2});
  EXPECT_EQ(pc.pci(0, 0, 0), 0x1237'8086u);
  EXPECT_EQ(pc.pci(1, 0, 0), 0x7000'8086u);
  EXPECT_EQ(pc.pci(1, 3, 0), 0x7113'8086u);
  EXPECT_EQ(pc.pci(1, 3, 0x40), 0x601u);
  EXPECT_EQ(pc.pci(31, 0, 0), ~0u);
  unsigned virtio_devices = 0;
  for (unsigned slot = pc::first_virtio_slot; pc.pci(slot, 0, 0) != ~0u; ++slot, ++virtio_devices) {
    EXPECT_EQ(pc.pci(slot, 0, 0) & 0xffff, 0x1af4u);
    const u32 bar = pc.pci(slot, 0, 0x10) & ~0xfu;
    EXPECT_GE(bar, pc::pci_memory_base);
    EXPECT_LT(bar, pc::pci_memory_end);
    const u32 line = pc.pci(slot, 0, 0x3c) & 0xff;
    EXPECT_TRUE(line == 10 || line == 11) << line;
  }
  EXPECT_EQ(virtio_devices, 3u) << "network, entropy, console";
}

// The 8254 drives IRQ 0 of the 8259s, whose output reaches LINT0 of processor 0 (ExtINT, as firmware leaves it) and I/O
// APIC input 2.
TEST(Pc, TheTimerInterruptReachesTheProcessorThroughThe8259s) {
  BarePc pc;
  LocalInterrupts& cpu = pc.board->local_interrupts(0);
  for (const u8 word : {0x11, 0x20, 0x04, 0x01, 0xfe}) pc.out(word == 0x11 ? 0x20 : 0x21, word);
  pc.out(0x43, 0x34);
  pc.out(0x40, 0x00);
  pc.out(0x40, 0x10);
  pc.clock.advance(10'000'000);
  EXPECT_EQ(pc.log, "cpu0.intr=1 ");
  EXPECT_EQ(cpu.acknowledge(), 0x20);
}

TEST(Pc, TheTimerInterruptReachesTheProcessorThroughTheIoApic) {
  BarePc pc;
  LocalInterrupts& cpu = pc.board->local_interrupts(0);
  cpu.write_apic(0xf0, 0x1ff);
  const auto io_apic = [&](u32 index, u32 value) {
    pc.mmio.write(pc::io_apic_base, 4, index);
    pc.mmio.write(pc::io_apic_base + 0x10, 4, value);
  };
  io_apic(0x10 + 2 * pc::io_apic_pit_input, 0x31);
  pc.out(0x43, 0x34);
  pc.out(0x40, 0x00);
  pc.out(0x40, 0x10);
  pc.clock.advance(10'000'000);
  EXPECT_EQ(pc.log, "cpu0.intr=1 ");
  EXPECT_EQ(cpu.acknowledge(), 0x31);
}

TEST(Pc, AProcessorStartsAnother) {
  BarePc pc({.cpus = 2});
  LocalInterrupts& cpu = pc.board->local_interrupts(0);
  cpu.write_apic(0xf0, 0x1ff);
  cpu.write_apic(0x310, 1u << 24);
  cpu.write_apic(0x300, 0x4500);
  cpu.write_apic(0x310, 1u << 24);
  cpu.write_apic(0x300, 0x4699);
  EXPECT_EQ(pc.log, "cpu1.init cpu1.sipi=99 ");
}

TEST(Pc, TheConsoleIsTheSerialPort) {
  BarePc pc;
  std::string shown;
  pc.board->console().connect(
      [&](std::span<const u8> bytes) {
        shown.append(bytes.begin(), bytes.end());
        return bytes.size();
      },
      [] {});
  for (const char c : {'o', 'k'}) pc.out(pc::com1_ports, static_cast<u8>(c));
  pc.out(pc::com2_ports, 'x');
  pc.clock.advance(10'000'000);
  EXPECT_EQ(shown, "ok");
}

TEST(Pc, StateOfTheWholeBoard) {
  BarePc original({.cpus = 4});
  original.out(0x43, 0x34);
  original.out(0x40, 0x34);
  original.out(0x40, 0x12);
  original.out(0x21, 0xa5);
  original.out(pc::com1_ports + 7, 0x77);
  original.clock.advance(123'456);
  const auto state = original.save();

  BarePc copy({.cpus = 4});
  copy.clock.advance(123'456);
  const auto loaded = copy.load(state);
  ASSERT_TRUE(loaded) << loaded.error().message;
  EXPECT_EQ(copy.in(0x21), 0xa5u);
  EXPECT_EQ(copy.in(pc::com1_ports + 7), 0x77u);
  EXPECT_EQ(copy.save(), state);

  BarePc smaller({.cpus = 2});
  EXPECT_FALSE(smaller.load(state));
}

}  // namespace
}  // namespace doppel
