// The ACPI block's events, timer, power-off and mode switch.
#include "device/acpi/pm.h"

#include "device/testing/port_script.h"

namespace doppel {
namespace {

template <AcpiPm::TimerWidth width>
class PmRig : public testing::ScriptRig {
 public:
  PmRig() {
    attach(pm);
    map(0x600, AcpiPm::block_bytes, pm);
    map(AcpiPm::smi_command_port, 2, pm.apm_ports());
  }
  bool command(std::string_view name, std::string_view rest) override {
    if (name == "press") pm.press_power_button();
    if (name == "gpe") pm.raise_gpe(static_cast<unsigned>(testing::parse_number(rest, 10)));
    return name == "press" || name == "gpe";
  }
  AcpiPm pm{clock, line("sci"), width, [this] { say("off"); }};
};

constexpr auto check = testing::check_script<PmRig<AcpiPm::TimerWidth::bits32>>;
constexpr auto check24 = testing::check_script<PmRig<AcpiPm::TimerWidth::bits24>>;

TEST(AcpiPm, Timer) {
  check("inl 608; s 1; inl 608; inw 608; in 60a; outl 608,0; inl 608; s 1200; inl 608",
        "0 | 369e99 9e99 36 369e99 | 3e0bc9");
  check24("s 5; inl 608", "| 1118fd");
  // TMR_STS with each change of the top bit: after 599.93 s, or 2.34 s with 24 bits.
  check("s 599; inw 600; s 1; inw 600; outw 600,1; inw 600; s 600; inw 600", "| 0 | 1 0 | 1");
  check24("outw 602,1; s 2; s 1; outw 600,1; s 1; s 1; in 600; out 600,1", "| +sci | -sci | +sci | 1 -sci");
}

TEST(AcpiPm, Events) {
  check("press; inw 600; outw 602,100; outw 600,1; outw 600,100; inw 600", "100 +sci -sci 0");
  check("out 603,1; press; outw 602,0; inw 600; outl 600,1000100; inl 600; press", "+sci -sci 100 1000000 +sci");
  check("gpe 3; gpe 9; inw 60c; out 60f,2; outw 60c,200; inl 60c", "208 +sci -sci 2000008");
  check("outw 602,ffff; inw 602; outw 60e,ffff; inw 60e; outq 630,ffffffffffffffff; inq 630", "721 ffff 0");
}

TEST(AcpiPm, ModeSwitch) {
  check("inw 604; outw 602,100; out b2,f0; inw 604; press; out b2,f1; in b2; inw 604", "1 0 +sci f1 1");
  check("out b3,55; in b3; inw b2; outw 604,0; inw 604", "55 5500 0");
}

TEST(AcpiPm, SoftOff) {
  check("outw 604,2001; inw 604", "off 1");
  check("outw 604,1; outw 604,1c01; inw 604; outw 604,3401", "1c01");  // other sleep types do nothing
  check("out 605,20", "off");
}

TEST(AcpiPm, NoTimerRunsForNothing) {
  PmRig<AcpiPm::TimerWidth::bits24> rig;
  EXPECT_EQ(rig.clock.armed(), 0u);
  rig.run("outw 602,1");
  EXPECT_EQ(rig.clock.armed(), 1u);
  rig.run("out b2,f0");  // no SCI without ACPI mode
  EXPECT_EQ(rig.clock.armed(), 0u);
}

}  // namespace
}  // namespace doppel
