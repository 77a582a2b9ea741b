// Saved and loaded local APICs, and all controllers used from several threads at once.
#include "device/interrupt/local_apic.h"

#include <gtest/gtest.h>

#include <thread>

#include "device/testing/apic_script.h"

namespace doppel {
namespace {

using testing::ApicSystem;

// All four software-enabled.
constexpr std::string_view enable = "0.w f0,1ff; 1.w f0,1ff; 2.w f0,1ff; 3.w f0,1ff; ";
void check(std::string_view script, std::string_view expected) {
  EXPECT_EQ(testing::ApicScript().run(std::string(enable) + std::string(script)), expected) << script;
}
// All four in x2APIC mode too.
constexpr std::string_view
    extend = "0.wrmsr 1b,fee00d00; 1.wrmsr 1b,fee00c00; 2.wrmsr 1b,fee00c00; 3.wrmsr 1b,fee00c00; ";
void check_x2apic(std::string_view script, std::string_view expected) {
  EXPECT_EQ(testing::ApicScript().run(std::string(enable) + std::string(extend) + std::string(script)), expected)
      << script;
}

TEST(LocalApic, KeepsItsStateAcrossALoad) {
  check("w 3e0,b; w 320,20031; w 380,10000; tick 8000; reload; alarms; r 390; tick 8000; ack; r 300", "1 8000 31 0");
  check("w 320,40031; offset 1000; wrmsr 6e0,2000; reload; rdmsr 6e0; tick fff; intr; tick 1; ack", "2000 0 31");
  check("rte 9,8040; irq 9,1; ack; msi fee00000,31; reload; r 120; r 1a0; intr; eoi; intr; ack; ack; reg 22",
        "40 1 1 0 1 40 - c040");
  check("msi fee01000,31; 1.cr8 1; reload; 1.intr; 1.r 210; 1.getcr8; 1.ack", "1 20000 1 31");
  check("w 350,700; pic 4; reload; intr; ack", "1 4");
  check_x2apic("reload; rdmsr 1b; 2.rdmsr 802; wrmsr 830,200004031; reload; 2.ack", "fee00d00 2 31");
  check("r 40; reload; w 280,0; reload; r 280", "0 80");
}

TEST(LocalApic, RefusesImpossibleState) {
  ApicSystem system(1);
  auto saved = state::Archive::for_saving();
  system.apics[0]->state(saved);
  std::vector<u8> bytes = saved.take();
  unsigned refused = 0;
  for (u8& byte : bytes) {
    byte ^= 0xff;
    auto archive = state::Archive::for_loading(bytes);
    ApicSystem other(1);
    other.apics[0]->state(archive);
    refused += !archive.ok();
    byte ^= 0xff;
    other.clock.advance(1'000'000);  // whatever was taken, the timer computes with it
    for (u32 offset = 0; offset < 0x400; offset += 16) other.apics[0]->read(offset);
  }
  EXPECT_GT(refused, bytes.size() / 3);
}

// Every controller's lock is taken here in every order that the machine takes them; the thread sanitizer watches.
TEST(LocalApic, ConcurrentUse) {
  ApicSystem system(4);
  for (auto& apic : system.apics) {
    apic->write(0xf0, 0x1ff);
    apic->write(0xd0, 1u << (24 + apic->id()));
    apic->write(0x350, 0x700);
  }
  system.io_apic.write({0, 4}, 0x11 + 2 * 9);
  system.io_apic.write({0x10, 4}, 0x0f00'0000);
  system.io_apic.write({0, 4}, 0x10 + 2 * 9);
  system.io_apic.write({0x10, 4}, 0x8940);
  std::vector<std::jthread> threads;
  for (auto& owned : system.apics) {
    threads.emplace_back([&apic = *owned] {
      for (unsigned i = 0; i < 3000; ++i) {
        apic.write(0x300, i & 1 ? 0xc4051 : 0x84961);
        while (const auto vector = apic.acknowledge())
          if (*vector >= 0x10) apic.write(0xb0, 0);
      }
    });
  }
  for (unsigned i = 0; i < 3000; ++i) {
    system.io_apic.set_input(9, !(i & 1));
    system.pic.line(4).pulse();
    system.fabric.deliver_msi({0xfee0'f00c, 0x71});
  }
  threads.clear();
  for (auto& apic : system.apics) {
    while (apic->acknowledge()) apic->write(0xb0, 0);
    EXPECT_EQ(apic->read(0x220) | apic->read(0x150), 0u);
    EXPECT_FALSE(system.pins[apic->id()].intr);
  }
}

}  // namespace
}  // namespace doppel
