// One row of a table of small guest programs: the mode to run in, the program, and how it must end.
#pragma once

#include <gtest/gtest.h>

#include <span>

#include "support/small_guest.h"

namespace doppel::test {

struct GuestCase {
  Mode mode;
  const char* assembly;  // what `bytes` say
  const char* bytes;
  const char* ending;  // as SmallGuest::run tells it
  const char* values;  // "rax=5 cs=8": as SmallGuest::values tells them
};

inline std::string names_in(std::string_view values) {
  std::string names;
  bool in_name = true;
  for (char c : values) {
    if (c == '=') in_name = false;
    if (c == ' ') in_name = true;
    if (in_name) names += c;
  }
  return names;
}

template <class Prepare>
void check(std::span<const GuestCase> cases, Prepare prepare) {
  for (const GuestCase& each : cases) {
    SmallGuest guest(each.mode);
    guest.code(each.bytes);
    prepare(guest);
    EXPECT_EQ(guest.run(), each.ending) << each.assembly;
    EXPECT_EQ(guest.values(names_in(each.values)), each.values) << each.assembly;
  }
}
inline void check(std::span<const GuestCase> cases) {
  check(cases, [](SmallGuest&) {});
}

}  // namespace doppel::test
