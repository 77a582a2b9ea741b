// The RTC's time, update cycle, interrupts and memory; BCD and binary, 12 and 24 hours; what Linux does to set the time.
#include "device/timer/mc146818.h"

#include "device/testing/port_script.h"

namespace doppel {
namespace {

constexpr i64 leap_day_eve = 1'709'164'798;  // Wednesday 28 February 2024, 23:59:58 UTC

class RtcRig : public testing::ScriptRig {
 public:
  RtcRig() {
    attach(rtc);
    map(0x70, Mc146818::port_count, rtc);
  }
  void select(std::string_view index) { bus.write(0x70, 1, testing::parse_number(index, 16)); }
  // r INDEX, w INDEX,VALUE: registers. time: century, year, month, day, weekday, hour, minute, second.
  bool command(std::string_view name, std::string_view rest) override {
    if (name == "r") {
      select(rest);
      run("in 71");
    } else if (name == "w") {
      select(rest.substr(0, rest.find(',')));
      run("out 71" + std::string(rest.substr(rest.find(','))));
    } else if (name == "time") {
      std::string text;
      for (const u8 index : {0x32, 9, 8, 7, 6, 4, 2, 0}) {
        bus.write(0x70, 1, index);
        text += fmt::format("{:02x}{}", bus.read(0x71, 1), index == 0 ? "" : ".");
      }
      say(text);
    } else {
      return false;
    }
    return true;
  }
  Mc146818 rtc{clock, line("irq8"), leap_day_eve};
};

constexpr auto check = testing::check_script<RtcRig>;

TEST(Mc146818, Time) {
  check("time; ms 1999; time; ms 1; time; s 86400; time",
        "20.24.02.28.04.23.59.58 | 20.24.02.28.04.23.59.59 | 20.24.02.29.05.00.00.00 | "
        "20.24.03.01.06.00.00.00");
  check("w b,6; time; s 2; time", "14.18.02.1c.04.17.3b.3a | 14.18.02.1d.05.00.00.00");  // binary
  check("w b,0; time; s 2; time; s 43200; time; s 46800; time",                          // 12 hours
        "20.24.02.28.04.91.59.58 | 20.24.02.29.05.12.00.00 | 20.24.02.29.05.92.00.00 | 20.24.03.01.06.01.00.00");
  check("w b,82; w 32,99; w 9,99; w 8,12; w 7,31; w 4,23; w 2,59; w 0,59; w b,2; time; s 1; time",
        "99.99.12.31.04.23.59.59 | 00.00.01.01.05.00.00.00");
}

TEST(Mc146818, SettingTheTime) {
  // SET: the registers stand still and take anything; the fraction of the second goes on.
  check(
      "ms 700; w b,82; w 32,19; w 9,99; w 8,12; w 7,31; w 4,23; w 2,59; w 0,59; w 6,6; time; s 5; time; w b,2; time; "
      "ms 300; time",
      "| 19.99.12.31.06.23.59.59 | 19.99.12.31.06.23.59.59 19.99.12.31.06.23.59.59 | 20.00.01.01.07.00.00.00");
  // As Linux does: with the divider held in reset; the next second then begins after half a second.
  check("ms 700; w b,82; w a,76; w 0,0; w 2,0; w 4,12; w b,2; w a,26; ms 499; time; ms 1; time",
        "| | 20.24.02.28.04.12.00.00 | 20.24.02.28.04.12.00.01");
  // Without SET, too.
  check("w 4,12; time; s 2; time", "20.24.02.28.04.12.59.58 | 20.24.02.28.04.13.00.00");
  check("w 6,1; time; s 2; time", "20.24.02.28.01.23.59.58 | 20.24.02.29.02.00.00.00");
  // Impossible values are brought into range when the clock runs.
  check("w b,82; w 8,ff; w 7,0; w 4,99; w 2,ff; w 0,ab; w 32,ff; time; w b,2; time",
        "ff.24.ff.00.04.99.ff.ab 99.24.12.01.04.23.59.59");
}

TEST(Mc146818, UpdateInProgress) {
  check("r a; us 997771; r a; us 2; r a; us 2227; r a", "26 | 26 | a6 | 26");
  check("ms 999; w b,82; r a; w a,76; w b,2; r a; ms 999; r a", "| 26 76 | 76");  // not while the time stands still
  check("w a,ff; r a", "7f");
}

TEST(Mc146818, Flags) {
  // Flags are set whether or not they interrupt; reading register C clears them.
  check("w a,20; w 1,c0; w 3,c0; w 5,c0; r c; s 1; r c; r c", "0 | 30 0");
  check("r c; ms 1; r c; r c", "0 | 40 0");  // 1024 Hz
  check("w b,12; s 1; s 1; r c; r c; s 1; r c", "+irq8 | | -irq8 f0 0 +irq8 | -irq8 d0");
  check("w a,2f; w b,42; ms 499; ms 1; r c; ms 500; r c", "| +irq8 | -irq8 c0 +irq8 | -irq8 d0");  // 2 Hz
  check("w a,21; w b,42; us 3906; us 1; r c", "| +irq8 | -irq8 c0");                               // 256 Hz
  check("w a,23; w b,42; us 122; us 1; r c", "| +irq8 | -irq8 c0");                                // 8192 Hz
  // Enabling an interrupt whose flag is set raises it at once; disabling lowers it.
  check("s 1; w b,42; w b,2; w b,12", "| +irq8 -irq8 +irq8");
  // SET disables the update interrupt.
  check("w b,92; r b; s 2; r c", "82 | 40");
}

TEST(Mc146818, Alarm) {
  check("w a,20; w 1,30; w 3,0; w 5,12; w b,22; s 43231; s 1; r c; s 86399; s 1; r c",
        "| +irq8 | -irq8 b0 | +irq8 | -irq8 b0");
  check("w a,20; w 1,5; w 3,ff; w 5,c0; w b,22; s 6; s 1; r c; s 60; r c", "| +irq8 | -irq8 b0 +irq8 | -irq8 b0");
  check("w a,20; w 1,61; w 3,ff; w 5,ff; w b,22; s 86400; r c", "| 10");  // never
}

TEST(Mc146818, MemoryAndPorts) {
  check("w 50,aa; r 50; r d; w d,0; r d; w c,ff; r c; in 70", "aa 80 80 0 ff");
  check("out 72,7f; out 73,55; out 72,0; out 73,66; out 72,7f; in 73; out 72,80; in 73; r 7f", "55 66 0");
  check("outw 70,aa51; r 51", "aa");
}

TEST(Mc146818, FirmwareBytesAndNmiMask) {
  RtcRig rig;
  rig.rtc.set_memory_size(3 * u64{1} << 30, u64{5} << 30);
  rig.rtc.set_cmos(0x5f, 3);
  for (const char* index : {"15", "16", "17", "18", "34", "35", "5b", "5c", "5d", "5f"}) rig.command("r", index);
  EXPECT_EQ(rig.transcript, "80 2 ff ff 0 bf 0 40 1 3");  // (5 GiB / 64 KiB = 0x14000)
  rig.bus.write(0x70, 1, 0x8f);
  EXPECT_TRUE(rig.rtc.nmi_masked());
  rig.bus.write(0x70, 1, 0x0f);
  EXPECT_FALSE(rig.rtc.nmi_masked());
}

TEST(Mc146818, NoTimerRunsForNothing) {
  RtcRig rig;
  EXPECT_EQ(rig.clock.armed(), 0u);
  rig.command("w", "b,72");
  EXPECT_EQ(rig.clock.armed(), 1u);
  rig.run("s 1");  // the line is high until register C is read
  EXPECT_EQ(rig.clock.armed(), 0u);
  EXPECT_EQ(rig.clock.fired(), 1u);
}

}  // namespace
}  // namespace doppel
