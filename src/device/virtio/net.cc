// The virtio network device; see net.h.
//
//   packet: {u8 flags, u8 gso_type, u16 hdr_len, gso_size, csum_start, csum_offset, num_buffers} and the frame (§5.1.6)
#include "device/virtio/net.h"

#include <algorithm>
#include <cstring>

namespace doppel {

namespace {
constexpr unsigned receive_queue = 0, transmit_queue = 1;
constexpr std::array<u16, 2> queue_sizes{256, 256};
constexpr u64 feature_mac = 1 << 5, feature_mergeable = 1 << 15, feature_status = 1 << 16;
constexpr u64 header_bytes = 12, num_buffers_offset = 10;
constexpr u64 shortest_frame = 14;
}  // namespace

VirtioNet::VirtioNet(std::string name, Dma dma, const CompletionPolicy& policy, network::Port& port,
                     const MacAddress& mac)
    : VirtioDevice(std::move(name), virtio::type_network, dma, policy, queue_sizes), port_(port) {
  std::ranges::copy(mac, config_.begin());
  set_status();
  port_.set_receiver([this](std::span<const u8> frame) { return receive(frame); });
}

VirtioNet::~VirtioNet() {
  port_.set_receiver({});
  shut_down();
}

u64 VirtioNet::features() const { return feature_mac | feature_mergeable | feature_status; }

void VirtioNet::set_status() { config_[6] = port_.link_up() ? 1 : 0; }

void VirtioNet::link_changed() {
  const std::lock_guard lock(mutex());
  const u8 before = config_[6];
  set_status();
  if (config_[6] != before) config_changed();
}

void VirtioNet::work(unsigned index) {
  if (index == transmit_queue) return transmit();
  if (!wanting_room_) return;
  wanting_room_ = false;
  port_.ready();
}

void VirtioNet::transmit() {
  consume(transmit_queue, [&](const Virtqueue::Chain& chain) {
    if (chain.readable_bytes < header_bytes || chain.writable_bytes != 0)
      return needs_reset("network packet without header");
    const u64 bytes = chain.readable_bytes - header_bytes;
    if (bytes >= shortest_frame && bytes <= network::max_frame_bytes) {  // others are dropped, as a switch would
      frame_.resize(bytes);
      chain.read(header_bytes, frame_.data(), bytes);
      port_.send(frame_);
    }
    push(transmit_queue, chain, 0);
  });
  interrupt_if_wanted(transmit_queue);
}

// A guest without a driver loses its frames; one that has no buffers now gets them later.
bool VirtioNet::receive(std::span<const u8> frame) {
  const std::lock_guard lock(mutex());
  if (!live() || frame.size() < shortest_frame || frame.size() > network::max_frame_bytes) return true;
  if (running() && deliver(frame)) return true;
  wanting_room_ = live();
  return !wanting_room_;
}

// Mergeable buffers: as many chains as it takes, counted in the first one's header. Otherwise one chain holds it all.
bool VirtioNet::deliver(std::span<const u8> frame) {
  Virtqueue& ring = queue(receive_queue);
  const u64 needed = header_bytes + frame.size();
  std::vector<Virtqueue::Chain> chains;
  u64 room = 0;
  while (room < needed) {
    auto chain = ring.pop();
    if (!chain) {
      if (ring.broken() != nullptr) {
        needs_reset(ring.broken());
        return true;
      }
      if (ring.enable_notifications()) continue;  // one came just now
      for (std::size_t i = 0; i < chains.size(); ++i) ring.unpop();
      return false;
    }
    room += chain->writable_bytes;
    chains.push_back(std::move(*chain));
    if (negotiated(feature_mergeable) ? chains.back().writable_bytes == 0 : room < needed) {
      needs_reset("receive buffer too small");
      return true;
    }
  }
  std::vector<u8> packet(needed);
  packet[num_buffers_offset] = static_cast<u8>(chains.size());
  packet[num_buffers_offset + 1] = static_cast<u8>(chains.size() >> 8);
  std::ranges::copy(frame, packet.begin() + header_bytes);
  u64 done = 0;
  for (const auto& chain : chains) {
    const u64 part = std::min(needed - done, chain.writable_bytes);
    chain.write(0, packet.data() + done, part);
    push(receive_queue, chain, part);
    done += part;
  }
  interrupt_if_wanted(receive_queue);
  return true;
}

void VirtioNet::device_state(state::Archive& archive) {
  archive(config_);
  archive(wanting_room_);
}

}  // namespace doppel
