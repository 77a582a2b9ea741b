// See coalesce.h.
//
//   frame  +0 Ethernet, type at +c
//   IPv4   +2 length  +4 id  +6 fragment  +9 protocol  +a checksum  +c source, destination    (20 bytes: no options)
//   IPv6   +0 version, class, flow label  +4 payload's length  +6 protocol  +8 source, destination    (40 bytes)
//   TCP    +0 ports  +4 sequence  +8 acknowledgement  +c length, flags  +e window  +10 checksum
#include "network/user/coalesce.h"

#include <algorithm>
#include <cstring>

#include "network/checksum.h"

namespace doppel::network {

namespace {

constexpr std::size_t ip = 14, most_ip_bytes = 65'535, tcp_header = 20;
constexpr std::size_t ip4_header = 20, ip6_header = 40;
constexpr u8 push = 0x08, acknowledge = 0x10, protocol_tcp = 6;

u16 get16(const u8* at) { return static_cast<u16>(at[0] << 8 | at[1]); }
u32 get32(const u8* at) { return u32{get16(at)} << 16 | get16(at + 2); }
void put16(u8* at, std::size_t value) {
  at[0] = static_cast<u8>(value >> 8);
  at[1] = static_cast<u8>(value);
}

struct Segment {
  std::size_t tcp = 0;     // where its header is
  std::size_t header = 0;  // bytes before the payload; 0: nothing that can be joined
  std::size_t payload = 0;
  u32 sequence = 0;
  bool six() const { return tcp == ip + ip6_header; }
};

// Where TCP begins in a frame that is whole and no fragment; 0: elsewhere, or nowhere.
std::size_t find_tcp(std::span<const u8> frame) {
  if (frame.size() < ip + ip4_header + tcp_header) return 0;
  const u16 type = get16(&frame[12]);
  if (type == 0x0800) {
    const bool plain = frame[ip] == 0x45 && frame[ip + 9] == protocol_tcp && (get16(&frame[ip + 6]) & 0x3fff) == 0;
    return plain && get16(&frame[ip + 2]) == frame.size() - ip ? ip + ip4_header : 0;
  }
  if (type != 0x86dd || frame.size() < ip + ip6_header + tcp_header) return 0;
  const bool plain = frame[ip] >> 4 == 6 && frame[ip + 6] == protocol_tcp;
  return plain && get16(&frame[ip + 4]) == frame.size() - ip - ip6_header ? ip + ip6_header : 0;
}

Segment parse(std::span<const u8> frame) {
  const std::size_t tcp = find_tcp(frame);
  if (tcp == 0) return {};
  const std::size_t header = tcp + (frame[tcp + 12] >> 4) * std::size_t{4};
  if (header < tcp + tcp_header || header >= frame.size()) return {};
  if ((frame[tcp + 13] & ~push) != acknowledge) return {};
  return {tcp, header, frame.size() - header, get32(&frame[tcp + 4])};
}

// Addresses, ports, options: what must be equal.
bool same_flow(const u8* a, const u8* b, const Segment& segment) {
  const auto equal = [&](std::size_t from, std::size_t to) { return std::equal(a + from, a + to, b + from); };
  const bool same_ip = segment.six() ? equal(0, ip + 4) && equal(ip + 6, segment.tcp)
                                     : equal(0, ip + 2) && equal(ip + 8, ip + 10) && equal(ip + 12, segment.tcp);
  return same_ip && equal(segment.tcp, segment.tcp + 4) && equal(segment.tcp + tcp_header, segment.header);
}

void set_checksums(PacketHeader& header, std::span<u8> frame, const Segment& segment) {
  u8* bytes = frame.data();
  u8 pseudo[ip6_header] = {};
  const std::size_t addresses = segment.six() ? 32 : 8;
  if (segment.six()) {
    put16(bytes + ip + 4, frame.size() - segment.tcp);
  } else {
    put16(bytes + ip + 2, frame.size() - ip);
    put16(bytes + ip + 10, 0);
    const u16 sum = static_cast<u16>(~internet_sum(frame.subspan(ip, ip4_header)));
    std::memcpy(bytes + ip + 10, &sum, sizeof sum);
  }
  // TCP's is left to be done, over the sum of its pseudo-header: addresses, protocol, length.
  std::copy_n(bytes + segment.tcp - addresses, addresses, pseudo);
  pseudo[addresses + 1] = protocol_tcp;
  put16(pseudo + addresses + 2, frame.size() - segment.tcp);
  const u16 start = internet_sum(pseudo);
  std::memcpy(bytes + segment.tcp + 16, &start, sizeof start);
  header.flags = PacketHeader::needs_checksum;
  header.csum_start = static_cast<u16>(segment.tcp);
  header.csum_offset = 16;
}

}  // namespace

bool join_tcp_segment(FrameQueue& queue, std::span<const u8> frame, const Offloads& wanted) {
  if (queue.empty()) return false;
  const Segment next = parse(frame);
  if (next.header == 0 || !(next.six() ? wanted.tso6 : wanted.tso4)) return false;
  auto [header, before] = queue.last();
  const Segment last = parse(before);
  if (last.header != next.header || last.tcp != next.tcp || !same_flow(before.data(), frame.data(), last)) return false;
  if (last.sequence + last.payload != next.sequence || before.size() - ip + next.payload > most_ip_bytes) return false;
  // All segments but the last are equally long.
  const std::size_t size = header.gso_type == PacketHeader::gso_none ? last.payload : header.gso_size;
  if (next.payload > size || last.payload % size != 0) return false;
  if (!queue.extend_last(frame.subspan(next.header))) return false;

  before = queue.last().second;
  const std::size_t tcp = last.tcp;
  std::copy_n(frame.data() + tcp + 8, 4, before.data() + tcp + 8);    // acknowledgement
  std::copy_n(frame.data() + tcp + 14, 2, before.data() + tcp + 14);  // window
  before[tcp + 13] |= frame[tcp + 13];
  header.gso_type = last.six() ? PacketHeader::gso_tcp6 : PacketHeader::gso_tcp4;
  header.gso_size = static_cast<u16>(size);
  header.hdr_len = static_cast<u16>(last.header);
  set_checksums(header, before, last);
  queue.set_last_header(header);
  return true;
}

}  // namespace doppel::network
