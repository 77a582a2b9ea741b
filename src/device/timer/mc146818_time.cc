// The MC146818's calendar: the time registers from seconds since 1970 and back, and the alarm.
#include <algorithm>
#include <chrono>

#include "base/units.h"
#include "device/timer/mc146818.h"
#include "device/timer/mc146818_registers.h"

namespace doppel {

using namespace mc146818;

namespace {

constexpr i64 seconds_per_minute = 60, seconds_per_hour = 3600, seconds_per_day = 86400;

i64 floor_divide(i64 value, i64 by) { return value / by - (value % by < 0 ? 1 : 0); }

std::chrono::sys_days day_of(i64 seconds) {
  return std::chrono::sys_days{std::chrono::days{floor_divide(seconds, seconds_per_day)}};
}

i64 second_of_day(i64 seconds) { return seconds - floor_divide(seconds, seconds_per_day) * seconds_per_day; }

unsigned weekday_of(std::chrono::sys_days day) { return std::chrono::weekday{day}.c_encoding(); }  // 0: Sunday

}  // namespace

i64 Mc146818::seconds_at(Nanoseconds now) const {
  return base_seconds_ + static_cast<i64>(divider_time(now) / nanoseconds_per_second);
}

// When `seconds_at` becomes `seconds`, which is later than divider time 0.
Nanoseconds Mc146818::time_of_second(i64 second) const {
  return static_cast<u64>(second - base_seconds_) * nanoseconds_per_second - divider_offset_;
}

u8 Mc146818::encode(unsigned value) const {
  return static_cast<u8>(b::Binary::get(cmos_[register_b]) ? value : value / 10 << 4 | value % 10);
}

unsigned Mc146818::decode(u8 value) const {
  return b::Binary::get(cmos_[register_b]) ? value : (value >> 4) * 10u + (value & 15u);
}

u8 Mc146818::encode_hour(unsigned hour) const {
  if (b::Hours24::get(cmos_[register_b])) return encode(hour);
  return encode(hour % 12 == 0 ? 12 : hour % 12) | (hour >= 12 ? 0x80 : 0);
}

unsigned Mc146818::decode_hour(u8 value) const {
  if (b::Hours24::get(cmos_[register_b])) return std::min(decode(value), 23u);
  return decode(value & 0x7f) % 12 + ((value & 0x80) != 0 ? 12 : 0);
}

void Mc146818::store_time(i64 total) {
  const std::chrono::sys_days day = day_of(total);
  const std::chrono::year_month_day date{day};
  const auto second = static_cast<unsigned>(second_of_day(total));
  const auto full_year = static_cast<unsigned>(static_cast<int>(date.year()) + 10000) % 10000;
  cmos_[seconds] = encode(second % 60);
  cmos_[minutes] = encode(second / 60 % 60);
  cmos_[hours] = encode_hour(second / 3600);
  cmos_[day_of_week] = encode((weekday_of(day) + weekday_offset_) % 7 + 1);
  cmos_[day_of_month] = encode(static_cast<unsigned>(date.day()));
  cmos_[month] = encode(static_cast<unsigned>(date.month()));
  cmos_[year] = encode(full_year % 100);
  cmos_[century] = encode(full_year / 100);
}

i64 Mc146818::load_time() {
  const unsigned full_year = std::min(decode(cmos_[century]), 99u) * 100 + std::min(decode(cmos_[year]), 99u);
  const std::chrono::sys_days day = std::chrono::year_month_day{
      std::chrono::year{static_cast<int>(full_year)}, std::chrono::month{std::clamp(decode(cmos_[month]), 1u, 12u)},
      std::chrono::day{std::clamp(decode(cmos_[day_of_month]), 1u, 31u)}};
  weekday_offset_ = static_cast<u8>((decode(cmos_[day_of_week]) + 6 + 7 - weekday_of(day)) % 7);
  return day.time_since_epoch().count() * seconds_per_day + decode_hour(cmos_[hours]) * seconds_per_hour +
         std::min(decode(cmos_[minutes]), 59u) * seconds_per_minute + std::min(decode(cmos_[seconds]), 59u);
}

// The first second after `after` that the alarm registers match; within a day, or never.
std::optional<i64> Mc146818::next_alarm(i64 after) const {
  const auto matches = [this](u8 index, u8 encoded) {
    const u8 wanted = cmos_[alarm_of(index)];
    return (wanted & alarm_any) == alarm_any || wanted == encoded;
  };
  const auto next_multiple = [](i64 time, i64 unit) { return (floor_divide(time, unit) + 1) * unit; };
  i64 time = after + 1;
  while (time <= after + seconds_per_day) {
    const auto second = static_cast<unsigned>(second_of_day(time));
    if (!matches(hours, encode_hour(second / 3600))) {
      time = next_multiple(time, seconds_per_hour);
    } else if (!matches(minutes, encode(second / 60 % 60))) {
      time = next_multiple(time, seconds_per_minute);
    } else if (!matches(seconds, encode(second % 60))) {
      ++time;
    } else {
      return time;
    }
  }
  return std::nullopt;
}

}  // namespace doppel
