// What the command line says about a network card: plain data.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/types.h"

namespace doppel::network {

// IPv6 needs the least; the most is what libslirp takes, and fits into a frame.
constexpr u16 least_mtu = 1280, most_mtu = 65'521;

using MacAddress = std::array<u8, 6>;

// A port of the host that leads into the guest.
struct Publish {
  std::array<u8, 4> address{127, 0, 0, 1};  // of the host
  bool udp = false;
  u16 host_port = 0, guest_port = 0;
};

enum class PortKind : u8 { none, user, tap, socket };

struct NicSpec {
  PortKind kind = PortKind::none;
  std::optional<MacAddress> mac;
  u16 mtu = 0;                   // what the card tells its driver; 0: nothing, which means 1500
  std::string device;            // tap: the name of the interface
  std::string path;              // socket
  std::string capture;           // pcap file, or empty
  std::vector<Publish> publish;  // user
};

// "none | user | tap,name=NAME | socket,path=PATH, each with [,mac=MAC] [,mtu=BYTES] [,pcap=FILE]".
Result<NicSpec> parse_nic(std::string_view text);
// "[ADDRESS:]HOSTPORT:GUESTPORT[/tcp|/udp]".
Result<Publish> parse_publish(std::string_view text);
Result<MacAddress> parse_mac(std::string_view text);
std::string format_publish(const Publish& publish);  // "127.0.0.1:8080:80/tcp"
std::string describe(const NicSpec& nic);            // what of it the guest can tell
std::string_view name_of(PortKind kind);

}  // namespace doppel::network
