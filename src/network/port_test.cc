// Frames through queues, the socket and the user network; checksums; captures.
#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <barrier>
#include <cstdlib>
#include <filesystem>
#include <thread>

#include "network/capture.h"
#include "network/checksum.h"
#include "network/socket_port.h"
#include "network/user/coalesce.h"
#include "network/user/user_port.h"

namespace doppel::network {
namespace {

struct TestReceiver final : Port::Receiver {
  bool receive(const PacketHeader&, std::span<const u8> frame) override {
    if (room == 0) return false;
    --room;
    frames.emplace_back(frame.begin(), frame.end());
    return true;
  }
  void end_of_batch() override { ++batches; }
  void link_changed() override { ++link_changes; }
  std::vector<std::vector<u8>> frames;
  unsigned room = 1000, batches = 0, link_changes = 0;
};

struct PortTest : ::testing::Test {
  std::unique_ptr<EventLoop> loop = std::move(*EventLoop::create());
  std::string folder = [] {
    std::string name = ::testing::TempDir() + "/doppel-network-XXXXXX";
    return std::string(::mkdtemp(name.data()));
  }();
  ~PortTest() override { std::filesystem::remove_all(folder); }

  void settle(int rounds = 10) {
    for (int i = 0; i < rounds; ++i) loop->run_once(1);
  }
  template <class Condition>
  bool wait(Condition condition) {
    for (int i = 0; i < 500 && !condition(); ++i) loop->run_once(10);
    return condition();
  }
};

sockaddr_un address_of(const std::string& path) {
  sockaddr_un address{.sun_family = AF_UNIX};
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  return address;
}

std::vector<u8> frame_of(std::size_t bytes, u8 fill) { return std::vector<u8>(bytes, fill); }

TEST(Checksum, IsCompleted) {
  std::vector<u8> frame{0, 0, 0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7, 0, 0, 9};  // RFC 1071 §3, and an odd byte
  EXPECT_EQ(internet_sum(std::span(frame).subspan(2, 8)), 0xf2dd);                       // ddf2, in network order
  PacketHeader header{.flags = PacketHeader::needs_checksum, .csum_start = 2, .csum_offset = 8};
  ASSERT_TRUE(checksum_fits(header, frame.size()));
  complete_checksum(header, frame);
  EXPECT_EQ(internet_sum(std::span(frame).subspan(2)), 0xffff);
  header.csum_offset = 10;
  EXPECT_FALSE(checksum_fits(header, frame.size()));
  header = {.flags = PacketHeader::needs_checksum, .csum_start = 0xffff, .csum_offset = 0xffff};
  EXPECT_FALSE(checksum_fits(header, frame.size()));
}

// A TCP segment from 10.0.2.2, its IP checksum right.
std::vector<u8> tcp_segment(u32 sequence, std::size_t payload, u8 flags = 0x10) {
  std::vector<u8> frame(54 + payload, static_cast<u8>(sequence));
  const std::array<u8, 54> start{2,
                                 2,
                                 2,
                                 2,
                                 2,
                                 2,
                                 3,
                                 3,
                                 3,
                                 3,
                                 3,
                                 3,
                                 8,
                                 0,
                                 0x45,
                                 0,
                                 static_cast<u8>((40 + payload) >> 8),
                                 static_cast<u8>(40 + payload),
                                 0,
                                 1,
                                 0,
                                 0,
                                 64,
                                 6,
                                 0,
                                 0,
                                 10,
                                 0,
                                 2,
                                 2,
                                 10,
                                 0,
                                 2,
                                 15,
                                 0,
                                 80,
                                 0,
                                 81,
                                 static_cast<u8>(sequence >> 24),
                                 static_cast<u8>(sequence >> 16),
                                 static_cast<u8>(sequence >> 8),
                                 static_cast<u8>(sequence),
                                 0,
                                 0,
                                 0,
                                 9,
                                 0x50,
                                 flags,
                                 1,
                                 0,
                                 0,
                                 0,
                                 0,
                                 0};
  std::ranges::copy(start, frame.begin());
  return frame;
}

constexpr Offloads both{.checksum = true, .tso4 = true, .tso6 = true};

TEST_F(PortTest, TcpSegmentsAreJoined) {
  FrameQueue queue;
  EXPECT_FALSE(join_tcp_segment(queue, tcp_segment(1000, 100), both));
  queue.add({}, tcp_segment(1000, 100));
  EXPECT_FALSE(join_tcp_segment(queue, tcp_segment(1101, 100), both));        // a gap
  EXPECT_FALSE(join_tcp_segment(queue, tcp_segment(1100, 101), both));        // longer than the first
  EXPECT_FALSE(join_tcp_segment(queue, tcp_segment(1100, 100, 0x11), both));  // the last one of its connection
  EXPECT_FALSE(join_tcp_segment(queue, tcp_segment(1100, 0), both));
  EXPECT_TRUE(join_tcp_segment(queue, tcp_segment(1100, 100), both));
  EXPECT_TRUE(join_tcp_segment(queue, tcp_segment(1200, 50, 0x18), both));
  EXPECT_FALSE(join_tcp_segment(queue, tcp_segment(1250, 50), both));  // behind a short one
  auto [header, frame] = queue.last();
  EXPECT_EQ(header.gso_type, PacketHeader::gso_tcp4);
  EXPECT_EQ(header.gso_size, 100);
  EXPECT_EQ(header.hdr_len, 54);
  ASSERT_EQ(frame.size(), 54u + 250);
  EXPECT_EQ(frame[16] << 8 | frame[17], 290);
  EXPECT_EQ(frame[47], 0x18);
  EXPECT_EQ(internet_sum(frame.subspan(14, 20)), 0xffff);
  complete_checksum(header, frame);
  std::vector<u8> whole(frame.begin() + 26, frame.begin() + 34);  // pseudo-header
  for (const int byte : {0, 6, 270 >> 8, 270 & 0xff}) whole.push_back(static_cast<u8>(byte));
  whole.insert(whole.end(), frame.begin() + 34, frame.end());
  EXPECT_EQ(internet_sum(whole), 0xffff);

  queue.add({}, tcp_segment(0, 1460));
  unsigned joined = 1;
  while (join_tcp_segment(queue, tcp_segment(joined * 1460, 1460), both)) ++joined;
  EXPECT_EQ(joined, (65'535u - 40) / 1460);
  for (std::size_t bytes = 0; bytes < 54; ++bytes) {
    const auto whole_frame = tcp_segment(joined * 1460, 1460);
    EXPECT_FALSE(join_tcp_segment(queue, std::span(whole_frame).first(bytes), both));
  }
}

// The same segment over IPv6, from fec0::2 to fec0::15.
std::vector<u8> tcp6_segment(u32 sequence, std::size_t payload) {
  const auto four = tcp_segment(sequence, payload);
  std::vector<u8> frame(four.begin(), four.begin() + 12);
  const std::size_t bytes = four.size() - 34;
  const u8 start[] = {0x86, 0xdd, 0x60, 0, 0, 0, static_cast<u8>(bytes >> 8), static_cast<u8>(bytes), 6, 64};
  frame.insert(frame.end(), std::begin(start), std::end(start));
  for (const u8 last : {u8{2}, u8{15}}) {
    frame.insert(frame.end(), {0xfe, 0xc0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last});
  }
  frame.insert(frame.end(), four.begin() + 34, four.end());
  return frame;
}

TEST_F(PortTest, TcpSegmentsOverIpv6AreJoined) {
  FrameQueue queue;
  queue.add({}, tcp6_segment(1000, 100));
  EXPECT_FALSE(join_tcp_segment(queue, tcp6_segment(1100, 100), {.checksum = true, .tso4 = true}));
  EXPECT_FALSE(join_tcp_segment(queue, tcp_segment(1100, 100), both));
  auto other = tcp6_segment(1100, 100);
  other[14 + 39] = 16;  // to someone else
  EXPECT_FALSE(join_tcp_segment(queue, other, both));
  EXPECT_TRUE(join_tcp_segment(queue, tcp6_segment(1100, 100), both));
  EXPECT_TRUE(join_tcp_segment(queue, tcp6_segment(1200, 30), both));
  auto [header, frame] = queue.last();
  EXPECT_EQ(header.gso_type, PacketHeader::gso_tcp6);
  EXPECT_EQ(header.gso_size, 100);
  EXPECT_EQ(header.hdr_len, 74);
  ASSERT_EQ(frame.size(), 74u + 230);
  EXPECT_EQ(frame[18] << 8 | frame[19], 250);
  complete_checksum(header, frame);
  std::vector<u8> whole(frame.begin() + 22, frame.begin() + 54);  // pseudo-header
  for (const int byte : {0, 0, 0, 250, 0, 0, 0, 6}) whole.push_back(static_cast<u8>(byte));
  whole.insert(whole.end(), frame.begin() + 54, frame.end());
  EXPECT_EQ(internet_sum(whole), 0xffff);
  const auto next = tcp6_segment(1230, 100);
  for (std::size_t bytes = 0; bytes < next.size(); ++bytes)
    EXPECT_FALSE(join_tcp_segment(queue, std::span(next).first(bytes), both));
}

TEST_F(PortTest, QueuesAreBounded) {
  FrameQueue queue;
  const auto frame = frame_of(max_frame_bytes, 1);
  unsigned taken = 0;
  while (queue.add({}, frame)) ++taken;
  EXPECT_EQ(taken, FrameQueue::limit_bytes / (max_frame_bytes + sizeof(PacketHeader)));
  int pair[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
  FrameBatch batch;
  unsigned received = 0;
  while (!queue.empty()) {
    EXPECT_TRUE(queue.flush(pair[0]));
    ASSERT_GT(batch.read(pair[1]), 0);
    for (; !batch.empty(); batch.pop()) received += batch.front().second.size() == max_frame_bytes;
  }
  while (batch.read(pair[1]) > 0) {
    for (; !batch.empty(); batch.pop()) ++received;
  }
  EXPECT_EQ(received, taken);
  ::close(pair[1]);
  queue.add({}, frame);
  EXPECT_FALSE(queue.flush(pair[0]));
  ::close(pair[0]);
}

TEST_F(PortTest, SocketJoinsTwoAndOutlivesEither) {
  TestReceiver at_a, at_b;
  auto a = *SocketPort::create(*loop, folder + "/s");
  a->set_receiver(&at_a);
  EXPECT_FALSE(a->link_up());
  auto b = *SocketPort::create(*loop, folder + "/s");
  b->set_receiver(&at_b);
  settle();
  EXPECT_TRUE(a->link_up() && b->link_up());
  for (u8 i = 0; i < 100; ++i) a->send({}, frame_of(14 + i * 600u, i));
  a->flush();
  b->send({}, frame_of(60, 7));
  b->flush();
  at_b.room = 50;
  settle();
  EXPECT_EQ(at_b.frames.size(), 50u);
  at_b.room = 1000;
  b->ready();
  ASSERT_TRUE(wait([&] { return at_b.frames.size() == 100; }));
  EXPECT_EQ(at_b.frames[99], frame_of(14 + 99 * 600, 99));
  EXPECT_EQ(at_a.frames.size(), 1u);
  a.reset();
  settle();
  EXPECT_FALSE(b->link_up());
  EXPECT_EQ(at_b.link_changes, 1u);
  a = *SocketPort::create(*loop, folder + "/s");
  settle();
  EXPECT_TRUE(a->link_up() && b->link_up());
}

// They connect to each other, in whatever order their steps fall.
TEST_F(PortTest, SocketsThatComeAtTheSameMomentJoin) {
  for (unsigned round = 0; round < 300; ++round) {
    const std::string path = folder + "/s";
    std::barrier start(2);
    std::array<bool, 2> made{}, up{};
    if (round % 2) {  // somebody died here
      Fd stale(::socket(AF_UNIX, SOCK_STREAM, 0));
      const sockaddr_un address = address_of(path);
      ASSERT_EQ(::bind(stale.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    }
    const auto machine = [&](unsigned number) {
      auto its_loop = std::move(*EventLoop::create());
      start.arrive_and_wait();
      auto port = SocketPort::create(*its_loop, path);
      made[number] = port.has_value();
      start.arrive_and_wait();
      for (unsigned i = 0; i < 100 && port && !up[number]; ++i) {
        its_loop->run_once(10);
        up[number] = (*port)->link_up();
      }
      start.arrive_and_wait();
    };
    {
      std::jthread one(machine, 0), two(machine, 1);
    }
    ASSERT_TRUE(made[0] && made[1]) << "round " << round;
    ASSERT_TRUE(up[0] && up[1]) << "round " << round;
    ASSERT_TRUE(std::filesystem::is_empty(folder));
  }
}

TEST_F(PortTest, SocketEndsWithAPeerThatSendsNoFrames) {
  auto port = *SocketPort::create(*loop, folder + "/s");
  TestReceiver receiver;
  port->set_receiver(&receiver);
  for (const std::array<u8, 4> length : {std::array<u8, 4>{0xff, 0xff, 0xff, 0xff}, {0, 0, 0, 13}, {0, 1, 0, 15}}) {
    Fd peer(::socket(AF_UNIX, SOCK_STREAM, 0));
    const sockaddr_un address = address_of(folder + "/s");
    ASSERT_EQ(::connect(peer.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    settle();
    EXPECT_TRUE(port->link_up());
    ASSERT_TRUE(write_all(peer.get(), length));
    settle();
    EXPECT_FALSE(port->link_up());
  }
  EXPECT_TRUE(receiver.frames.empty());
}

TEST_F(PortTest, SocketRefusesOtherFiles) {
  ASSERT_TRUE(open_file(folder + "/file", O_WRONLY | O_CREAT));
  EXPECT_FALSE(SocketPort::create(*loop, folder + "/file"));
  struct stat status{};
  EXPECT_EQ(::stat((folder + "/file").c_str(), &status), 0);
  EXPECT_FALSE(SocketPort::create(*loop, folder + "/nowhere/s"));
}

// An ARP request for the gateway.
std::vector<u8> arp_request() {
  std::vector<u8> frame(60);
  const std::array<u8, 42> start{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x52, 0x54, 0,    1,    2,  3, 8, 6,
                                 0,    1,    8,    0,    6,    4,    0,    1,    0x52, 0x54, 0,  1, 2, 3,
                                 10,   0,    2,    15,   0,    0,    0,    0,    0,    0,    10, 0, 2, 2};
  std::ranges::copy(start, frame.begin());
  return frame;
}

bool is_arp_reply(const std::vector<u8>& frame) {
  return frame.size() >= 42 && frame[12] == 8 && frame[13] == 6 && frame[21] == 2;
}

TEST_F(PortTest, UserNetworkAnswersAndItsEndIsALinkThatIsDown) {
  auto port = UserPort::create(*loop, {}, "");
  ASSERT_TRUE(port) << port.error().message;
  TestReceiver receiver;
  (*port)->set_receiver(&receiver);
  const auto answered = [&] { return std::ranges::any_of(receiver.frames, is_arp_reply); };
  (*port)->send({}, arp_request());
  (*port)->flush();
  ASSERT_TRUE(wait(answered));

  // Malformed frames, and offsets that lie, harm nothing.
  for (unsigned i = 0; i < 2000; ++i) {
    auto frame = frame_of(14 + i * 37 % 3000, static_cast<u8>(i));
    frame[12] = i % 2 == 0 ? 0x08 : 0x86;
    frame[13] = i % 2 == 0 ? 0x00 : 0xdd;
    (*port)->send(
        {.flags = 1, .gso_type = static_cast<u8>(i), .csum_start = static_cast<u16>(i * 31), .csum_offset = 6}, frame);
    if (i % 64 == 0) (*port)->flush(), settle(1);
  }
  receiver.frames.clear();
  receiver.room = 1000;
  (*port)->send({}, arp_request());
  (*port)->flush();
  EXPECT_TRUE(wait(answered));

  ::kill((*port)->pid(), SIGKILL);
  EXPECT_TRUE(wait([&] { return receiver.link_changes != 0; }));
  EXPECT_FALSE((*port)->link_up());
  (*port)->send({}, arp_request());
  (*port)->flush();
  settle();
  EXPECT_EQ(receiver.link_changes, 1u);
}

TEST_F(PortTest, UserNetworkSaysWhichPortIsInUse) {
  Fd taken(::socket(AF_INET, SOCK_STREAM, 0));
  sockaddr_in address{.sin_family = AF_INET};
  address.sin_addr.s_addr = ::htonl(INADDR_LOOPBACK);
  socklen_t bytes = sizeof address;
  ASSERT_EQ(::bind(taken.get(), reinterpret_cast<sockaddr*>(&address), bytes), 0);
  ASSERT_EQ(::listen(taken.get(), 1), 0);
  ASSERT_EQ(::getsockname(taken.get(), reinterpret_cast<sockaddr*>(&address), &bytes), 0);
  const Publish publish{.host_port = ::ntohs(address.sin_port), .guest_port = 80};
  const auto port = UserPort::create(*loop, {.publish = {publish}}, "");
  ASSERT_FALSE(port);
  EXPECT_EQ(port.error().message, "--publish: cannot listen on " + format_publish(publish) + ": Address already in use");
}

TEST_F(PortTest, CaptureIsAPcapFile) {
  {
    auto port = *CapturePort::create(std::make_unique<NoPort>(), folder + "/c.pcap");
    port->send({}, frame_of(60, 5));
    port->flush();
  }
  const std::string file = *read_file(folder + "/c.pcap", 1000);
  ASSERT_EQ(file.size(), 24u + 16 + 60);
  EXPECT_EQ(file.substr(0, 4), "\x4d\x3c\xb2\xa1");
  EXPECT_EQ(file.substr(32, 8), std::string("\x3c\0\0\0\x3c\0\0\0", 8));
  EXPECT_FALSE(CapturePort::create(std::make_unique<NoPort>(), folder + "/nowhere/c.pcap"));
}

}  // namespace
}  // namespace doppel::network
