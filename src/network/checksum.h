// The Internet checksum (RFC 1071), for what a guest left to its network card.
#pragma once

#include <cstring>
#include <span>

#include "base/types.h"
#include "network/port.h"

namespace doppel::network {

// Folded sum of 16-bit words, not inverted.
inline u16 internet_sum(std::span<const u8> bytes) {
  u64 sum = 0;
  std::size_t i = 0;
  for (; i + 4 <= bytes.size(); i += 4) {
    u32 word;
    std::memcpy(&word, bytes.data() + i, sizeof word);
    sum += word;
  }
  for (u32 word = 0; i < bytes.size(); i += sizeof word) {
    word = 0;
    std::memcpy(&word, bytes.data() + i, bytes.size() - i);
    sum += word;
  }
  while (sum >> 16 != 0) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<u16>(sum);
}

// Whether a header's offsets lie in the frame. What comes from a guest or a peer is not believed.
inline bool checksum_fits(const PacketHeader& header, std::size_t frame_bytes) {
  return (header.flags & PacketHeader::needs_checksum) == 0 ||
         (header.csum_start < frame_bytes && u64{header.csum_start} + header.csum_offset + 2 <= frame_bytes);
}

// Completes a checksum whose pseudo-header's sum is in place already. The offsets fit.
inline void complete_checksum(const PacketHeader& header, std::span<u8> frame) {
  if ((header.flags & PacketHeader::needs_checksum) == 0) return;
  u16 sum = static_cast<u16>(~internet_sum(frame.subspan(header.csum_start)));
  if (sum == 0) sum = 0xffff;  // in UDP, 0 says "none"; elsewhere the two are equal
  std::memcpy(frame.data() + header.csum_start + header.csum_offset, &sum, sizeof sum);
}

}  // namespace doppel::network
