// See coalesce.h.
//
//   frame  +0 Ethernet, type at +c   +e IPv4: +2 length  +4 id  +6 fragment  +9 protocol  +a checksum  +c source, destination
//          +22 TCP: +0 ports  +4 sequence  +8 acknowledgement  +c length, flags  +e window  +10 checksum
#include "network/user/coalesce.h"

#include <algorithm>
#include <cstring>

#include "network/checksum.h"

namespace doppel::network {

namespace {

constexpr std::size_t ip = 14, tcp = ip + 20, least = tcp + 20, most_ip_bytes = 65'535;
constexpr u8 push = 0x08, acknowledge = 0x10;

u16 get16(const u8* at) { return static_cast<u16>(at[0] << 8 | at[1]); }
u32 get32(const u8* at) { return u32{get16(at)} << 16 | get16(at + 2); }
void put16(u8* at, std::size_t value) {
  at[0] = static_cast<u8>(value >> 8);
  at[1] = static_cast<u8>(value);
}

struct Segment {
  std::size_t header = 0;  // bytes before the payload; 0: nothing that can be joined
  std::size_t payload = 0;
  u32 sequence = 0;
};

Segment parse(std::span<const u8> frame) {
  if (frame.size() < least || get16(&frame[12]) != 0x0800 || frame[ip] != 0x45 || frame[ip + 9] != 6) return {};
  if ((get16(&frame[ip + 6]) & 0x3fff) != 0 || get16(&frame[ip + 2]) != frame.size() - ip) return {};
  const std::size_t header = tcp + (frame[tcp + 12] >> 4) * std::size_t{4};
  if (header < least || header >= frame.size()) return {};
  if ((frame[tcp + 13] & ~push) != acknowledge) return {};
  return {header, frame.size() - header, get32(&frame[tcp + 4])};
}

// Addresses, ports, options: what must be equal.
bool same_flow(const u8* a, const u8* b, std::size_t header) {
  return std::equal(a, a + ip + 2, b) && std::equal(a + ip + 8, a + ip + 10, b + ip + 8) &&
         std::equal(a + ip + 12, a + tcp + 4, b + ip + 12) && std::equal(a + least, a + header, b + least);
}

void set_checksums(PacketHeader& header, std::span<u8> frame) {
  u8* bytes = frame.data();
  put16(bytes + ip + 2, frame.size() - ip);
  put16(bytes + ip + 10, 0);
  const u16 sum = static_cast<u16>(~internet_sum(frame.subspan(ip, 20)));
  std::memcpy(bytes + ip + 10, &sum, sizeof sum);
  // TCP's is left to be done, over the sum of its pseudo-header.
  u8 pseudo[12] = {};
  std::copy_n(bytes + ip + 12, 8, pseudo);
  pseudo[9] = 6;
  put16(pseudo + 10, frame.size() - tcp);
  const u16 start = internet_sum(pseudo);
  std::memcpy(bytes + tcp + 16, &start, sizeof start);
  header.flags = PacketHeader::needs_checksum;
  header.csum_start = tcp;
  header.csum_offset = 16;
}

}  // namespace

bool join_tcp_segment(FrameQueue& queue, std::span<const u8> frame) {
  if (queue.empty()) return false;
  const Segment next = parse(frame);
  if (next.header == 0) return false;
  auto [header, before] = queue.last();
  const Segment last = parse(before);
  if (last.header != next.header || !same_flow(before.data(), frame.data(), last.header)) return false;
  if (last.sequence + last.payload != next.sequence || before.size() - ip + next.payload > most_ip_bytes) return false;
  // All segments but the last are equally long.
  const std::size_t size = header.gso_type == PacketHeader::gso_none ? last.payload : header.gso_size;
  if (next.payload > size || last.payload % size != 0) return false;
  if (!queue.extend_last(frame.subspan(next.header))) return false;

  before = queue.last().second;
  std::copy_n(frame.data() + tcp + 8, 4, before.data() + tcp + 8);    // acknowledgement
  std::copy_n(frame.data() + tcp + 14, 2, before.data() + tcp + 14);  // window
  before[tcp + 13] |= frame[tcp + 13];
  header.gso_type = PacketHeader::gso_tcp4;
  header.gso_size = static_cast<u16>(size);
  header.hdr_len = static_cast<u16>(last.header);
  set_checksums(header, before);
  queue.set_last_header(header);
  return true;
}

}  // namespace doppel::network
