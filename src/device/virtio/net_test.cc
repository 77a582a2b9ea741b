// Sending, receiving with and without mergeable buffers, back-pressure, link status.
#include "device/virtio/net.h"

#include <gtest/gtest.h>

#include "device/testing/virtio_driver.h"

namespace doppel {
namespace {

using testing::VirtioDriver;
using testing::VirtioMachine;
constexpr u64 mergeable = 1 << 15;

struct TestPort final : network::Port {
  bool link_up() const override { return up; }
  network::Offloads takes() const override { return offers; }
  network::Offloads gives() const override { return offers; }
  void allow(const network::Offloads& offloads) override { allowed = offloads; }
  void send(const network::PacketHeader& h, std::span<const u8> frame) override {
    if (h.flags != 0) sent += fmt::format("c{}+{} ", h.csum_start, h.csum_offset);
    if (h.gso_type != 0) sent += fmt::format("g{}/{} ", h.gso_type, h.gso_size);
    sent += fmt::format("{}:{:x} ", frame.size(), frame.empty() ? 0 : frame.back());
  }
  void set_receiver(Receiver* r) override { receiver = r; }
  void ready() override { ++readies; }
  bool up = true;
  std::string sent;
  int readies = 0;
  network::Offloads offers{.checksum = true, .tso4 = true, .tso6 = true};
  network::Offloads allowed;
  Receiver* receiver = nullptr;
};

struct NetTest : ::testing::Test {
  TestPort port;
  VirtioMachine machine;
  VirtioDriver driver{machine};

  void SetUp() override {
    machine.plug([&](VirtioMachine& m) {
      return std::make_unique<VirtioNet>("net", m.dma(), m.policy(), port,
                                         VirtioNet::MacAddress{0x52, 0x54, 0, 1, 2, 3}, 2);
    });
  }
  void check_send(u32 bytes, const std::string& expected) {
    std::vector<u8> packet(bytes, 0x11);
    std::fill_n(packet.begin(), 12, u8{0});
    packet.back() = 0x22;
    machine.dma().write(0x20000, packet.data(), packet.size());
    driver.add(1, 0, {{0x20000, 12}, {0x2000c, bytes - 12}}, true);
    driver.kick(1);
    machine.settle();
    EXPECT_EQ(std::exchange(port.sent, {}), expected);
    EXPECT_EQ(driver.all_used(1), "0:0 ");
  }
  void offer(u16 head, u64 address, u32 bytes) {
    driver.add(0, head, {{address, bytes, true}});
    driver.kick(0);
    machine.settle();
  }
  bool arrive(std::size_t bytes) {
    std::vector<u8> frame(bytes);
    for (std::size_t i = 0; i < bytes; ++i) frame[i] = static_cast<u8>(i * 7 >> 3);
    return receive({}, frame);
  }
  bool receive(const network::PacketHeader& header, const std::vector<u8>& frame) {
    const bool taken = port.receiver->receive(header, frame);
    port.receiver->end_of_batch();
    return taken;
  }
};

TEST_F(NetTest, Configuration) {
  EXPECT_EQ(driver.offered() & 0xffffff, 0xff99a7u);
  EXPECT_EQ(driver.read(0x2000, 4), 0x01005452u);
  EXPECT_EQ(driver.read(0x2004, 4), 0x00010302u);
  ASSERT_TRUE(driver.start(VirtioDriver::default_features | 1 << 16));
  port.up = false;
  static_cast<VirtioNet&>(machine.device()).link_changed();
  EXPECT_EQ(driver.read(0x2006, 2), 0u);
  EXPECT_EQ(driver.read(0x1000, 1), 2u);
}

TEST_F(NetTest, Sends) {
  ASSERT_TRUE(driver.start(VirtioDriver::default_features));
  check_send(12 + 60, "60:22 ");
  check_send(12 + 14, "14:22 ");
  check_send(12 + 13, "");  // no frame
  check_send(12 + 65'550, "65550:22 ");
  check_send(12 + 65'551, "");
  driver.add(1, 0, {{0x20000, 11}});
  driver.kick(1);
  machine.settle();
  EXPECT_EQ(driver.status() & virtio::status_needs_reset, virtio::status_needs_reset);
}

TEST_F(NetTest, ReceivesIntoOneBuffer) {
  ASSERT_TRUE(driver.start(VirtioDriver::default_features));
  offer(0, 0x30000, 1600);
  EXPECT_TRUE(arrive(100));
  EXPECT_EQ(driver.all_used(0), "0:112 ");
  std::array<u8, 14> start{};
  machine.dma().read(0x30000, start.data(), start.size());
  EXPECT_EQ(start, (std::array<u8, 14>{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0}));
  offer(0, 0x30000, 100);
  EXPECT_TRUE(arrive(100));  // lost: the driver is in error
  EXPECT_EQ(driver.status() & virtio::status_needs_reset, virtio::status_needs_reset);
}

TEST_F(NetTest, ReceivesIntoSeveralBuffers) {
  ASSERT_TRUE(driver.start(VirtioDriver::default_features | mergeable));
  for (u16 i = 0; i < 4; ++i) offer(i, 0x30000 + 64u * i, 64);
  EXPECT_TRUE(arrive(100));
  EXPECT_EQ(driver.all_used(0), "0:64 1:48 ");
  u16 buffers = 0;
  machine.dma().read(0x3000a, buffers);
  EXPECT_EQ(buffers, 2);
  u8 byte = 0;
  machine.dma().read(0x30040, byte);
  EXPECT_EQ(byte, 52 * 7 >> 3);
  EXPECT_FALSE(arrive(200));  // two are left, which is too little: they stay
  EXPECT_EQ(driver.all_used(0), "");
  EXPECT_EQ(port.readies, 0);
  offer(4, 0x30100, 200);
  EXPECT_EQ(port.readies, 1);
  EXPECT_TRUE(arrive(200));
  EXPECT_EQ(driver.all_used(0), "2:64 3:64 4:84 ");
}

TEST_F(NetTest, WithoutDriverFramesAreLost) {
  EXPECT_TRUE(arrive(100));
  ASSERT_TRUE(driver.start(VirtioDriver::default_features));
  machine.settle();
  EXPECT_FALSE(arrive(100));
  driver.set_status(0);
  EXPECT_TRUE(arrive(100));
}

TEST(NoPort, DropsWhatIsSent) {
  network::NoPort none;
  VirtioMachine machine;
  machine.plug([&](VirtioMachine& m) {
    return std::make_unique<VirtioNet>("net", m.dma(), m.policy(), none, VirtioNet::MacAddress{2});
  });
  VirtioDriver driver(machine);
  ASSERT_TRUE(driver.start(VirtioDriver::default_features));
  driver.add(1, 0, {{0x20000, 100}});
  driver.kick(1);
  machine.settle();
  EXPECT_EQ(driver.all_used(1), "0:0 ");
}

}  // namespace
}  // namespace doppel
