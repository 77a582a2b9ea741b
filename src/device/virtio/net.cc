// The virtio network device; see net.h.
//
//   packet: {u8 flags, u8 gso_type, u16 hdr_len, gso_size, csum_start, csum_offset, num_buffers} and the frame (§5.1.6)
//   queues: receive 0, transmit 0, receive 1, … and the control queue behind those that the driver knows of (§5.1.2)
#include "device/virtio/net.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "network/checksum.h"

namespace doppel {

using network::PacketHeader;

namespace {

constexpr u64 bit(unsigned number) { return u64{1} << number; }
constexpr u64 feature_checksum = bit(0), feature_guest_checksum = bit(1), feature_control_offloads = bit(2),
              feature_mtu = bit(3), feature_mac = bit(5), feature_guest_tso4 = bit(7), feature_guest_tso6 = bit(8),
              feature_guest_ecn = bit(9), feature_host_tso4 = bit(11), feature_host_tso6 = bit(12),
              feature_host_ecn = bit(13), feature_mergeable = bit(15), feature_status = bit(16),
              feature_control = bit(17), feature_control_rx = bit(18), feature_control_vlan = bit(19),
              feature_control_rx_extra = bit(20), feature_announce = bit(21), feature_pairs = bit(22),
              feature_control_mac = bit(23);
constexpr u64 guest_offloads = feature_guest_checksum | feature_guest_tso4 | feature_guest_tso6 | feature_guest_ecn;
constexpr u16 ring_size = 256, control_size = 64;
constexpr u64 header_bytes = 12;  // with num_buffers
constexpr u64 longest_command = 64 * 1024;
constexpr std::size_t mtu_offset = 10;
constexpr u8 link_bit = 1, announce_bit = 2;

std::vector<u16> queue_sizes(unsigned pairs) {
  CHECK(pairs >= 1 && pairs <= VirtioNet::max_pairs);
  std::vector<u16> sizes(2 * pairs, ring_size);
  sizes.push_back(control_size);
  return sizes;
}

u64 offload_bits(const network::Offloads& offloads, u64 checksum, u64 tso4, u64 tso6, u64 ecn) {
  return (offloads.checksum ? checksum : 0) | (offloads.tso4 ? tso4 : 0) | (offloads.tso6 ? tso6 : 0) |
         (offloads.ecn ? ecn : 0);
}

}  // namespace

VirtioNet::VirtioNet(std::string name, Dma dma, const CompletionPolicy& policy, network::Port& port,
                     const MacAddress& mac, unsigned pairs, u16 mtu)
    : VirtioDevice(std::move(name), virtio::type_network, dma, policy, queue_sizes(pairs)),
      port_(port),
      pairs_(pairs),
      factory_mac_(mac) {
  std::ranges::copy(mac, config_.begin());
  config_[8] = static_cast<u8>(pairs);
  std::memcpy(config_.data() + mtu_offset, &mtu, sizeof mtu);
  set_link();
  port_.set_receiver(this);
}

VirtioNet::~VirtioNet() {
  port_.set_receiver(nullptr);
  shut_down();
}

u64 VirtioNet::features() const {
  u64 all = feature_mac | feature_mergeable | feature_status | feature_control | feature_control_rx |
            feature_control_vlan | feature_control_rx_extra | feature_announce | feature_control_mac;
  all |= offload_bits(port_.takes(), feature_checksum, feature_host_tso4, feature_host_tso6, feature_host_ecn);
  const u64 receive = offload_bits(port_.gives(), feature_guest_checksum, feature_guest_tso4, feature_guest_tso6,
                                   feature_guest_ecn);
  if (receive != 0) all |= receive | feature_control_offloads;
  if (mtu() != 0) all |= feature_mtu;
  return pairs_ > 1 ? all | feature_pairs : all;
}

u16 VirtioNet::mtu() const {
  u16 mtu = 0;
  std::memcpy(&mtu, config_.data() + mtu_offset, sizeof mtu);
  return mtu;
}

unsigned VirtioNet::control_queue() const { return negotiated(feature_pairs) ? 2 * pairs_ : 2; }

// ---- link ----

void VirtioNet::set_link() {
  config_[6] = static_cast<u8>((config_[6] & ~link_bit) | (port_.link_up() ? link_bit : 0));
}

void VirtioNet::link_changed() {
  const std::lock_guard lock(mutex());
  const u8 before = config_[6];
  set_link();
  if (config_[6] != before) config_changed();
}

// ---- queues ----

void VirtioNet::work(unsigned index) {
  if (!offloads_known_) {
    offloads_known_ = true;
    allow_offloads(guest_offloads);
  }
  if (negotiated(feature_control) && index == control_queue()) return control();
  if (index >= 2 * active_pairs_) return;
  if (index % 2 == 1) return transmit(index);
  if (!wanting_room_) return;
  wanting_room_ = false;
  port_.ready();
}

void VirtioNet::transmit(unsigned index) {
  consume(index, [&](const Virtqueue::Chain& chain) {
    if (chain.readable_bytes < header_bytes || chain.writable_bytes != 0)
      return needs_reset("network packet without header");
    send(index, chain);
    push(index, chain, 0);
  });
  port_.flush();
  interrupt_if_wanted(index);
}

// Frames of impossible length, and those that ask for what was not negotiated, are dropped, as a switch would.
void VirtioNet::send(unsigned index, const Virtqueue::Chain& chain) {
  const u64 bytes = chain.readable_bytes - header_bytes;
  if (bytes < network::min_frame_bytes || bytes > network::max_frame_bytes) return;
  PacketHeader header;
  chain.read(0, &header, sizeof header);
  header.flags &= PacketHeader::needs_checksum;
  if (!acceptable(header, bytes)) return;
  frame_.resize(bytes);
  chain.read(header_bytes, frame_.data(), bytes);
  if (active_pairs_ > 1) steering_[net_control::flow_of(frame_)] = static_cast<u8>(index / 2);
  port_.send(header, frame_);
}

bool VirtioNet::acceptable(const PacketHeader& header, u64 frame_bytes) const {
  if (header.flags != 0 && !negotiated(feature_checksum)) return false;
  if (!network::checksum_fits(header, frame_bytes)) return false;
  if (header.gso_type == PacketHeader::gso_none) return true;
  const u8 type = header.gso_type & static_cast<u8>(~PacketHeader::gso_ecn);
  const bool known = (type == PacketHeader::gso_tcp4 && negotiated(feature_host_tso4)) ||
                     (type == PacketHeader::gso_tcp6 && negotiated(feature_host_tso6));
  if ((header.gso_type & PacketHeader::gso_ecn) != 0 && !negotiated(feature_host_ecn)) return false;
  return known && header.flags != 0 && header.gso_size != 0 && header.hdr_len <= frame_bytes;
}

// A guest without a driver loses its frames; one that has no buffers now gets them later.
bool VirtioNet::receive(const PacketHeader& header, std::span<const u8> frame) {
  const std::lock_guard lock(mutex());
  if (!live() || !offloads_known_) return true;
  if (frame.size() < network::min_frame_bytes || frame.size() > network::max_frame_bytes) return true;
  if (!network::checksum_fits(header, frame.size()) || !understood(header)) return true;
  if (!filter_.passes(frame, std::span(config_).first(6), negotiated(feature_control_vlan))) return true;
  const unsigned pair = active_pairs_ > 1 ? steering_[net_control::flow_of(frame)] % active_pairs_ : 0;
  if (running() && deliver(2 * pair, header, frame)) return true;
  wanting_room_ = live();
  return !wanting_room_;
}

void VirtioNet::end_of_batch() {
  const std::lock_guard lock(mutex());
  for (unsigned i = 0; i < 2 * pairs_; i += 2) {
    if (delivered_[i]) interrupt_if_wanted(i);
  }
  delivered_.reset();
}

// Mergeable buffers: as many chains as it takes, counted in the first one's header. Otherwise one chain holds it all.
bool VirtioNet::gather(unsigned index, u64 needed) {
  Virtqueue& ring = queue(index);
  chains_.clear();
  for (u64 room = 0; room < needed;) {
    auto chain = ring.pop();
    if (!chain) {
      if (ring.broken() != nullptr) {
        needs_reset(ring.broken());
        return false;
      }
      if (ring.enable_notifications()) continue;  // one came just now
      for (std::size_t i = 0; i < chains_.size(); ++i) ring.unpop();
      return false;
    }
    room += chain->writable_bytes;
    chains_.push_back(std::move(*chain));
    const bool first_too_small = chains_.size() == 1 && room < header_bytes;
    if (first_too_small || (negotiated(feature_mergeable) ? chains_.back().writable_bytes == 0 : room < needed)) {
      needs_reset("receive buffer too small");
      return false;
    }
  }
  return true;
}

// Whether the driver takes what the port left undone; right after a change of drivers there may be frames for the former.
bool VirtioNet::understood(const PacketHeader& header) const {
  if ((header.flags & PacketHeader::needs_checksum) != 0 && (offloads_ & feature_guest_checksum) == 0) return false;
  const u8 type = header.gso_type & static_cast<u8>(~PacketHeader::gso_ecn);
  if ((header.gso_type & PacketHeader::gso_ecn) != 0 && (offloads_ & feature_guest_ecn) == 0) return false;
  return type == PacketHeader::gso_none || (type == PacketHeader::gso_tcp4 && (offloads_ & feature_guest_tso4) != 0) ||
         (type == PacketHeader::gso_tcp6 && (offloads_ & feature_guest_tso6) != 0);
}

bool VirtioNet::deliver(unsigned index, const PacketHeader& header, std::span<const u8> frame) {
  const u64 needed = header_bytes + frame.size();
  if (!gather(index, needed)) return !live();  // lost when the driver is in error, kept when there is no room
  std::array<u8, header_bytes> start{};
  PacketHeader allowed = header;
  if ((offloads_ & feature_guest_checksum) == 0) allowed.flags = 0;
  std::memcpy(start.data(), &allowed, sizeof allowed);
  const u16 count = static_cast<u16>(chains_.size());
  std::memcpy(start.data() + sizeof allowed, &count, sizeof count);
  u64 done = 0;
  for (std::size_t i = 0; i < chains_.size(); ++i) {
    const u64 skip = i == 0 ? header_bytes : 0;
    if (i == 0) chains_[0].write(0, start.data(), start.size());
    const u64 part = std::min<u64>(frame.size() - done, chains_[i].writable_bytes - skip);
    chains_[i].write(skip, frame.data() + done, part);
    use(index, chains_[i], skip + part);
    done += part;
  }
  publish(index);  // a driver that sees the first one expects them all
  delivered_[index] = true;
  return true;
}

// ---- control queue ----

void VirtioNet::control() {
  const unsigned index = control_queue();
  consume(index, [&](const Virtqueue::Chain& chain) {
    if (chain.readable_bytes < 2 || chain.writable_bytes < 1) return needs_reset("malformed network control command");
    const u8 answer = command(chain);
    chain.write(0, &answer, 1);
    push(index, chain, 1);
  });
  interrupt_if_wanted(index);
}

u8 VirtioNet::command(const Virtqueue::Chain& chain) {
  using namespace net_control;
  std::vector<u8> bytes(std::min<u64>(chain.readable_bytes, longest_command));
  chain.read(0, bytes.data(), bytes.size());
  const u8 number = bytes[1];
  const auto data = std::span<const u8>(bytes).subspan(2);
  switch (bytes[0]) {
    case class_rx: return filter_.set_mode(number, data);
    case class_mac:
      if (number == mac_table_set) return filter_.set_tables(data);
      return number == mac_address_set ? set_mac(data) : error;
    case class_vlan: return filter_.set_vlan(number, data);
    case class_announce: config_[6] &= static_cast<u8>(~announce_bit); return number == 0 ? ok : error;
    case class_mq: return number == 0 ? set_pairs(data) : error;
    case class_offloads: return number == 0 ? set_offloads(data) : error;
    default: return error;
  }
}

u8 VirtioNet::set_mac(std::span<const u8> data) {
  if (data.size() != 6 || (data[0] & 1) != 0) return net_control::error;
  std::ranges::copy(data, config_.begin());
  return net_control::ok;
}

u8 VirtioNet::set_pairs(std::span<const u8> data) {
  if (data.size() != 2 || !negotiated(feature_pairs)) return net_control::error;
  const unsigned count = data[0] | data[1] << 8;
  if (count < 1 || count > pairs_) return net_control::error;
  active_pairs_ = count;
  steering_.fill(0);
  for (unsigned i = 0; i < 2 * count; ++i) request_work(i);  // what came in the meantime
  return net_control::ok;
}

u8 VirtioNet::set_offloads(std::span<const u8> data) {
  u64 wanted = 0;
  if (data.size() != sizeof wanted || !negotiated(feature_control_offloads)) return net_control::error;
  std::memcpy(&wanted, data.data(), sizeof wanted);
  if ((wanted & ~guest_offloads) != 0) return net_control::error;
  for (u64 left = wanted; left != 0; left &= left - 1) {
    if (!negotiated(left & -left)) return net_control::error;
  }
  allow_offloads(wanted);
  return net_control::ok;
}

void VirtioNet::allow_offloads(u64 wanted) {
  offloads_ = 0;
  for (u64 left = wanted & guest_offloads; left != 0; left &= left - 1) {
    if (negotiated(left & -left)) offloads_ |= left & -left;
  }
  port_.allow({.checksum = (offloads_ & feature_guest_checksum) != 0,
               .tso4 = (offloads_ & feature_guest_tso4) != 0,
               .tso6 = (offloads_ & feature_guest_tso6) != 0,
               .ecn = (offloads_ & feature_guest_ecn) != 0});
}

// ---- life cycle ----

void VirtioNet::stopped() {
  // On any thread, so the port is left alone: a frame that it holds waits for the next driver.
  std::ranges::copy(factory_mac_, config_.begin());
  config_[6] &= static_cast<u8>(~announce_bit);
  filter_.reset();
  active_pairs_ = 1;
  steering_.fill(0);
  offloads_ = 0;
  offloads_known_ = false;
  delivered_.reset();
}

void VirtioNet::device_state(state::Archive& archive) {
  archive.begin("net", 2);
  archive(config_);
  archive(wanting_room_);
  u32 pairs = active_pairs_;
  archive(pairs);
  archive.require(pairs >= 1 && pairs <= pairs_ && config_[8] == pairs_, "network queue pairs");
  archive(steering_);
  archive(offloads_);
  archive(offloads_known_);
  filter_.state(archive);
  archive.end();
  if (!archive.loading() || !archive.ok()) return;
  active_pairs_ = pairs;
  wanting_room_ = false;  // the port is another one and holds nothing
  set_link();
  allow_offloads(offloads_);
  if (!live() || !negotiated(feature_announce)) return;
  config_[6] |= announce_bit;  // the network behind the port is new
  config_changed();
}

}  // namespace doppel
