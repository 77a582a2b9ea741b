// Sizes as people write them.
#include "base/units.h"

#include <gtest/gtest.h>

namespace doppel {
namespace {

void check(const char* text, u64 bytes) {
  const auto parsed = parse_size(text);
  ASSERT_TRUE(parsed) << text;
  EXPECT_EQ(*parsed, bytes) << text;
}
void check_refused(const char* text) {
  const auto parsed = parse_size(text);
  ASSERT_FALSE(parsed) << text;
  EXPECT_EQ(parsed.error().kind, ErrorKind::usage);
}

TEST(Units, ParseSize) {
  check("0", 0);
  check("65536", 65536);
  check("512M", 512 * MiB);
  check("512m", 512 * MiB);
  check("1GiB", GiB);
  check("3TB", 3 * 1024 * GiB);
  check("9999T", 9999 * 1024 * GiB);
  check("18446744073709551615", ~u64{0});
  for (const char* text : {"", "abc", "M", "-1", "+1", " 1", "1 G", "1.5G", "1X", "1Mi", "1iB", "1MBB", "0x10",
                           "18446744073709551616", "99999999T"}) {
    check_refused(text);
  }
}

TEST(Units, FormatSize) {
  EXPECT_EQ(format_size(512 * MiB), "512 MiB");
  EXPECT_EQ(format_size(3 * GiB / 2), "1536 MiB");
  EXPECT_EQ(format_size(0), "0 bytes");
  EXPECT_EQ(format_size(4097), "4097 bytes");
}

}  // namespace
}  // namespace doppel
