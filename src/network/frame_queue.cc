// See frame_queue.h.
#include "network/frame_queue.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace doppel::network {

bool FrameQueue::add(const PacketHeader& header, std::span<const u8> frame) {
  const std::size_t bytes = sizeof header + frame.size();
  if (bytes_.size() + bytes > limit_bytes) return false;
  packets_.push_back({bytes_.size(), bytes});
  const auto* start = reinterpret_cast<const u8*>(&header);
  bytes_.insert(bytes_.end(), start, start + sizeof header);
  bytes_.insert(bytes_.end(), frame.begin(), frame.end());
  return true;
}

std::pair<PacketHeader, std::span<u8>> FrameQueue::last() {
  const Packet& packet = packets_.back();
  PacketHeader header;
  std::memcpy(&header, bytes_.data() + packet.offset, sizeof header);
  return {header, std::span(bytes_).subspan(packet.offset + sizeof header, packet.bytes - sizeof header)};
}

bool FrameQueue::extend_last(std::span<const u8> bytes) {
  if (bytes_.size() + bytes.size() > limit_bytes) return false;
  bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
  packets_.back().bytes += bytes.size();
  return true;
}

void FrameQueue::set_last_header(const PacketHeader& header) {
  std::memcpy(bytes_.data() + packets_.back().offset, &header, sizeof header);
}

bool FrameQueue::flush(int socket) {
  constexpr std::size_t batch = 32;
  while (!empty()) {
    std::array<mmsghdr, batch> messages{};
    std::array<iovec, batch> pieces{};
    const std::size_t count = std::min(batch, packets_.size() - first_);
    for (std::size_t i = 0; i < count; ++i) {
      pieces[i] = {bytes_.data() + packets_[first_ + i].offset, packets_[first_ + i].bytes};
      messages[i].msg_hdr.msg_iov = &pieces[i];
      messages[i].msg_hdr.msg_iovlen = 1;
    }
    const int sent = ::sendmmsg(socket, messages.data(), static_cast<unsigned>(count), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0 && (errno == EAGAIN || errno == ENOBUFS)) return true;
    if (sent <= 0) {
      clear();
      return false;
    }
    first_ += static_cast<std::size_t>(sent);
  }
  clear();
  return true;
}

void FrameQueue::clear() {
  bytes_.clear();
  packets_.clear();
  first_ = 0;
}

int FrameBatch::read(int socket) {
  std::array<mmsghdr, frames> messages{};
  std::array<iovec, frames> pieces{};
  for (unsigned i = 0; i < frames; ++i) {
    pieces[i] = {buffer_.data() + i * packet_bytes, packet_bytes};
    messages[i].msg_hdr.msg_iov = &pieces[i];
    messages[i].msg_hdr.msg_iovlen = 1;
  }
  next_ = count_ = 0;
  const int got = ::recvmmsg(socket, messages.data(), frames, MSG_DONTWAIT, nullptr);
  if (got < 0) return errno == EAGAIN || errno == EINTR ? 0 : -1;
  for (int i = 0; i < got; ++i) {
    if (messages[i].msg_len == 0) return i == 0 ? -1 : got;  // the end of the stream
    sizes_[count_++] = messages[i].msg_len;
  }
  return got == 0 ? -1 : got;
}

std::pair<PacketHeader, std::span<u8>> FrameBatch::front() {
  u8* packet = buffer_.data() + next_ * packet_bytes;
  if (sizes_[next_] < sizeof(PacketHeader)) return {};
  PacketHeader header;
  std::memcpy(&header, packet, sizeof header);
  return {header, {packet + sizeof header, sizes_[next_] - sizeof header}};
}

}  // namespace doppel::network
