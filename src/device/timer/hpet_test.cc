// The HPET's counter, comparators, periods, routing and access widths, and what Linux's driver does with them.
#include "device/timer/hpet.h"

#include "device/testing/port_script.h"

namespace doppel {
namespace {

class HpetRig : public testing::ScriptRig {
 public:
  HpetRig() {
    attach(hpet);
    map(0, Hpet::region_bytes, hpet);
  }
  Hpet::Wires wires() {
    Hpet::Wires result{.irq0 = line("irq0"), .irq8 = line("irq8"), .routable = 1u << 20 | 1u << 21};
    result.ioapic[20] = line("gsi20");
    result.ioapic[21] = line("gsi21");
    result.msi = [this](MsiMessage message) { say(fmt::format("msi {:x}={:x}", message.address, message.data)); };
    return result;
  }
  // pit LEVEL, rtc LEVEL: the devices behind.
  bool command(std::string_view name, std::string_view rest) override {
    if (name == "pit") hpet.pit_input().set(rest == "1");
    if (name == "rtc") hpet.rtc_input().set(rest == "1");
    return name == "pit" || name == "rtc";
  }
  Hpet hpet{clock, wires()};
};

constexpr auto check = testing::check_script<HpetRig>;

TEST(Hpet, Identification) {
  check("inq 0; inl 4; inq 100; inl 104; inq 108; inq 10; inq 20; inq f0; inl 3fc; inl 2",
        "9896808086a201 989680 30000000008030 300000 ffffffffffffffff 0 0 0 0 ffffffff");
  check("outl 10,ffffffff; outq 0,0; outl 100,ffffffff; outq 110,fee0000012345678; inl 10; inl 100; inl 110; inl 114",
        "3 c17e 12345678 fee00000");
}

TEST(Hpet, Counter) {
  check("outl f0,64; us 1; inq f0; outl 10,1; us 1; inl f0; outl 10,0; us 1; inl f0", "| 64 | c8 | c8");
  check("outl f4,2; outl 10,1; us 1; inq f0; outl f0,5; inq f0; inl f4", "| 200000064 200000005 2");
}

TEST(Hpet, OneShot) {
  // Edge, routed to I/O APIC input 20; nothing more comes after the match, until a new comparator is set.
  check("outl 100,2804; outl 10,1; outq 108,64; ns 999; ns 1; s 1; inl 20; outq 108,5f5e1c8; ns 999; ns 1",
        "| +gsi20 -gsi20 | | 0 | +gsi20 -gsi20 |");
  // A comparator in the past waits for the counter to come around; one that is equal fires.
  check("outl 100,2804; outl 10,1; us 2; outq 108,64; s 1; outq 108,5f5e1c8", "| | +gsi20 -gsi20");
  // With 32 bits that takes 42.9 s, and again and again.
  check("outl 100,2904; outl 10,1; us 2; outl 108,64; s 42; s 1; s 43", "| | +gsi20 -gsi20 | +gsi20 -gsi20 |");
  // Not enabled, and not while the counter is halted.
  check("outl 100,2800; outl 10,1; outl 108,64; us 2; outl 100,2804; us 1", "| |");
  check("outl 100,2804; outl 10,1; outq 108,64; ns 500; outl 10,0; us 2; outl 10,1; ns 499; ns 1",
        "| | | +gsi20 -gsi20 |");
}

TEST(Hpet, Periodic) {
  // A single write with VAL_SET sets both the comparator and the period.
  check("outl 100,284c; outq 108,1f40; outl 10,1; us 79; us 1; us 80; inl 108; us 240",
        "| +gsi20 -gsi20 | +gsi20 -gsi20 | 5dc0 "
        "+gsi20 -gsi20 +gsi20 -gsi20 +gsi20 -gsi20 |");
  // As Linux does: first the comparator, then the period.
  check("outl 10,1; outl 100,294c; outl 108,3e8; outl 108,2710; inl 100; us 9; us 1; inl 108; us 99; us 1",
        "a93c | +gsi20 -gsi20 | 2af8 | +gsi20 -gsi20 |");
  // A period of zero is none.
  check("outl 10,1; outl 100,284c; outq 108,0; us 1; inl 108", "+gsi20 -gsi20 | 0");
}

TEST(Hpet, Level) {
  check("outl 100,2806; outl 10,1; outq 108,64; us 1; inl 20; outl 20,2; outl 20,1; inl 20", "+gsi20 | 1 -gsi20 0");
  // The status is kept while the interrupt is off; the enable gates the wire.
  check("outl 100,2802; outl 10,1; outq 108,64; us 2; inl 20; outl 100,2806; outl 10,0; outl 10,1; outl 20,1",
        "| 1 +gsi20 -gsi20 +gsi20 -gsi20");
  // Two timers on one wire.
  check("outl 100,2a06; outl 120,2a06; outl 10,1; outq 108,64; outq 128,64; us 1; outl 20,1; inl 20; outl 20,2",
        "+gsi21 | 2 -gsi21");
  // An unroutable input is not taken.
  check("outl 100,2804; outl 100,2604; inl 100; outl 10,1; outq 108,64; us 1", "a834 +gsi20 -gsi20 |");
}

TEST(Hpet, Messages) {
  check("outl 100,4004; outq 110,fee0100000000041; outl 10,1; outq 108,64; us 1", "msi fee01000=41 |");
}

TEST(Hpet, LegacyReplacement) {
  // The 8254 and the RTC reach their interrupts only while the HPET leaves them.
  check("pit 1; rtc 1; outl 10,2; pit 0; pit 1; outl 10,0; pit 0", "+irq0 +irq8 -irq0 -irq8 +irq0 +irq8 -irq0");
  check("outl 10,3; outl 100,4; outl 120,4; outq 108,64; outq 128,c8; us 1; us 1", "+irq0 -irq0 | +irq8 -irq8 |");
}

TEST(Hpet, NoTimerRunsForNothing) {
  HpetRig rig;
  for (const char* line : {"outl 10,1", "outl 100,2048", "outq 108,64"}) rig.run(line);  // periodic, not enabled
  EXPECT_EQ(rig.clock.armed(), 0u);
  rig.run("outl 100,284c");  // 1 µs
  rig.run("outq 108,64");
  rig.run("s 1");
  EXPECT_LE(rig.clock.fired(), 50'001u);
}

TEST(Hpet, WithoutMessages) {
  testing::FakeClock clock;
  Hpet hpet(clock, {.routable = 4});
  hpet.reset();
  hpet.write({0x100, 4}, 0x4004);
  EXPECT_EQ(hpet.read({0x100, 8}), u64{4} << 32 | 0x34);
}

}  // namespace
}  // namespace doppel
