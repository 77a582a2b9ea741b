// See net_control.h.
#include "device/virtio/net_control.h"

#include <algorithm>
#include <cstring>

namespace doppel::net_control {

namespace {
constexpr std::size_t type_offset = 12, tag_offset = 14, ip_offset = 14;

u16 big16(const u8* bytes) { return static_cast<u16>(bytes[0] << 8 | bytes[1]); }
}  // namespace

bool Filter::Table::contains(std::span<const u8> mac) const {
  return std::ranges::any_of(entries, [&](const MacAddress& entry) { return std::ranges::equal(entry, mac); });
}

// {u32 count, count × 6 bytes}; takes them off the data.
bool Filter::Table::set(std::span<const u8>& data) {
  u32 count = 0;
  if (data.size() < sizeof count) return false;
  std::memcpy(&count, data.data(), sizeof count);
  data = data.subspan(sizeof count);
  if (u64{count} * 6 > data.size()) return false;
  entries.clear();
  overflown = count > table_entries;
  for (u32 i = 0; i < count && !overflown; ++i) std::copy_n(data.data() + 6 * i, 6, entries.emplace_back().begin());
  data = data.subspan(std::size_t{count} * 6);
  return true;
}

void Filter::Table::state(state::Archive& archive) {
  u32 count = static_cast<u32>(entries.size());
  archive(count);
  archive.require(count <= table_entries, "MAC filter table");
  if (!archive.ok()) return;
  entries.resize(count);
  for (auto& entry : entries) archive(entry);
  archive(overflown);
}

bool Filter::passes(std::span<const u8> frame, std::span<const u8> own_mac, bool vlan) const {
  if (vlan && frame.size() >= tag_offset + 2 && big16(frame.data() + type_offset) == 0x8100 &&
      !vlans_[big16(frame.data() + tag_offset) & 0xfff]) {
    return false;
  }
  if (promiscuous_) return true;
  const auto to = frame.first(6);
  if ((to[0] & 1) == 0) {
    if (no_unicast_) return false;
    return all_unicast_ || std::ranges::equal(to, own_mac) || unicast_.overflown || unicast_.contains(to);
  }
  if (std::ranges::all_of(to, [](u8 byte) { return byte == 0xff; })) return !no_broadcast_;
  if (no_multicast_) return false;
  return all_multicast_ || multicast_.overflown || multicast_.contains(to);
}

u8 Filter::set_mode(u8 command, std::span<const u8> data) {
  bool* const modes[] = {&promiscuous_, &all_multicast_, &all_unicast_, &no_multicast_, &no_unicast_, &no_broadcast_};
  if (command >= std::size(modes) || data.size() != 1) return error;
  *modes[command] = data[0] != 0;
  return ok;
}

u8 Filter::set_tables(std::span<const u8> data) {
  Table unicast, multicast;
  if (!unicast.set(data) || !multicast.set(data) || !data.empty()) return error;
  unicast_ = std::move(unicast);
  multicast_ = std::move(multicast);
  return ok;
}

u8 Filter::set_vlan(u8 command, std::span<const u8> data) {
  if (data.size() != 2 || command > vlan_remove) return error;
  const u16 id = static_cast<u16>(data[0] | data[1] << 8);
  if (id >= vlans_.size()) return error;
  vlans_[id] = command == vlan_add;
  return ok;
}

void Filter::state(state::Archive& archive) {
  archive.begin("filter", 1);
  for (bool* mode : {&promiscuous_, &all_multicast_, &all_unicast_, &no_multicast_, &no_unicast_, &no_broadcast_}) {
    archive(*mode);
  }
  unicast_.state(archive);
  multicast_.state(archive);
  for (std::size_t i = 0; i < vlans_.size(); i += 8) {
    u8 byte = 0;
    for (unsigned bit = 0; bit < 8; ++bit) byte |= static_cast<u8>(vlans_[i + bit] << bit);
    archive(byte);
    for (unsigned bit = 0; bit < 8; ++bit) vlans_[i + bit] = (byte >> bit & 1) != 0;
  }
  archive.end();
}

// Addresses and ports, folded by exclusive or.
u8 flow_of(std::span<const u8> frame) {
  u32 sum = 0;
  const auto fold = [&](std::size_t from, std::size_t bytes) {
    for (std::size_t i = from; i + 2 <= from + bytes && i + 2 <= frame.size(); i += 2) sum ^= big16(&frame[i]);
  };
  if (frame.size() < ip_offset + 20) return 0;
  std::size_t ports = 0;
  u8 protocol = 0;
  if (big16(frame.data() + type_offset) == 0x0800) {
    fold(ip_offset + 12, 8);
    ports = ip_offset + (frame[ip_offset] & 15) * std::size_t{4};
    protocol = frame[ip_offset + 9];
  } else if (big16(frame.data() + type_offset) == 0x86dd && frame.size() >= ip_offset + 40) {
    fold(ip_offset + 8, 32);
    ports = ip_offset + 40;
    protocol = frame[ip_offset + 6];
  }
  if (protocol == 6 || protocol == 17) fold(ports, 4);
  return static_cast<u8>(sum ^ sum >> 8);
}

}  // namespace doppel::net_control
