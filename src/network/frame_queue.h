// Packets on a SOCK_SEQPACKET socket, many to a system call in both directions: a header and a frame are one packet.
#pragma once

#include <sys/socket.h>

#include <array>
#include <span>
#include <utility>
#include <vector>

#include "base/types.h"
#include "network/port.h"

namespace doppel::network {

// Packets that wait to go out. Bounded: what does not fit is dropped.
class FrameQueue {
 public:
  static constexpr std::size_t limit_bytes = 4 << 20;

  bool add(const PacketHeader& header, std::span<const u8> frame);
  // Sends what the socket takes. Packets that are left wait for it to be writable; false: the other end is gone.
  bool flush(int socket);
  bool empty() const { return first_ == packets_.size(); }

  // The packet that was added last; the queue is not empty. It can grow, unless the queue is full.
  std::pair<PacketHeader, std::span<u8>> last();
  bool extend_last(std::span<const u8> bytes);
  void set_last_header(const PacketHeader& header);

 private:
  void clear();
  struct Packet {
    std::size_t offset, bytes;
  };
  std::vector<u8> bytes_;
  std::vector<Packet> packets_;
  std::size_t first_ = 0;  // not sent yet
};

// Packets that came in, a batch at a time.
class FrameBatch {
 public:
  static constexpr unsigned frames = 32;

  FrameBatch() : buffer_(std::size_t{frames} * packet_bytes) {}
  // Reads a batch; only when the one before has been taken. 0: nothing there; -1: the other end is gone.
  int read(int socket);
  bool empty() const { return next_ == count_; }
  // The next packet; an empty frame for a malformed one. It stays until the next read().
  std::pair<PacketHeader, std::span<u8>> front();
  void pop() { ++next_; }

 private:
  static constexpr std::size_t packet_bytes = (sizeof(PacketHeader) + max_frame_bytes + 63) / 64 * 64;
  std::vector<u8> buffer_;
  std::array<std::size_t, frames> sizes_{};
  unsigned next_ = 0, count_ = 0;
};

}  // namespace doppel::network
