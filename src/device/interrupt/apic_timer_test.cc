// The local APIC's timer in its three modes, as scripts (device/testing/apic_script.h).
#include "device/interrupt/local_apic.h"

#include <gtest/gtest.h>

#include "device/testing/apic_script.h"

namespace doppel {
namespace {

using testing::ApicSystem;

// All four software-enabled.
constexpr std::string_view enable = "0.w f0,1ff; 1.w f0,1ff; 2.w f0,1ff; 3.w f0,1ff; ";
void check(std::string_view script, std::string_view expected) {
  EXPECT_EQ(testing::ApicScript().run(std::string(enable) + std::string(script)), expected) << script;
}
TEST(ApicTimer, OneShot) {
  check(
      "w 3e0,b; w 320,31; w 380,3e8; alarms; r 390; tick 64; r 390; tick 383; intr; r 390; tick 1; intr; r 390; ack; "
      "alarms; tick 3e8; ack; r 380",
      "1 3e8 384 0 1 1 0 31 0 - 3e8");
  check("w 320,31; w 380,64; tick c7; r 390; intr; tick 1; ack", "1 0 31");     // divided by 2
  check("w 3e0,a; w 320,31; w 380,64; tick 31ff; r 390; tick 1; ack", "1 31");  // by 128
  check("w 3e0,b; w 320,31; w 380,64; w 380,0; alarms; tick 64; intr", "0 0");  // zero stops
  check("w 3e0,b; w 320,31; w 380,ffffffff; tick ffffffff; r 390; ack", "0 31");
  check("w 3e0,b; w 320,31; w 380,64; tick 32; w 3e0,0; r 390; tick 63; r 390; intr; tick 1; intr", "32 1 0 1");
}

TEST(ApicTimer, Masked) {
  check("w 3e0,b; w 320,10031; w 380,64; alarms; tick 32; r 390; w 320,31; alarms; tick 32; ack", "0 32 1 31");
  check("w 3e0,b; w 320,10031; w 380,64; tick 65; w 320,31; intr; alarms; r 390", "0 0 0");  // gone while it was masked
  check(
      "w 3e0,b; w 320,30031; w 380,10000; tick 18000; alarms; r 390; w 320,20031; alarms; tick 7fff; intr; tick 1; "
      "intr",
      "0 8000 1 0 1");
}

TEST(ApicTimer, Periodic) {
  check(
      "w 3e0,b; w 320,20031; w 380,10000; tick ffff; intr; tick 1; ack; eoi; r 390; tick 10000; ack; eoi; alarms; tick "
      "ffff; ack",
      "0 31 10000 31 1 -");
  check("w 3e0,b; w 320,20031; w 380,10000; tick 30000; ack; eoi; ack",
        "31 -");  // what came before the acknowledgement coalesced
  check("w 3e0,b; w 320,31; w 380,10000; tick 8000; w 320,20031; tick 8000; ack; r 390",
        "31 10000");  // made periodic on the way
  check("w 3e0,b; w 320,20031; w 380,10000; tick 8000; w 320,31; tick 8000; ack; r 390; alarms", "31 0 0");
}

TEST(ApicTimer, ShortPeriodsCoalesce) {
  ApicSystem system(1);
  LocalApic& apic = *system.apics[0];
  apic.write(0xf0, 0x1ff);
  apic.write(0x3e0, 0xb);
  apic.write(0x320, 0x20031);
  apic.write(0x380, 1);
  unsigned interrupts = 0;
  for (unsigned i = 0; i < 1000; ++i) {
    system.clock.advance(1'000);
    if (!apic.acknowledge()) continue;
    ++interrupts;
    apic.write(0xb0, 0);
  }
  EXPECT_EQ(interrupts, 50u);
  EXPECT_EQ(system.clock.fired(), 50u);
}

TEST(ApicTimer, TscDeadline) {
  constexpr std::string_view deadline = "w 320,40031; tick 64; ";
  check(std::string(deadline) +
            "wrmsr 6e0,c8; rdmsr 6e0; alarms; tick 63; intr; tick 1; ack; rdmsr 6e0; alarms; r 380; r 390",
        "c8 1 0 31 0 0 0 0");
  check(std::string(deadline) + "wrmsr 6e0,64; intr; rdmsr 6e0; alarms", "1 0 0");           // past: at once
  check(std::string(deadline) + "wrmsr 6e0,c8; wrmsr 6e0,0; alarms; tick 64; intr", "0 0");  // zero disarms
  check(std::string(deadline) + "wrmsr 6e0,c8; w 320,31; rdmsr 6e0; w 320,40031; rdmsr 6e0; tick 100; intr", "0 0 0");
  check(std::string(deadline) + "w 380,64; r 380; alarms; w 320,31; wrmsr 6e0,c8; rdmsr 6e0; alarms", "0 0 0 0");
  check(std::string(deadline) + "offset 1000; wrmsr 6e0,10c8; tick 63; intr; tick 1; intr", "0 1");
  check(std::string(deadline) + "wrmsr 6e0,c8; offset ffffffffffffffce; tick 64; intr; tick 32; intr",
        "0 1");  // the TSC went back by 50
  check(std::string(deadline) + "wrmsr 6e0,c8; offset 1000; intr", "1");
  check(std::string(deadline) + "wrmsr 6e0,ffffffffffffffff; offset 10; rdmsr 6e0; tick ffffffffffff; intr",
        "ffffffffffffffff 0");
  check(std::string(deadline) + "w 320,50031; wrmsr 6e0,c8; alarms; tick 65; rdmsr 6e0; w 320,40031; intr", "0 0 0");
}

TEST(ApicTimer, PausesAndResumes) {
  check("w 3e0,b; w 320,31; w 380,64; pause; alarms; resume; alarms; tick 64; ack", "0 1 31");
  check("w 3e0,b; w 320,31; w 380,64; pause; tick 64; r 390; intr; resume; ack", "0 0 31");
}

}  // namespace
}  // namespace doppel
