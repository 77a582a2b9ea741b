// Registers, acceptance, messages, pins and modes, as scripts (device/testing/apic_script.h).
#include "device/interrupt/local_apic.h"

#include <gtest/gtest.h>

#include "device/testing/apic_script.h"

namespace doppel {
namespace {

void check_from_reset(std::string_view script, std::string_view expected) {
  EXPECT_EQ(testing::ApicScript().run(script), expected) << script;
}

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

TEST(LocalApic, ResetState) {
  check_from_reset("r 20; 3.r 20; r 30; r 80; r a0; r d0; r e0; r f0; r 280; r 300; r 380; r 3e0",
                   "0 3000000 1050014 0 0 0 ffffffff ff 0 0 0 0");
  check_from_reset("r 320; r 330; r 340; r 350; r 360; r 370; intr; alarms", "10000 10000 10000 10000 10000 10000 0 0");
  check_from_reset("rdmsr 1b; 1.rdmsr 1b; page; rdmsr 802; rdmsr 6e0", "fee00900 fee00800 fee00000 - 0");
}

TEST(LocalApic, WritableBits) {
  check("w d0,ffffffff; r d0; w e0,0; r e0; w f0,ffffffff; r f0; w 80,1234; r 80", "ff000000 fffffff 13ff 34");
  check("w 320,ffffffff; r 320; w 330,ffffffff; r 330; w 340,ffffffff; r 340; w 370,ffffffff; r 370",
        "700ff 107ff 107ff 100ff");
  check("w 350,ffffffff; r 350; w 360,ffffffff; r 360; w 3e0,ffffffff; r 3e0; w 20,ff000000; r 20; w 30,0; r 30",
        "1a7ff 1a7ff b 0 1050014");
  check("w 310,ffffffff; r 310; r b0; r 84; w 84,ff; r 80", "ff000000 0 0 0");
}

TEST(LocalApic, DeliversByPriority) {
  check("msi fee00000,31; msi fee00000,52; intr; ack; ack; r 120; r 210; r 220", "1 52 - 40000 20000 0");
  check("msi fee00000,31; msi fee00000,52; ack; r a0; eoi; r a0; ack; eoi; ack; intr", "52 50 0 31 - 0");
  check("msi fee00000,31; ack; msi fee00000,38; intr; msi fee00000,41; ack; eoi; intr; eoi; ack",
        "31 0 41 0 38");  // by class
  check("msi fee00000,31; msi fee00000,31; ack; msi fee00000,31; eoi; ack; eoi; ack",
        "31 31 -");  // coalesces, but not with the ISR
  check("1.intr; msi fee01000,31; 0.intr; 1.intr; 1.ack", "0 0 1 31");
}

TEST(LocalApic, TaskPriorityHoldsOff) {
  check("cr8 4; r 80; msi fee00000,4f; intr; ack; cr8 3; intr; ack; getcr8", "40 0 - 1 4f 3");
  check("w 80,45; getcr8; r a0; msi fee00000,31; msi fee00000,51; ack; r a0; cr8 7; r a0", "4 45 51 50 70");
  check("msi fee00000,31; intr; cr8 f; intr; cr8 0; intr", "1 0 1");
}

TEST(LocalApic, SoftwareDisabled) {
  check_from_reset("msi fee00000,31; intr; w 350,700; r 350", "0 10700");
  check("w 320,31; w 350,700; msi fee00000,41; w f0,ff; r 320; r 350; intr; ack", "10031 10700 1 41");  // IRR stays
  check_from_reset("msi fee00000,400; events; msi fee00000,500; events", "nmi init");
}

TEST(LocalApic, EndOfInterruptReachesTheIoApic) {
  check("rte 9,8040; irq 9,1; r 1a0; ack; reg 22; eoi; reg 22; ack; irq 9,0; eoi; reg 22; ack",
        "1 40 c040 c040 40 8040 -");
  check("rte 9,40; irq 9,1; r 1a0; ack; eoi; intr", "0 40 0");
  check("w f0,11ff; rte 9,8040; irq 9,1; ack; eoi; reg 22; intr", "40 c040 0");  // EOI broadcast suppressed
  check("eoi; intr; r 280", "0 0");                                              // nothing in service
}

TEST(LocalApic, IpiPhysicalAndShorthands) {
  check("w 310,2000000; w 300,4031; 0.ack; 1.ack; 2.ack; r 300; r 310", "- - 31 4031 2000000");
  check("w 310,ff000000; w 300,4031; 0.ack; 1.ack; 2.ack; 3.ack", "31 31 31 31");
  check("1.w 300,c4031; 0.ack; 1.ack; 2.ack; 3.ack", "31 - 31 31");
  check("1.w 300,84031; 0.ack; 1.ack; 2.ack; 3.ack", "31 31 31 31");
  check("1.w 300,44031; 0.ack; 1.ack; 2.ack", "- 31 -");
  check("w 310,9000000; w 300,4031; 0.ack; 1.ack; 2.ack; 3.ack; w 280,0; r 280", "- - - - 0");  // nobody there
  check("w 300,cc031; 1.r 190; 1.ack", "0 31");  // a level-triggered IPI is an edge
}

TEST(LocalApic, IpiStartsProcessors) {
  check("w 310,1000000; w 300,c500; w 300,8500; w 300,469a; 1.events; 2.events", "init sipi9a none");
  check("w 300,c4400; 0.events; 1.events; 3.events", "none nmi nmi");
  check("w 310,1000000; w 300,4200; w 300,4300; w 300,4700; 1.events; 1.intr", "none 0");  // SMI, remote read, reserved
}

TEST(LocalApic, InitResetsAllButTheBaseAndId) {
  check(
      "2.w d0,4000000; 2.cr8 5; 2.w 320,40; msi fee02000,31; w 310,2000000; w 300,4500; 2.events; 2.r f0; 2.r d0; "
      "2.getcr8; 2.r 20; 2.r 320; 2.r 200",
      "init ff 0 0 2000000 10000 0");
  check_x2apic("wrmsr 830,200004500; 2.events; 2.rdmsr 1b; 2.rdmsr 80d; 2.rdmsr 80f", "init fee00c00 4 ff");
}

TEST(LocalApic, LogicalDestinations) {
  constexpr std::string_view flat = "0.w d0,1000000; 1.w d0,2000000; 2.w d0,4000000; 3.w d0,8000000; ";
  check(std::string(flat) + "w 310,a000000; w 300,4831; 0.ack; 1.ack; 2.ack; 3.ack", "- 31 - 31");
  check(std::string(flat) + "msi fee0500c,31; intr; 2.intr",
        "0 1");  // redirected to one: the vector chooses among equals
  check(std::string(flat) + "msi fee05004,31; intr; 2.intr; 3.intr", "1 1 0");  // logical without redirection hint
  constexpr std::string_view cluster =
      "0.w e0,0; 1.w e0,0; 2.w e0,0; 3.w e0,0; 0.w d0,11000000; 1.w d0,12000000; 2.w d0,21000000; 3.w d0,28000000; ";
  check(std::string(cluster) + "w 310,13000000; w 300,4831; 0.ack; 1.ack; 2.ack; 3.ack", "31 31 - -");
  check(std::string(cluster) + "w 310,29000000; w 300,4831; 0.ack; 1.ack; 2.ack; 3.ack", "- - 31 31");
  check(std::string(cluster) + "w 310,ff000000; w 300,4831; 0.ack; 1.ack; 2.ack; 3.ack", "31 31 31 31");
}

TEST(LocalApic, LowestPriority) {
  constexpr std::string_view
      flat = "0.w d0,1000000; 1.w d0,2000000; 2.w d0,4000000; 3.w d0,8000000; 0.cr8 5; 1.cr8 2; 2.cr8 4; 3.cr8 3; ";
  check(std::string(flat) + "w 310,d000000; w 300,4981; 0.intr; 1.intr; 2.intr; 3.intr", "0 0 0 1");
  check(std::string(flat) + "w 310,f000000; w 300,4981; 0.intr; 1.intr; 2.intr; 3.intr", "0 1 0 0");
  check(std::string(flat) + "1.w f0,ff; w 310,f000000; w 300,4981; 1.intr; 3.intr",
        "0 1");                                                          // a disabled one takes nothing
  check("msi fee0f00c,130; 0.intr; 1.intr; 2.intr; 3.intr", "0 0 0 0");  // no logical IDs
  check("0.w d0,1000000; 1.w d0,2000000; msi fee03004,130; msi fee03004,131; 0.ack; 1.ack", "30 31");
  check("msi fee01000,131; 1.ack", "31");
}

TEST(LocalApic, MsiFormat) {
  check("msi fee03000,8031; 3.intr; msi fee03000,c031; 3.r 190; 3.ack", "0 20000 31");  // level de-assert is nothing
  check("msi 1fee00000,31; msi fef00000,31; msi fee00000,331; msi fee00000,631; intr; events", "0 none");
  check("msi feeff000,31; 0.ack; 1.ack; 2.ack; 3.ack", "31 31 31 31");
  check("msi fee09000,31; msi fee00000,0200; intr; events", "0 none");
}

TEST(LocalApic, X2apicRegisters) {
  check_x2apic("page; r 20; 3.rdmsr 802; 3.rdmsr 803; 3.rdmsr 80d; rdmsr 80f; rdmsr 832",
               "- ffffffff 3 1050014 8 1ff 10000");
  check_x2apic("rdmsr 80b; rdmsr 83f; rdmsr 80e; rdmsr 831; rdmsr 82f; rdmsr 801; rdmsr 840; rdmsr 8ff; rdmsr 809",
               "- - - - - - - - -");
  check_x2apic(
      "wrmsr 802,0; wrmsr 803,0; wrmsr 80a,0; wrmsr 80d,0; wrmsr 80e,0; wrmsr 810,0; wrmsr 839,0; wrmsr 831,0; wrmsr "
      "840,0",
      "gp gp gp gp gp gp gp gp gp");
  check_x2apic(
      "wrmsr 80b,1; wrmsr 828,1; wrmsr 808,100; wrmsr 80f,2000; wrmsr 832,80000; wrmsr 835,20000; wrmsr 83e,4; wrmsr "
      "83f,100; wrmsr 838,100000000",
      "gp gp gp gp gp gp gp gp gp");
  check_x2apic("wrmsr 830,2000; wrmsr 830,10000; wrmsr 830,20000; wrmsr 830,100000; wrmsr 830,1000; rdmsr 830",
               "gp gp gp gp 0");
  check_x2apic("wrmsr 808,45; rdmsr 808; rdmsr 80a; getcr8; wrmsr 80b,0; wrmsr 828,0", "45 45 4");
  check("rdmsr 808; wrmsr 808,0", "- gp");  // not in xAPIC mode
}

TEST(LocalApic, X2apicInterprocessorInterrupts) {
  check_x2apic("wrmsr 830,200004031; 2.ack; rdmsr 830", "31 200004031");
  check_x2apic("wrmsr 830,ffffffff00004031; 0.ack; 3.ack", "31 31");
  check_x2apic("wrmsr 830,ff00004031; 0.ack; 3.ack", "- -");                     // not a broadcast with 32-bit IDs
  check_x2apic("wrmsr 830,a00004831; 0.ack; 1.ack; 2.ack; 3.ack", "- 31 - 31");  // cluster 0, members 1 and 3
  check_x2apic("wrmsr 830,1000f00004831; 0.ack; 1.ack", "- -");                  // cluster 1
  check_x2apic("wrmsr 830,c0031; 0.ack; 1.ack; wrmsr 83f,32; ack", "- 31 32");
  check_x2apic("msi fee06004,31; 1.ack; 2.ack; msi feeff000,41; 1.ack; 3.ack", "31 31 41 41");  // 8-bit senders
}

TEST(LocalApic, BaseTransitions) {
  check("wrmsr 1b,fee00d00; wrmsr 1b,fee00900; rdmsr 1b; wrmsr 1b,fee00500; wrmsr 1b,fee00100; rdmsr 1b; page",
        "gp fee00d00 gp fee00100 -");
  check("wrmsr 1b,fee00100; wrmsr 1b,fee00d00; wrmsr 1b,fee00900; wrmsr 1b,fee00d00; rdmsr 1b; rdmsr 80f",
        "gp fee00d00 ff");
  check("wrmsr 1b,fee00901; wrmsr 1b,fee00b00; wrmsr 1b,100fee00900; rdmsr 1b", "gp gp gp fee00900");
  check("wrmsr 1b,80000900; page; wrmsr 1b,fffffff900; page", "80000000 fffffff000");
  check(
      "msi fee00000,31; cr8 5; wrmsr 1b,fee00100; intr; r 80; msi fee00000,31; ack; wrmsr 1b,fee00900; r 80; r f0; ack",
      "0 ffffffff - 0 ff -");
  check("wrmsr 1b,fee00100; reset; rdmsr 1b", "fee00900");
}

TEST(LocalApic, LintPins) {
  check("w 360,400; lint 1,1; lint 1,1; events; lint 1,0; lint 1,1; events", "nmi nmi");
  check("w 350,31; lint 0,1; lint 0,0; ack; eoi; ack", "31 -");  // fixed, edge
  check("w 350,8031; lint 0,1; r 350; ack; eoi; ack; lint 0,0; eoi; r 350; ack", "c031 31 31 8031 -");
  check("w 350,18031; lint 0,1; intr; w 350,8031; ack", "0 31");  // a level waits for its mask
  check("w 360,10400; lint 1,1; events; w 360,500; lint 1,0; lint 1,1; events; r 360", "none init 10000");
  check("wrmsr 1b,fee00100; lint 1,1; events", "nmi");  // the pins of a processor without APIC
}

TEST(LocalApic, ExternalController) {
  constexpr std::string_view pic = "w 350,700; ";
  check(std::string(pic) + "pic 4; intr; 1.intr; ack; intr", "1 0 4 0");
  check(std::string(pic) + "pic 4; msi fee00000,31; ack; ack; ack", "31 4 -");
  check(std::string(pic) + "cr8 f; pic 4; intr; ack", "1 4");  // not subject to priorities
  check(std::string(pic) + "pic 4; intr; w 350,10700; intr; ack; w 350,700; ack", "1 0 - 4");
  check_from_reset("pic 4; intr; wrmsr 1b,fee00100; intr; ack; intr", "0 1 4 0");
  check("rte 0,700; pic 4; irq 0,1; intr; ack; intr; ack", "1 4 0 -");  // ExtINT through the I/O APIC
}

TEST(LocalApic, Errors) {
  check("w 370,fe; w 300,4405; w 300,4005; intr; r 280; w 280,0; r 280; ack", "1 0 20 fe");
  check("msi fee00000,0f; msi fee00000,10; w 280,0; r 280; ack", "40 10");
  check("w 300,4400f; w 280,0; r 280; r 40; w 400,1; w 3f0,31; w 280,0; r 280; w 280,0; r 280; intr", "60 0 80 0 0");
  check("w 370,fe; r 40; ack; eoi; r 40; ack; w 280,0; r 40; ack", "0 fe 0 - 0 fe");  // once until ESR is written
  check("w 370,5; r 40; w 280,0; r 280; intr", "0 c0 0");  // the error vector itself is illegal
  check("r 90; r c0; w 90,1; w 280,0; r 280", "0 0 0");
}

}  // namespace
}  // namespace doppel
