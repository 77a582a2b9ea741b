// A hostile driver of the network device on the real user network: millions of frames that are malformed in every way, with
// headers that lie, in chains of odd shapes, and now and then rings that break the device. After every few frames the network
// must still answer; at the end neither process may have grown.
//
//   frame_flood [COUNT [SEED]]      in a network namespace of its own: what libslirp makes of a frame goes to loopback
//
// Prints PASS or FAIL.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <random>

#include "device/testing/virtio_driver.h"
#include "device/virtio/net.h"
#include "network/checksum.h"
#include "network/user/user_port.h"

using namespace doppel;
using doppel::testing::VirtioDriver;
using doppel::testing::VirtioMachine;

namespace {

constexpr u64 receive_buffers = 0xd0000, receive_bytes = 2048;
constexpr unsigned receive_count = 32, receive_queue = 0, transmit_queue = 1, pairs = 1;
constexpr u64 frames_at = 0x20000, frames_end = 0xc0000;
constexpr u16 ring_entries = 256;
constexpr unsigned frames_between_answers = 512;
constexpr u64 most_growth_kib = 64 * 1024;

using Bytes = std::vector<u8>;

class Flood {
 public:
  explicit Flood(u64 seed) : random_(seed) {}
  ~Flood() { machine_.function.reset(); }  // before the port that it is plugged into
  Flood(const Flood&) = delete;
  Flood& operator=(const Flood&) = delete;
  bool run(u64 count);

 private:
  u32 next(u32 below) { return static_cast<u32>(random_() % below); }
  void start();
  bool take_replies();
  bool network_answers();
  void send_some(unsigned count);
  Bytes make_frame();
  std::array<u8, 12> make_header(std::size_t frame_bytes);
  void place(const Bytes& packet, u16 head);
  void break_rings();
  void settle() {
    driver_.kick(transmit_queue);
    machine_.settle(1);
  }

  std::mt19937_64 random_;
  VirtioMachine machine_;
  std::unique_ptr<network::UserPort> port_;
  VirtioDriver driver_{machine_};
  u64 at_ = frames_at;
  u64 restarts_ = 0;
};

u64 resident_kib(pid_t pid) {
  std::ifstream file(fmt::format("/proc/{}/status", pid));
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("VmRSS:")) return std::strtoull(line.c_str() + 6, nullptr, 10);
  }
  return 0;
}

void Flood::start() {
  ++restarts_;
  driver_.start(driver_.offered() & ~u64{1 << 22}, ring_entries, true);
  for (unsigned i = 0; i < receive_count; ++i)
    driver_.add(receive_queue, static_cast<u16>(i), {{receive_buffers + i * receive_bytes, receive_bytes, true}});
  driver_.kick(receive_queue);
}

// Whether an ARP reply was among what came.
bool Flood::take_replies() {
  bool any = false, reply = false;
  while (const auto used = driver_.used(receive_queue)) {
    if (used->first >= receive_count) continue;
    u8 frame[64];
    machine_.dma().read(receive_buffers + used->first * receive_bytes + 12, frame, sizeof frame);
    reply = reply || (frame[12] == 8 && frame[13] == 6 && frame[21] == 2);
    driver_.offer(receive_queue, static_cast<u16>(used->first));
    any = true;
  }
  if (any) driver_.kick(receive_queue);
  return reply;
}

// An ARP request for the gateway goes through all of it; so must the reply.
bool Flood::network_answers() {
  Bytes packet(12 + 60);
  const u8 request[] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x52, 0x54, 0, 1, 2,  3, 8, 6, 0, 1, 8, 0,  6, 4, 0,
                        1,    0x52, 0x54, 0,    1,    2,    3,    10,   0, 2, 15, 0, 0, 0, 0, 0, 0, 10, 0, 2, 2};
  std::ranges::copy(request, packet.begin() + 12);
  for (unsigned tries = 0; tries < 10; ++tries) {
    if ((driver_.status() & virtio::status_needs_reset) != 0) start();
    machine_.dma().write(frames_at, packet.data(), packet.size());
    driver_.add(transmit_queue, 0, {{frames_at, static_cast<u32>(packet.size())}});
    driver_.kick(transmit_queue);
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(1);
    while (std::chrono::steady_clock::now() < deadline) {
      machine_.loop->run_once(10);
      if (take_replies()) {
        driver_.all_used(transmit_queue);
        return true;
      }
    }
  }
  return false;
}

// Noise behind an Ethernet header; half of them pass for IP until one looks closer.
Bytes Flood::make_frame() {
  static constexpr u16 types[] = {0x0800, 0x86dd, 0x0806, 0x8100, 0x88cc};
  static constexpr u8 protocols[] = {6, 17, 1, 58, 0, 44};
  const u32 kind = next(64);
  const std::size_t bytes = kind == 0 ? next(66'000) : kind == 1 ? next(20) : 14 + next(300);
  Bytes frame(bytes);
  for (std::size_t i = 0; i < std::min<std::size_t>(bytes, 320); i += 8) {
    const u64 noise = random_();
    std::memcpy(&frame[i], &noise, std::min<std::size_t>(8, bytes - i));
  }
  if (bytes < 14) return frame;
  constexpr u8 gateway[] = {0x52, 0x55, 0x0a, 0x00, 0x02, 0x02};
  std::ranges::copy(gateway, frame.begin());
  const u16 type = types[next(std::size(types))];
  frame[12] = static_cast<u8>(type >> 8), frame[13] = static_cast<u8>(type);
  if (type == 0x0800 && bytes >= 34 && next(4) != 0) {
    frame[14] = next(8) == 0 ? static_cast<u8>(0x40 | next(16)) : 0x45;
    const std::size_t length = next(4) == 0 ? next(65536) : bytes - 14;
    frame[16] = static_cast<u8>(length >> 8), frame[17] = static_cast<u8>(length);
    if (next(2) == 0) frame[20] = frame[21] = 0;  // else a fragment of something
    frame[23] = protocols[next(3)];
    const u8 addresses[] = {10, 0, 2, 15, 10, 0, 2, static_cast<u8>(2 + next(2))};
    std::ranges::copy(addresses, frame.begin() + 26);
    // The checksum right, or the frame goes no further.
    frame[24] = frame[25] = 0;
    const u16 sum = static_cast<u16>(~network::internet_sum(std::span(frame).subspan(14, 20)));
    std::memcpy(&frame[24], &sum, sizeof sum);
  } else if (type == 0x86dd && bytes >= 54 && next(4) != 0) {
    frame[14] = 0x60;
    const std::size_t length = next(4) == 0 ? next(65536) : bytes - 54;
    frame[18] = static_cast<u8>(length >> 8), frame[19] = static_cast<u8>(length);
    frame[20] = protocols[next(std::size(protocols))];
    for (std::size_t at = 22; at < 54; ++at) frame[at] = 0;
    frame[22] = frame[38] = 0xfe, frame[23] = frame[39] = 0xc0;
    frame[37] = 0x15, frame[53] = static_cast<u8>(2 + next(2));
  }
  return frame;
}

// Mostly none; else checksums and segmentation of anything.
std::array<u8, 12> Flood::make_header(std::size_t frame_bytes) {
  std::array<u8, 12> header{};
  if (next(4) != 0) return header;
  const u64 noise[] = {random_(), random_()};
  std::memcpy(header.data(), noise, header.size());
  if (next(2) == 0) {  // one that fits
    const u16 start = static_cast<u16>(
        frame_bytes == 0 ? 0 : next(static_cast<u32>(std::min<std::size_t>(frame_bytes, 65535))));
    header[0] = 1, header[1] = next(2) == 0 ? 1 : 4;
    std::memcpy(&header[6], &start, sizeof start);
    header[8] = static_cast<u8>(next(20)), header[9] = 0;
  }
  return header;
}

// In one to eight pieces, in the ring or in an indirect table.
void Flood::place(const Bytes& packet, u16 head) {
  if (at_ + packet.size() > frames_end) at_ = frames_at;
  machine_.dma().write(at_, packet.data(), packet.size());
  std::vector<VirtioDriver::Buffer> buffers;
  u64 from = at_;
  for (u64 left = packet.size(); left != 0;) {
    const u64 piece = buffers.size() == 7 || next(3) == 0 ? left : 1 + next(static_cast<u32>(left));
    buffers.push_back({from, static_cast<u32>(piece)});
    from += piece;
    left -= piece;
  }
  at_ += packet.size();
  driver_.add(transmit_queue, head, buffers);
}

void Flood::send_some(unsigned count) {
  for (unsigned i = 0; i < count; ++i) {
    const Bytes frame = make_frame();
    const auto header = make_header(frame.size());
    Bytes packet(header.begin(), header.end());
    packet.insert(packet.end(), frame.begin(), frame.end());
    place(packet, static_cast<u16>(8 * (i % (ring_entries / 8))));
    if (i % (ring_entries / 8) == ring_entries / 8 - 1 || frame.size() > 4096) settle();
  }
  settle();
  driver_.all_used(transmit_queue);
}

// What needs a reset: chains without end, buffers nowhere, indices that run away, rings that are no memory.
void Flood::break_rings() {
  switch (next(7)) {
    case 0: driver_.add(transmit_queue, 0, {{frames_at, 11}}); break;  // half a header
    case 1: driver_.add(transmit_queue, 0, {{frames_at, 100}, {frames_at, 100, true}}); break;
    case 2:
      driver_.put(transmit_queue, 0, {frames_at, 16, VirtioDriver::flag_next, 0});
      driver_.offer(transmit_queue, 0);
      break;
    case 3: driver_.add(transmit_queue, 0, {{VirtioMachine::bar, 100}}); break;
    case 4: driver_.add(transmit_queue, 0, {{frames_at, 0xffff'ffff}}); break;
    case 5: machine_.dma().write(VirtioDriver::ring(transmit_queue, 1) + 2, static_cast<u16>(random_())); break;
    case 6: {
      driver_.set_status(0);
      driver_.write(0x16, 2, transmit_queue);
      driver_.write(0x18, 2, 1 + next(65535));
      driver_.write(0x20, 8, random_());
      driver_.write(0x1c, 2, 1);
      break;
    }
    default: break;
  }
  settle();
  start();
}

bool Flood::run(u64 count) {
  auto port = network::UserPort::create(*machine_.loop, {});
  if (!port) {
    fmt::print("{}\n", port.error().message);
    return false;
  }
  port_ = std::move(*port);
  machine_.plug([&](VirtioMachine& m) {
    return std::make_unique<VirtioNet>("net", m.dma(), m.policy(), *port_,
                                       VirtioNet::MacAddress{0x52, 0x54, 0, 1, 2, 3}, pairs);
  });
  start();
  u64 ours = 0, theirs = 0;
  for (u64 sent = 0; sent < count; sent += frames_between_answers) {
    send_some(frames_between_answers);
    take_replies();
    if (sent / frames_between_answers % 64 == 63) break_rings();
    if (!port_->link_up() || !network_answers()) {
      fmt::print("after {} frames the network does not answer\n", sent);
      return false;
    }
    // What has been in use once stays mapped: growth is counted from a tenth of the way on.
    if (ours == 0 && sent >= count / 10) ours = resident_kib(::getpid()), theirs = resident_kib(port_->pid());
  }
  const u64 ours_now = resident_kib(::getpid()), theirs_now = resident_kib(port_->pid());
  fmt::print("  {} frames, {} starts of the device; resident {} -> {} KiB, the network's process {} -> {} KiB\n", count,
             restarts_, ours, ours_now, theirs, theirs_now);
  if (ours_now > ours + most_growth_kib || theirs_now > theirs + most_growth_kib) {
    fmt::print("memory grows\n");
    return false;
  }
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 2 && std::string_view(argv[1]) == network::user_process_argument)
    return network::run_user_process(network::user_process_socket);
  const u64 count = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 100'000;
  const u64 seed = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 1;
  Flood flood(seed);
  const bool passed = flood.run(count);
  fmt::print("{} frame_flood/{}\n", passed ? "PASS" : "FAIL", count);
  return passed ? 0 : 1;
}
