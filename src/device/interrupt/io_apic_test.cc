// Scripts against the I/O APIC and a bus that notes its messages: rte N,VALUE; reg N; w OFFSET,VALUE; r OFFSET; raise/lower N;
// eoi VECTOR; refuse 0|1; reload. A message prints as mode.vector@destination, with L for level.
#include "device/interrupt/io_apic.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <memory>

#include "device/testing/script.h"

namespace doppel {
namespace {

struct RecordingBus final : InterruptBus {
  std::string messages;
  bool refuses = false;

  bool deliver(const InterruptMessage& message) override {
    constexpr const char* modes[] = {"fixed", "lowest", "smi", "reserved", "nmi", "init", "startup", "extint"};
    const std::string to = message.to == InterruptMessage::To::all ? "all"
                           : message.to == InterruptMessage::To::logical
                               ? fmt::format("logical{:x}", message.destination)
                               : fmt::format("{:x}", message.destination);
    messages += fmt::format(" {}.{:02x}@{}{}", modes[static_cast<u8>(message.mode)], message.vector, to,
                            message.level ? "L" : "");
    return !refuses;
  }
  void end_of_interrupt(u8) override {}
};

std::string run(std::string_view script) {
  RecordingBus bus;
  auto apic = std::make_unique<IoApic>(bus);
  apic->reset();
  const auto write_register = [&](u64 index, u64 value) {
    apic->write({0x00, 1}, index);
    apic->write({0x10, 4}, value);
  };
  for (const testing::Command& command : testing::parse_script(script)) {
    const unsigned first = static_cast<unsigned>(command[0]);
    if (command.name == "rte") {
      write_register(0x11 + 2 * first, command[1] >> 32);
      write_register(0x10 + 2 * first, command[1] & 0xffff'ffff);
    } else if (command.name == "reg") {
      apic->write({0x00, 4}, first);
      bus.messages += fmt::format(" {:x}", apic->read({0x10, 4}));
    } else if (command.name == "w") {
      apic->write({first, 4}, command[1]);
    } else if (command.name == "r") {
      bus.messages += fmt::format(" {:x}", apic->read({first, 4}));
    } else if (command.name == "raise" || command.name == "lower") {
      apic->line(first).set(command.name == "raise");
    } else if (command.name == "eoi") {
      apic->end_of_interrupt(static_cast<u8>(first));
    } else if (command.name == "refuse") {
      bus.refuses = first;
    } else if (command.name == "reload") {
      auto saved = state::Archive::for_saving();
      apic->state(saved);
      auto archive = state::Archive::for_loading(saved.take());
      apic = std::make_unique<IoApic>(bus);
      apic->state(archive);
      EXPECT_TRUE(archive.status()) << archive.status().error().message;
    } else {
      ADD_FAILURE() << "unknown command " << command.name;
    }
  }
  return bus.messages.empty() ? "" : bus.messages.substr(1);
}

void check(std::string_view script, std::string_view expected) { EXPECT_EQ(run(script), expected) << script; }

TEST(IoApic, Registers) {
  check("reg 0; reg 1; reg 2; reg 3; reg 10; reg 11; reg 3f; reg 40; reg ff", "0 170020 0 0 10000 0 0 0 0");
  check("w 0,0; w 10,ffffffff; reg 0; reg 2; w 0,1; w 10,0; reg 1; r 0", "f000000 f000000 170020 1");
  check("rte 17,ffffffffffffffff; reg 3e; reg 3f; reg 3d", "1afff ff000000 0");
  check("r 4; r 20; r 40; r ffc", "0 0 0 0");
}

TEST(IoApic, EdgesSendOnce) {
  check("rte 4,0200000000000031; raise 4; raise 4; lower 4; raise 4", "fixed.31@2 fixed.31@2");
  check("rte 4,0000000000010031; raise 4; rte 4,31; lower 4; raise 4",
        "fixed.31@0");  // an edge at a masked input is lost
  check("rte 4,ff00000000000031; raise 4", "fixed.31@all");
  check("rte 4,0300000000000931; raise 4", "lowest.31@logical3");
}

TEST(IoApic, LevelsWaitForTheirEnd) {
  check("rte 9,8040; raise 9; reg 22; lower 9; raise 9; eoi 40; lower 9; eoi 40; reg 22",
        "fixed.40@0L c040 fixed.40@0L 8040");
  check("rte 9,8040; raise 9; eoi 41; reg 22; w 40,40", "fixed.40@0L c040 fixed.40@0L");  // only its own vector ends it
  check("raise 9; rte 9,18040; rte 9,8040", "fixed.40@0L");                               // unmasked while asserted
  check("rte 9,8040; raise 9; rte 9,18040; eoi 40; reg 22; rte 9,8040", "fixed.40@0L 18040 fixed.40@0L");
  check("rte 9,8040; rte a,8040; raise 9; raise a; lower 9; eoi 40", "fixed.40@0L fixed.40@0L fixed.40@0L");
}

TEST(IoApic, RemoteIrrIsReadOnlyAndEndsWithTheLevel) {
  check("rte 9,c040; reg 22", "8040");
  check("rte 9,8040; raise 9; rte 9,10040; reg 22; rte 9,18040; reg 22", "fixed.40@0L 10040 18040");
  check("refuse 1; rte 9,8040; raise 9; reg 22; refuse 0; rte 9,8040; reg 22", "fixed.40@0L 8040 fixed.40@0L c040");
}

TEST(IoApic, OtherDeliveryModesAreEdges) {
  check("rte 2,8400; raise 2; reg 14", "nmi.00@0 8400");
  check("rte 2,700; raise 2; lower 2; rte 2,500; raise 2", "extint.00@0 init.00@0");
  check("rte 2,331; raise 2; lower 2; rte 2,631; raise 2", "");  // reserved
}

TEST(IoApic, PartialAccesses) { check("w 0,12345610; r 0; w 12,0; w 14,ffffffff; r 10", "10 10000"); }

TEST(IoApic, KeepsItsStateAcrossALoad) {
  check("rte 9,8040; raise 9; reload; reg 22; raise 9; eoi 40; w 0,23; reload; r 0", "fixed.40@0L c040 fixed.40@0L 23");
}

TEST(IoApic, RefusesImpossibleState) {
  RecordingBus bus;
  IoApic apic(bus);
  auto saved = state::Archive::for_saving();
  apic.state(saved);
  std::vector<u8> bytes = saved.take();
  for (std::size_t i = bytes.size() - 9 * IoApic::inputs; i < bytes.size(); ++i) {
    auto changed = bytes;
    changed[i] ^= 0x40;  // a wrong type, remote IRR of an edge, or a reserved bit; or a legal vector or destination
    auto archive = state::Archive::for_loading(changed);
    IoApic other(bus);
    other.state(archive);
    const std::size_t byte = (i - (bytes.size() - 9 * IoApic::inputs)) % 9;
    EXPECT_EQ(archive.ok(), byte == 1 || byte == 8) << i;
  }
}

}  // namespace
}  // namespace doppel
