// The port interface byte by byte, the directory, DMA requests and what they leave in the descriptor, saved state.
#include "device/firmware/fw_cfg.h"

#include <gtest/gtest.h>

namespace doppel {
namespace {

struct FwCfgTest : ::testing::Test {
  Bus mmio{u64{1} << 40};
  std::unique_ptr<PhysicalMemory> memory = std::move(*PhysicalMemory::create(4 * page_size, mmio));
  Dma dma{*memory};
  FwCfg device{dma};
  Bus ports{0x10000};

  void SetUp() override {
    ASSERT_TRUE(ports.map(FwCfg::base, FwCfg::size, device, "fw_cfg"));
    ASSERT_TRUE(memory->map(0, 0, 4 * page_size, PhysicalMemory::Kind::ram, "ram"));
    ASSERT_TRUE(device.add_file("opt/z", {'z', 'z'}));
    ASSERT_TRUE(device.add_file("etc/a", {'a', 'b', 'c', 'd'}));
    ASSERT_TRUE(device.add_item(0x0f, {4, 0}));
  }
  void select(u16 key) { ports.write(0x510, 2, key); }
  std::string bytes(unsigned count) {
    std::string text;
    while (count-- > 0) text.push_back(static_cast<char>(ports.read(0x511, 1)));
    return text;
  }
  // Runs a request whose descriptor lies at 0x1000 and whose data at `address`; returns the control word left behind.
  u32 request(u32 control, u32 length, u64 address = 0x2000) {
    const std::array<u32, 4> descriptor{__builtin_bswap32(control), __builtin_bswap32(length),
                                        __builtin_bswap32(static_cast<u32>(address >> 32)),
                                        __builtin_bswap32(static_cast<u32>(address))};
    dma.write(0x1000, descriptor);
    ports.write(0x514, 4, 0);
    ports.write(0x518, 4, __builtin_bswap32(0x1000));
    u32 left = 0;
    dma.read(0x1000, left);
    return __builtin_bswap32(left);
  }
  std::string guest(u64 address, u64 count) {
    std::string text(count, '?');
    dma.read(address, text.data(), count);
    return text;
  }
};

constexpr u32 error = 1, read_ = 2, skip = 4, select_ = 8, write_ = 16;

TEST_F(FwCfgTest, Ports) {
  EXPECT_EQ(bytes(5), std::string("QEMU\0", 5)) << "the signature is selected at power on";
  select(1);
  EXPECT_EQ(bytes(4), std::string("\3\0\0\0", 4));
  select(0x0f);
  EXPECT_EQ(bytes(2), std::string("\4\0", 2));
  select(0x7777);
  EXPECT_EQ(bytes(2), std::string("\0\0", 2));
  EXPECT_EQ(ports.read(0x514, 4), __builtin_bswap32(0x51454d55)) << "QEMU";
  EXPECT_EQ(ports.read(0x518, 4), __builtin_bswap32(0x20434647)) << " CFG";
}

TEST_F(FwCfgTest, DirectoryIsSortedByName) {
  select(0x19);
  EXPECT_EQ(bytes(4), std::string("\0\0\0\2", 4));
  EXPECT_EQ(bytes(8), std::string("\0\0\0\4\0\x21\0\0", 8));
  EXPECT_EQ(bytes(56), std::string("etc/a") + std::string(51, '\0'));
  EXPECT_EQ(bytes(8), std::string("\0\0\0\2\0\x20\0\0", 8));
  EXPECT_EQ(bytes(56), std::string("opt/z") + std::string(51, '\0'));
}

TEST_F(FwCfgTest, Dma) {
  EXPECT_EQ(request(0x21u << 16 | select_ | read_, 3), 0u);
  EXPECT_EQ(guest(0x2000, 3), "abc");
  EXPECT_EQ(request(read_, 3), 0u);
  EXPECT_EQ(guest(0x2000, 3), std::string("d\0\0", 3)) << "goes on, then zeros";
  EXPECT_EQ(request(0x21u << 16 | select_ | skip, 2), 0u);
  EXPECT_EQ(bytes(1), "c");
  EXPECT_EQ(request(0x21u << 16 | select_ | skip, ~0u), 0u);
  EXPECT_EQ(bytes(1), std::string(1, '\0'));
  EXPECT_EQ(request(0x21u << 16 | select_ | write_, 1), error);
  EXPECT_EQ(request(0x21u << 16 | select_ | read_, 3, 0x4000), error) << "outside of RAM";
  EXPECT_EQ(request(0x21u << 16 | select_ | read_, ~0u), error) << "runs out of RAM";
  ports.write(0x514, 8, ~u64{0});  // a descriptor that is nowhere
}

TEST_F(FwCfgTest, RefusesWhatExistsOrHasNoName) {
  EXPECT_FALSE(device.add_item(0, {1}));
  EXPECT_FALSE(device.add_file("etc/a", {}));
  EXPECT_FALSE(device.add_file("", {}));
  EXPECT_FALSE(device.add_file(std::string(56, 'x'), {}));
}

TEST_F(FwCfgTest, StateComesBack) {
  select(0x21);
  bytes(1);
  auto saved = state::Archive::for_saving();
  device.state(saved);
  device.reset();
  EXPECT_EQ(bytes(1), "Q");
  auto loaded = state::Archive::for_loading(saved.take());
  device.state(loaded);
  ASSERT_TRUE(loaded.status());
  EXPECT_EQ(bytes(3), "bcd");

  FwCfg without_files(dma);
  auto elsewhere = state::Archive::for_saving();
  select(0x21);
  bytes(3);
  device.state(elsewhere);
  auto refused = state::Archive::for_loading(elsewhere.take());
  without_files.state(refused);
  EXPECT_FALSE(refused.status()) << "an offset beyond the item";
}

}  // namespace
}  // namespace doppel
