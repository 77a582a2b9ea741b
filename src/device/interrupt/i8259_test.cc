// Scripts against the pair of 8259s: out PORT,VALUE; in PORT; raise/lower/pulse IRQ; inta; intr; reload.
#include "device/interrupt/i8259.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "device/testing/script.h"
#include "memory/bus.h"

namespace doppel {
namespace {

struct Pics {
  bool intr = false;
  I8259 pic{IrqLine([this](bool level) { intr = level; })};
  Bus ports{0x10000};

  Pics() {
    EXPECT_TRUE(ports.map(0x20, 2, pic.master_ports(), "master"));
    EXPECT_TRUE(ports.map(0xa0, 2, pic.slave_ports(), "slave"));
    EXPECT_TRUE(ports.map(0x4d0, 2, pic.elcr_ports(), "elcr"));
    pic.reset();
  }
};

std::string run(std::string_view script) {
  auto pics = std::make_unique<Pics>();
  std::string printed;
  const auto print = [&](u64 value) { printed += fmt::format("{}{:02x}", printed.empty() ? "" : " ", value); };
  for (const testing::Command& command : testing::parse_script(script)) {
    const unsigned first = static_cast<unsigned>(command[0]);
    if (command.name == "out") {
      pics->ports.write(first, 1, command[1]);
    } else if (command.name == "in") {
      print(pics->ports.read(first, 1));
    } else if (command.name == "raise") {
      pics->pic.line(first).raise();
    } else if (command.name == "lower") {
      pics->pic.line(first).lower();
    } else if (command.name == "pulse") {
      pics->pic.line(first).pulse();
    } else if (command.name == "inta") {
      print(pics->pic.acknowledge());
    } else if (command.name == "intr") {
      print(pics->intr);
    } else if (command.name == "reload") {
      auto saved = state::Archive::for_saving();
      pics->pic.state(saved);
      auto archive = state::Archive::for_loading(saved.take());
      pics = std::make_unique<Pics>();
      pics->pic.state(archive);
      EXPECT_TRUE(archive.status()) << archive.status().error().message;
    } else {
      ADD_FAILURE() << "unknown command " << command.name;
    }
  }
  return printed;
}

// As a PC's firmware does it: vectors 08h and 70h, 8086 mode, everything unmasked.
constexpr std::string_view
    initialize = "out 20,11; out 21,08; out 21,04; out 21,01; out a0,11; out a1,70; out a1,02; out a1,01; ";

void check(std::string_view script, std::string_view expected) {
  EXPECT_EQ(run(std::string(initialize) + std::string(script)), expected) << script;
}

TEST(I8259, DeliversByPriority) {
  check("intr; pulse 4; intr; inta; intr", "00 01 0c 00");
  check("pulse 4; pulse 1; inta; intr; out 20,20; intr; inta", "09 00 01 0c");
  check("pulse 4; inta; pulse 1; intr; inta", "0c 01 09");                      // a higher one interrupts the service
  check("pulse 1; inta; pulse 4; intr; out 20,20; intr", "09 00 01");           // a lower one waits
  check("pulse 4; inta; pulse 4; intr; out 20,64; intr; inta", "0c 00 01 0c");  // specific EOI
}

TEST(I8259, CascadesTheSlave) {
  check("pulse c; inta; in 20; out 20,0b; in 20; out a0,0b; in a0", "74 00 04 10");
  check("pulse c; pulse 8; inta; out a0,20; out 20,20; intr; inta", "70 01 74");
  check("pulse c; inta; pulse 8; intr; out 20,20; intr; inta", "74 00 01 70");  // without SFNM IR2 holds off the slave
  check("pulse c; pulse 3; inta; out 20,20; out a0,20; inta", "74 0b");         // IR2 is before IR3
}

TEST(I8259, SpecialFullyNestedModeLetsTheSlaveInterruptItself) {
  check("out 20,11; out 21,08; out 21,04; out 21,11; pulse c; inta; pulse 8; intr; inta; intr", "74 01 70 00");
}

TEST(I8259, MasksAndShowsRegisters) {
  check("out 21,fb; pulse 4; intr; in 21; out 20,0a; in 20; out 21,00; intr; inta; in 20", "00 fb 10 01 0c 00");
  check("pulse 4; inta; out 20,0b; in 20; out 20,20; in 20", "0c 10 00");
}

TEST(I8259, EdgesNeedANewEdge) {
  check("raise 4; inta; out 20,20; intr; lower 4; raise 4; intr", "0c 00 01");
  check("raise 4; out 20,11; out 21,08; out 21,04; out 21,01; intr; lower 4; raise 4; intr", "00 01");  // ICW1
}

TEST(I8259, LevelsFollowTheLine) {
  check("out 4d1,04; raise a; inta; out a0,20; out 20,20; intr; lower a; intr", "72 01 00");
  check("out 4d1,04; raise a; intr; lower a; intr", "01 00");
  check("out 4d0,ff; out 4d1,ff; in 4d0; in 4d1", "f8 de");
  check("raise 4; out 4d0,10; intr; out 4d0,00; intr", "01 00");  // a latched edge does not outlive the change of mode
}

TEST(I8259, LostRequestsAreSpurious) {
  check("inta; out 20,0b; in 20", "0f 00");
  check("out 4d0,20; raise 5; lower 5; inta; out 20,0b; in 20", "0f 00");
  check("pulse 4; out 21,ff; intr; inta", "00 0f");
  check("out 4d1,04; raise a; out a1,ff; inta; in 20", "0f 00");
}

TEST(I8259, AutoEoiAndRotation) {
  check("out 20,11; out 21,08; out 21,04; out 21,03; pulse 4; inta; out 20,0b; in 20; pulse 5; inta", "0c 00 0d");
  check("pulse 4; inta; out 20,a0; pulse 4; pulse 5; inta", "0c 0d");  // rotate on non-specific EOI: 4 is now the lowest
  check("out 20,c3; pulse 3; pulse 4; pulse 1; inta", "0c");           // set priority: 3 is the lowest, 4 the highest
  check("pulse 4; inta; out 20,e4; pulse 3; pulse 5; inta", "0c 0d");  // rotate on specific EOI
  check("out 20,11; out 21,08; out 21,04; out 21,03; out 20,80; pulse 4; inta; pulse 4; pulse 5; inta", "0c 0d");
  check("out 20,11; out 21,08; out 21,04; out 21,03; out 20,80; out 20,00; pulse 4; inta; pulse 4; pulse 5; inta",
        "0c 0c");
}

TEST(I8259, SpecialMaskMode) {
  check("pulse 1; inta; out 20,68; out 21,02; pulse 4; intr; inta", "09 01 0c");  // the masked service holds off nothing
  check("pulse 1; inta; out 20,68; out 21,02; out 20,20; out 20,0b; in 20", "09 02");
  check("pulse 1; inta; out 21,02; pulse 4; intr", "09 00");
}

TEST(I8259, Poll) {
  check("out 20,0c; in 20; pulse 4; out 20,0c; in 20; intr; out 20,0b; in 20", "00 84 00 10");
  check("pulse c; out 20,0c; in 20; out a0,0c; in a0; in a1", "82 84 00");
}

TEST(I8259, SilentDuringInitialization) {
  check("pulse 4; out 20,11; pulse 5; intr; out 21,08; out 21,04; out 21,01; intr", "00 01");
}

TEST(I8259, KeepsItsStateAcrossALoad) {
  check("pulse c; pulse 3; out 21,10; reload; intr; inta; reload; out 20,20; out a0,20; inta; in 21", "01 74 0b 10");
  check("out 4d1,04; raise a; reload; intr; inta", "01 72");
  check("out 20,11; reload; out 21,40; reload; out 21,04; out 21,01; pulse 1; inta", "41");
}

TEST(I8259, RefusesImpossibleState) {
  Pics pics;
  auto saved = state::Archive::for_saving();
  pics.pic.state(saved);
  std::vector<u8> bytes = saved.take();
  unsigned refused = 0;
  for (u8& byte : bytes) {  // somewhere in there are the ELCR, the priority and the initialization step
    const u8 kept = std::exchange(byte, 0xff);
    auto archive = state::Archive::for_loading(bytes);
    Pics other;
    other.pic.state(archive);
    refused += !archive.ok();
    byte = kept;
  }
  EXPECT_GE(refused, 8u);
}

}  // namespace
}  // namespace doppel
