// Puts fragmented IPv4 datagrams of the guest together (RFC 791 §3.2), strictly, so that libslirp, whose own code for this has
// ended its process more than once, never sees a fragment: pieces that overlap, exceed a datagram or do not fit together are
// dropped with the datagram. A bounded number are under way; the oldest makes room.
#pragma once

#include <array>
#include <bitset>
#include <optional>
#include <span>
#include <vector>

#include "base/types.h"

namespace doppel::network {

class Reassembly {
 public:
  static constexpr std::size_t most_datagrams = 16;

  // A frame that is no fragment comes back as it is; the last missing fragment brings the whole datagram as one frame, which
  // lasts until the next call. Nothing: kept, or dropped.
  std::optional<std::span<const u8>> pass(std::span<const u8> frame);

 private:
  static constexpr std::size_t unit = 8, most_bytes = 65'535;  // offsets count units
  using Key = std::array<u8, 11>;                              // source, destination, identification, protocol

  struct Fragment {
    Key key;
    std::size_t header, offset, bytes;  // of IP's header; of the payload
    bool more;
  };
  struct Datagram {
    Key key{};
    u64 started = 0;                 // in the order of first fragments; 0: free
    std::vector<u8> head;            // Ethernet and IP headers of the fragment at 0
    std::vector<u8> payload;         // as far as anything came
    std::optional<std::size_t> end;  // the payload's size, once the last fragment came
    std::bitset<most_bytes / unit + 1> present;
    std::size_t units = 0;  // how many are present
  };

  static std::optional<Fragment> parse(std::span<const u8> frame);
  Datagram& find(const Key& key);
  static bool add(Datagram& datagram, const Fragment& fragment, std::span<const u8> frame);
  std::optional<std::span<const u8>> finish(Datagram& datagram);

  std::array<Datagram, most_datagrams> datagrams_;
  u64 started_ = 0;
  std::vector<u8> whole_;
};

}  // namespace doppel::network
