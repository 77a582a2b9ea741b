// The registers of the MC146818 (Motorola MC146818A datasheet, "Register A" to "Register D").
#pragma once

#include "base/bits.h"
#include "base/clock.h"

namespace doppel::mc146818 {

constexpr u8 seconds = 0, minutes = 2, hours = 4, day_of_week = 6, day_of_month = 7, month = 8, year = 9;
constexpr u8 alarm_of(u8 index) { return static_cast<u8>(index + 1); }
constexpr u8 register_a = 10, register_b = 11, register_c = 12, register_d = 13;

namespace a {
using Rate = Bits<0, 4>;
using Divider = Bits<4, 3>;
using UpdateInProgress = Bits<7>;
constexpr u8 writable = 0x7f;
constexpr u64
    divider_normal = 2;  // 32.768 kHz; 0 and 1 are faster crystals, of which this chip has none; above: held in reset
constexpr u8 at_power_on = 0x26;  // 1024 Hz
}  // namespace a

namespace b {
using Hours24 = Bits<1>;
using Binary = Bits<2>;
using UpdateEnable = Bits<4>;
using AlarmEnable = Bits<5>;
using PeriodicEnable = Bits<6>;
using Set = Bits<7>;
constexpr u8 cleared_by_reset = 0x78;
constexpr u8 at_power_on = 0x02;  // 24 hours, BCD
}  // namespace b

namespace c {
using Update = Bits<4>;
using Alarm = Bits<5>;
using Periodic = Bits<6>;
using Request = Bits<7>;
constexpr u8 sources = 0x70;
}  // namespace c

namespace d {
using Valid = Bits<7>;
}

// Alarm bytes with both top bits set match anything.
constexpr u8 alarm_any = 0xc0;

constexpr Nanoseconds update_time = 2'228'000;

// 1 January of the year 0 to the end of the year 9999: what two digits and a century can say, in seconds since 1970.
constexpr i64 first_second = -62'167'219'200;
constexpr i64 last_second = 253'402'300'799;

}  // namespace doppel::mc146818
