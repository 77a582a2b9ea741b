// What the control queue of a virtio network device sets: which frames reach the guest (virtio 1.2 §5.1.6.5).
#pragma once

#include <array>
#include <bitset>
#include <span>
#include <vector>

#include "base/types.h"
#include "state/archive.h"

namespace doppel::net_control {

// class, command
enum : u8 { class_rx = 0, class_mac = 1, class_vlan = 2, class_announce = 3, class_mq = 4, class_offloads = 5 };
enum : u8 { mac_table_set = 0, mac_address_set = 1, vlan_add = 0, vlan_remove = 1 };
constexpr u8 ok = 0, error = 1;

using MacAddress = std::array<u8, 6>;

class Filter {
 public:
  static constexpr std::size_t table_entries = 64;  // of each kind; with more, everything of that kind passes

  void reset() { *this = {}; }
  // Whether a frame reaches a guest of that address. `vlan`: tagged frames must be in the table.
  bool passes(std::span<const u8> frame, std::span<const u8> own_mac, bool vlan) const;

  u8 set_mode(u8 command, std::span<const u8> data);
  u8 set_tables(std::span<const u8> data);
  u8 set_vlan(u8 command, std::span<const u8> data);

  void state(state::Archive& archive);

 private:
  struct Table {
    std::vector<MacAddress> entries;
    bool overflown = false;
    bool contains(std::span<const u8> mac) const;
    bool set(std::span<const u8>& data);
    void state(state::Archive& archive);
  };
  // All, until the driver says otherwise: a driver without the control queue expects that.
  bool promiscuous_ = true, all_multicast_ = false, all_unicast_ = false;
  bool no_multicast_ = false, no_unicast_ = false, no_broadcast_ = false;
  Table unicast_, multicast_;
  std::bitset<4096> vlans_;
};

// A number for the flow of a frame, the same in both directions.
u8 flow_of(std::span<const u8> frame);

}  // namespace doppel::net_control
