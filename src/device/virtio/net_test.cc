// Sending, receiving with and without mergeable buffers, back-pressure, link status.
#include "device/virtio/net.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

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

TEST_F(NetTest, AdvisesAnMtu) {
  EXPECT_EQ(driver.read(0x200a, 2), 0u);
  TestPort other;
  VirtioMachine with;
  with.plug([&](VirtioMachine& m) {
    return std::make_unique<VirtioNet>("net", m.dma(), m.policy(), other, VirtioNet::MacAddress{2}, 1, 9000);
  });
  VirtioDriver its(with);
  EXPECT_EQ(its.offered() & 8, 8u);
  EXPECT_EQ(its.read(0x200a, 2), 9000u);
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

// A driver that runs beside the device finds a frame's buffers all at once.
TEST_F(NetTest, SeveralBuffersAppearTogether) {
  constexpr unsigned rounds = 300, buffers = 15, buffer_bytes = 64;
  ASSERT_TRUE(driver.start(VirtioDriver::default_features | mergeable));
  auto& ring_index = *reinterpret_cast<u16*>(machine.memory->ram() + VirtioDriver::ring(0, 2) + 2);
  const std::atomic_ref<u16> used(ring_index);
  std::atomic<u16> seen{0};
  std::atomic<bool> done{false};
  unsigned early = 0;
  std::jthread other([&] {
    while (!done) {
      const u16 now = used.load(std::memory_order_acquire);
      if (now == seen) continue;
      early += static_cast<u16>(now - seen) != buffers;
      seen = static_cast<u16>(seen + buffers);
    }
  });
  for (unsigned round = 0; round < rounds; ++round) {
    for (u16 i = 0; i < buffers; ++i) offer(i, 0x30000 + u64{buffer_bytes} * i, buffer_bytes);
    ASSERT_TRUE(arrive(buffers * buffer_bytes - 12));
    while (seen != static_cast<u16>((round + 1) * buffers)) std::this_thread::yield();
  }
  done = true;
  other.join();
  EXPECT_EQ(early, 0u);
}

TEST_F(NetTest, WithoutDriverFramesAreLost) {
  EXPECT_TRUE(arrive(100));
  ASSERT_TRUE(driver.start(VirtioDriver::default_features));
  machine.settle();
  EXPECT_FALSE(arrive(100));
  driver.set_status(0);
  EXPECT_TRUE(arrive(100));
}

// The whole of a driver's features beyond the ordinary ones that a test uses.
constexpr u64 checksum = 1 << 0, guest_checksum = 1 << 1, guest_tso4 = 1 << 7, host_tso4 = 1 << 11, control = 1 << 17,
              vlan = 1 << 19, pairs = 1 << 22;

TEST_F(NetTest, SendsWhatIsLeftToThePort) {
  ASSERT_TRUE(driver.start(VirtioDriver::default_features | checksum | host_tso4));
  const auto check = [&](network::PacketHeader header, const std::string& expected) {
    machine.dma().write(0x20000, header);
    driver.add(1, 0, {{0x20000, 12 + 100}});
    driver.kick(1);
    machine.settle();
    EXPECT_EQ(std::exchange(port.sent, {}), expected);
    EXPECT_EQ(driver.all_used(1), "0:0 ");
  };
  check({.flags = 1, .csum_start = 34, .csum_offset = 16}, "c34+16 100:0 ");
  check({.flags = 1, .csum_start = 98, .csum_offset = 0}, "c98+0 100:0 ");
  check({.flags = 1, .csum_start = 98, .csum_offset = 1}, "");  // beyond the frame
  check({.flags = 1, .csum_start = 0xffff, .csum_offset = 0xffff}, "");
  check({.flags = 1, .gso_type = 1, .hdr_len = 54, .gso_size = 1460, .csum_start = 34, .csum_offset = 16},
        "c34+16 g1/1460 100:0 ");
  check({.flags = 1, .gso_type = 1, .hdr_len = 54, .gso_size = 0, .csum_start = 34, .csum_offset = 16}, "");
  check({.flags = 1, .gso_type = 4, .hdr_len = 54, .gso_size = 1460, .csum_start = 34, .csum_offset = 16}, "");
  check({.flags = 1, .gso_type = 3, .hdr_len = 54, .gso_size = 1460, .csum_start = 34, .csum_offset = 16}, "");
  check({.flags = 0, .gso_type = 1, .hdr_len = 54, .gso_size = 1460}, "");
}

TEST_F(NetTest, ReceivesOnlyOffloadsThatTheDriverTakes) {
  ASSERT_TRUE(driver.start(VirtioDriver::default_features | guest_checksum));
  machine.settle();
  EXPECT_TRUE(port.allowed.checksum && !port.allowed.tso4);
  offer(0, 0x30000, 1600);
  const std::vector<u8> frame(100);
  EXPECT_TRUE(receive({.flags = 1, .gso_type = 1, .gso_size = 1460}, frame));
  EXPECT_TRUE(receive({.flags = 1, .csum_start = 99, .csum_offset = 99}, frame));
  EXPECT_EQ(driver.all_used(0), "");
  EXPECT_TRUE(receive({.flags = 1, .csum_start = 34, .csum_offset = 16}, frame));
  EXPECT_EQ(driver.all_used(0), "0:112 ");
  network::PacketHeader header;
  machine.dma().read(0x30000, header);
  EXPECT_EQ(header.flags, 1);
  EXPECT_EQ(header.csum_start, 34);
}

struct NetControlTest : NetTest {
  unsigned queue = 2;
  // "0" is what the device answers when it did as it was told.
  void check(std::vector<u8> command, int expected) {
    machine.dma().write(0x20000, command.data(), command.size());
    machine.dma().write(0x21000, u8{0xaa});
    driver.add(queue, 0, {{0x20000, static_cast<u32>(command.size())}, {0x21000, 1, true}});
    driver.kick(queue);
    machine.settle();
    EXPECT_EQ(driver.all_used(queue), "0:1 ");
    u8 answer = 0;
    machine.dma().read(0x21000, answer);
    EXPECT_EQ(answer, expected);
  }
  bool passes(std::vector<u8> start) {
    start.resize(64);
    offer(0, 0x30000, 1600);
    EXPECT_TRUE(receive({}, start));
    const bool came = driver.all_used(0) == "0:76 ";
    if (!came) receive({}, std::vector<u8>{0x52, 0x54, 0, 1, 2, 3, 0, 0, 0, 0, 0, 0, 0, 0}), driver.all_used(0);
    return came;
  }
};

TEST_F(NetControlTest, Filters) {
  ASSERT_TRUE(driver.start(VirtioDriver::default_features | control | vlan | 1 << 18));
  const std::vector<u8> other{2, 0, 0, 0, 0, 9}, group{3, 0, 0, 0, 0, 9}, all(6, 0xff);
  EXPECT_TRUE(passes(other));  // promiscuous until told otherwise
  check({0, 0, 0}, 0);
  EXPECT_FALSE(passes(other));
  EXPECT_FALSE(passes(group));
  EXPECT_TRUE(passes(all));
  EXPECT_TRUE(passes({0x52, 0x54, 0, 1, 2, 3}));
  check({1, 0, 1, 0, 0, 0, 2, 0, 0, 0, 0, 9, 1, 0, 0, 0, 3, 0, 0, 0, 0, 9}, 0);
  EXPECT_TRUE(passes(other));
  EXPECT_TRUE(passes(group));
  check({1, 0, 0, 0, 0, 0, 0, 0, 0, 0}, 0);
  EXPECT_FALSE(passes(other));
  check({0, 1, 1}, 0);
  EXPECT_TRUE(passes(group));
  check({0, 5, 1}, 0);
  EXPECT_FALSE(passes(all));
  check({1, 1, 2, 0, 0, 0, 0, 9}, 0);  // the device's own address
  EXPECT_TRUE(passes(other));
  std::vector<u8> tagged{2, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0x81, 0, 0, 5};
  EXPECT_FALSE(passes(tagged));
  check({2, 0, 5, 0}, 0);
  EXPECT_TRUE(passes(tagged));
  check({2, 1, 5, 0}, 0);
  EXPECT_FALSE(passes(tagged));
}

TEST_F(NetControlTest, MalformedCommandsAreRefused) {
  ASSERT_TRUE(driver.start(VirtioDriver::default_features | control));
  for (const std::vector<u8>& command : {std::vector<u8>{0, 6, 1},
                                         {0, 0},
                                         {0, 0, 1, 1},
                                         {1, 0, 1, 0, 0, 0, 0, 0, 0, 0},
                                         {1, 0, 0xff, 0xff, 0xff, 0xff},
                                         {1, 1, 1, 2, 3},
                                         {1, 1, 1, 0, 0, 0, 0, 9},
                                         {1, 2},
                                         {2, 0, 0, 0x10},
                                         {2, 2, 0, 0},
                                         {4, 0, 1, 0},
                                         {4, 0, 9, 0},
                                         {5, 0, 1, 0, 0, 0, 0, 0, 0, 0},
                                         {9, 9}}) {
    check(command, 1);
  }
  driver.add(queue, 0, {{0x20000, 2}});
  driver.kick(queue);
  machine.settle();
  EXPECT_EQ(driver.status() & virtio::status_needs_reset, virtio::status_needs_reset);
}

TEST_F(NetControlTest, AnswersComeWhereTheFlowWentOut) {
  queue = 4;
  ASSERT_TRUE(driver.start(VirtioDriver::default_features | control | pairs));
  check({4, 0, 0, 0}, 1);
  check({4, 0, 3, 0}, 1);
  check({4, 0, 2, 0}, 0);
  std::vector<u8> packet(12 + 54);
  packet[12 + 12] = 8;
  packet[12 + 14] = 0x45;
  packet[12 + 23] = 6;
  packet[12 + 29] = 1;  // source address and port
  packet[12 + 35] = 7;
  machine.dma().write(0x24000, packet.data(), packet.size());
  driver.add(3, 0, {{0x24000, static_cast<u32>(packet.size())}});
  driver.kick(3);
  driver.add(0, 0, {{0x30000, 1600, true}});
  driver.add(2, 0, {{0x31000, 1600, true}});
  machine.settle();
  std::vector<u8> answer(packet.begin() + 12, packet.end());
  std::swap(answer[29], answer[33]);
  std::swap(answer[35], answer[37]);
  EXPECT_TRUE(receive({}, answer));
  EXPECT_EQ(driver.all_used(2), "0:66 ");
  answer[37] = 8;  // another flow
  EXPECT_TRUE(receive({}, answer));
  EXPECT_EQ(driver.all_used(0), "0:66 ");
}

TEST_F(NetControlTest, StateIsWholeAndALoadedMachineAnnouncesItself) {
  ASSERT_TRUE(driver.start(VirtioDriver::default_features | control | guest_checksum | guest_tso4 | 1 << 21));
  check({0, 0, 0}, 0);
  check({1, 0, 1, 0, 0, 0, 2, 0, 0, 0, 0, 9, 0, 0, 0, 0}, 0);
  machine.function->pause();
  auto saved = state::Archive::for_saving();
  machine.function->state(saved);
  ASSERT_TRUE(saved.ok());
  port.allowed = {};
  auto loading = state::Archive::for_loading(saved.take());
  machine.function->state(loading);
  ASSERT_TRUE(loading.ok());
  machine.function->resume();
  EXPECT_TRUE(port.allowed.checksum && port.allowed.tso4 && !port.allowed.tso6);
  EXPECT_EQ(driver.read(0x2006, 2), 3u);  // up, announce
  EXPECT_TRUE(passes({2, 0, 0, 0, 0, 9}));
  EXPECT_FALSE(passes({2, 0, 0, 0, 0, 8}));
  check({3, 0}, 0);
  EXPECT_EQ(driver.read(0x2006, 2), 1u);
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
