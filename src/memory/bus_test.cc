// Regions, overlaps, and accesses that leave a region.
#include "memory/bus.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

namespace doppel {
namespace {

// Answers with its tag in every byte, and keeps a transcript.
struct Recorder : IoHandler {
  Recorder(u8 byte, std::string& out) : tag(byte), transcript(out) {}
  u64 read(Access access) override {
    transcript += fmt::format("r{:x}@{:x}/{} ", tag, access.offset, access.bytes);
    return 0x0101'0101'0101'0101u * tag;
  }
  void write(Access access, u64 value) override {
    transcript += fmt::format("w{:x}@{:x}/{}={:x} ", tag, access.offset, access.bytes, value);
  }
  u8 tag;
  std::string& transcript;
};

struct BusTest : testing::Test {
  std::string transcript;
  Recorder a{0xa, transcript}, b{0xb, transcript};
  Bus bus{0x10000};

  void SetUp() override {
    ASSERT_TRUE(bus.map(0x100, 8, a, "a"));
    ASSERT_TRUE(bus.map(0x108, 4, b, "b"));
  }
  void check_read(u64 address, unsigned bytes, u64 value, const char* seen) {
    transcript.clear();
    EXPECT_EQ(bus.read(address, bytes), value) << std::hex << address;
    EXPECT_EQ(transcript, seen);
  }
  void check_write(u64 address, unsigned bytes, u64 value, const char* seen) {
    transcript.clear();
    bus.write(address, bytes, value);
    EXPECT_EQ(transcript, seen);
  }
  void check_map(u64 base, u64 size, const char* error) {
    const auto result = bus.map(base, size, a, "new");
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().message, error);
  }
};

TEST_F(BusTest, Accesses) {
  check_read(0x100, 4, 0x0a0a0a0a, "ra@0/4 ");
  check_read(0x10b, 1, 0x0b, "rb@3/1 ");
  check_read(0x10c, 4, 0xffffffff, "");
  check_read(0x0fe, 4, 0x0a0affff, "ra@0/1 ra@1/1 ");
  check_read(0x106, 4, 0x0b0b0a0a, "ra@6/1 ra@7/1 rb@0/1 rb@1/1 ");
  check_read(~u64{0}, 2, 0xffff, "");
  check_write(0x104, 2, 0xfff1234, "wa@4/2=1234 ");
  check_write(0x107, 4, 0x44332211, "wa@7/1=11 wb@0/1=22 wb@1/1=33 wb@2/1=44 ");
  check_write(0x10a, 4, 0x44332211, "wb@2/1=11 wb@3/1=22 ");
}

TEST_F(BusTest, Overlaps) {
  check_map(0x107, 1, "'new' at 0x107 overlaps 'a' at 0x100");
  check_map(0xff, 2, "'new' at 0xff overlaps 'a' at 0x100");
  check_map(0xff, 0xf000, "'new' at 0xff overlaps 'a' at 0x100");
  check_map(0xffff, 2, "'new' at 0xffff, 0x2 bytes, does not lie in an address space of 0x10000");
  check_map(0x200, 0, "'new' at 0x200, 0x0 bytes, does not lie in an address space of 0x10000");
  bus.unmap(0x100);
  EXPECT_TRUE(bus.map(0xff, 9, a, "new"));
  EXPECT_EQ(bus.regions().size(), 2u);
  EXPECT_EQ(bus.regions().front().name, "new");
}

}  // namespace
}  // namespace doppel
