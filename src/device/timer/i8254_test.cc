// The 8254's modes, latches, gates and its interrupt, by the datasheet's timing diagrams; and ports 0x61 and 0x92.
#include "device/timer/i8254.h"

#include "device/testing/port_script.h"
#include "device/timer/system_control.h"

namespace doppel {
namespace {

class PitRig : public testing::ScriptRig {
 public:
  PitRig() {
    attach(pit);
    attach(system);
    map(0x40, I8254::port_count, pit);
    map(0x61, 1, system.port_61());
    map(0x92, 1, system.port_92());
  }
  bool command(std::string_view name, std::string_view rest) override {
    if (name == "speaker") {  // port 0x61 without the refresh bit, which depends on the time only
      say(fmt::format("{:x}", bus.read(0x61, 1) & 0x2f));
      return true;
    }
    if (name != "tick") return false;
    const u64 tick = ticks_of(clock.now(), I8254::frequency_hz) + testing::parse_number(rest, 10);
    pass(time_of_ticks(tick, I8254::frequency_hz) - clock.now());
    return true;
  }
  I8254 pit{clock, line("irq0")};
  SystemControl system{clock, pit, [this] { say("reset"); }};
};

constexpr auto check = testing::check_script<PitRig>;

TEST(I8254, InterruptOfChannel0) {
  // Mode 0: loaded on the next pulse, OUT rises N pulses later, once.
  check("out 43,30; out 40,3; out 40,0; tick 3; tick 1; tick 100000", "| +irq0 | |");
  // A new count lowers OUT with its first byte.
  check("out 43,30; out 40,3; out 40,0; tick 9; out 40,5; tick 50; out 40,0; tick 5; tick 1",
        "+irq0 | -irq0 | | +irq0 |");
  // Mode 2: an edge every N pulses; OUT is high from the control word on.
  check("out 43,34; out 40,64; out 40,0; tick 100; tick 1; tick 99; tick 1", "+irq0 | -irq0 +irq0 | | -irq0 +irq0 |");
  // A count of zero is 65536, or 10000 in BCD.
  check("out 43,34; out 40,0; out 40,0; tick 65536; tick 1", "+irq0 | -irq0 +irq0 |");
  check("out 43,35; out 40,0; out 40,0; tick 10000; tick 1", "+irq0 | -irq0 +irq0 |");
  check("out 43,35; out 40,0; out 40,1; tick 100; tick 1", "+irq0 | -irq0 +irq0 |");
  // Modes 2 and 3 take a new count at the end of the period, and of the half period.
  check("out 43,34; out 40,64; out 40,0; tick 50; out 40,c8; out 40,0; tick 51; tick 199; tick 1",
        "+irq0 | -irq0 +irq0 | | -irq0 +irq0 |");
  check("out 43,36; out 40,64; out 40,0; tick 11; out 40,c8; out 40,0; tick 139; tick 1", "+irq0 | | -irq0 +irq0 |");
  // Mode 4: one pulse low at N, so an edge at N + 1.
  check("out 43,38; out 40,5; out 40,0; tick 6; tick 1; tick 70000", "+irq0 | -irq0 +irq0 | |");
  // Switched off: mode 0 without a count.
  check("out 43,34; out 40,64; out 40,0; tick 5; out 43,30; tick 70000", "+irq0 | -irq0 |");
  // Modes 1 and 5 wait for a gate that channel 0 does not have.
  check("out 43,3a; out 40,5; out 40,0; tick 70000", "+irq0 |");
}

TEST(I8254, Counts) {
  check("out 43,34; out 40,64; out 40,0; tick 1; in 40; in 40; tick 60; in 40; in 40", "+irq0 | 64 0 | 28 0");
  // Mode 3 counts by two, odd counts from N - 1, twice a period.
  check("out 43,36; out 40,6; out 40,0; tick 1; in 40; in 40; tick 1; in 40; in 40; tick 2; in 40; in 40",
        "+irq0 | 6 0 | 4 0 | 6 0");
  check("out 43,16; out 40,5; tick 1; in 40; tick 2; in 40; tick 1; in 40; tick 1; in 40", "+irq0 | 4 | 0 | 4 | 2");
  // BCD, and the wrap after the end.
  check("out 43,71; out 41,0; out 41,10; tick 2; in 41; in 41; tick 1000; in 41; in 41", "| 99 9 | 99 99");
  check("out 43,70; out 41,2; out 41,0; tick 4; in 41; in 41", "| ff ff");
  // One byte only.
  check("out 43,50; out 41,20; tick 17; in 41; in 41", "| 10 10");
  check("out 43,60; out 41,20; tick 17; in 41; in 41", "| 1f 1f");
}

TEST(I8254, Latches) {
  // The latched count stands until it is read; a second latch command changes nothing.
  check("out 43,74; out 41,0; out 41,10; tick 1; out 43,40; tick 4; out 43,40; in 41; in 41; in 41; in 41",
        "| | 0 10 fc f");
  // Read-back: status before count. Status: OUT, null count, access, mode, BCD.
  check("out 43,74; out 41,0; out 41,10; out 43,e4; in 41; tick 1; out 43,e4; in 41", "f4 | b4");
  check("out 43,74; out 41,0; out 41,10; tick 1; out 43,c4; tick 9; in 41; in 41; in 41; in 41", "| | b4 0 10 f7");
  check("out 43,70; out 41,3; out 41,0; out 43,e4; in 41; tick 4; out 43,e4; in 41; in 43", "70 | b0 ff");
  // Null count of a count that waits for the end of the period.
  check("out 43,54; out 41,64; tick 5; out 41,32; out 43,e4; in 41; tick 96; out 43,e4; in 41; in 41", "| d4 | 94 32");
  // A control word drops latches.
  check("out 43,54; out 41,64; tick 3; out 43,40; out 43,54; out 41,20; tick 1; in 41", "| | 20");
}

TEST(I8254, Channel2) {
  // Mode 0 counts only with the gate high: how Linux measures the TSC (50 ms, OUT seen in bit 5).
  check("out 61,0; out 43,b0; out 42,b; out 42,e9; out 61,1; ms 49; speaker; ms 1; speaker", "| 1 | 21");
  check("out 61,1; out 43,b0; out 42,64; out 42,0; tick 50; out 61,0; tick 500; speaker; out 61,1; tick 51; speaker",
        "| | 0 | 21");
  // Mode 1: a one-shot that each rise of the gate starts anew.
  check(
      "out 43,92; out 42,10; speaker; out 61,1; tick 1; speaker; out 61,0; tick 8; out 61,1; tick 16; speaker; tick 1; "
      "speaker",
      "20 | 1 | | 1 | 21");
  // Mode 2: the gate low holds OUT high, its rise starts a period.
  check(
      "out 61,1; out 43,94; out 42,4; tick 4; speaker; out 61,0; speaker; tick 9; out 61,1; tick 1; in 42; tick 3; "
      "speaker",
      "| 1 20 | | 4 | 1");
  // Mode 5: one low pulse N after the trigger.
  check("out 43,9a; out 42,4; tick 9; speaker; out 61,1; tick 5; speaker; tick 1; speaker", "| 20 | 1 | 21");
}

TEST(SystemControl, Ports) {
  check("out 61,ff; in 61; us 16; in 61; us 15; in 61", "f | 1f | f");  // the refresh bit toggles
  check("in 92; out 92,0; in 92; out 92,3; in 92; out 92,3; out 92,2; out 92,1", "2 0 reset 3 reset");
}

TEST(I8254, NoTimerRunsForNothing) {
  PitRig rig;
  rig.run("out 43,b6");  // channel 2 as a tone
  rig.run("out 42,20");
  rig.run("out 42,0");
  EXPECT_EQ(rig.clock.armed(), 0u);
  rig.run("out 43,30");  // channel 0, one shot
  rig.run("out 40,20");
  rig.run("out 40,0");
  EXPECT_EQ(rig.clock.armed(), 1u);
  rig.run("s 1");
  EXPECT_EQ(rig.clock.armed(), 0u);
  // The fastest square wave burns no more than an alarm every 20 µs.
  rig.run("out 43,16");
  rig.run("out 40,1");
  const u64 before = rig.clock.fired();
  rig.run("s 1");
  EXPECT_LE(rig.clock.fired() - before, 50'001u);
}

}  // namespace
}  // namespace doppel
