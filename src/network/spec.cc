// See spec.h.
#include "network/spec.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <net/if.h>

#include <charconv>

#include "network/socket_port.h"

namespace doppel::network {

namespace {

std::optional<u16> number(std::string_view text) {
  u16 value = 0;
  const auto [rest, problem] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (problem != std::errc{} || rest != text.data() + text.size() || value == 0) return std::nullopt;
  return value;
}

Result<PortKind> parse_kind(std::string_view word) {
  for (const PortKind kind : {PortKind::none, PortKind::user, PortKind::tap, PortKind::socket}) {
    if (word == name_of(kind)) return kind;
  }
  return usage_error(fmt::format("--nic: unknown network '{}': use none, user, tap or socket", word));
}

Result<> apply(NicSpec& nic, std::string_view key, std::string_view value) {
  if (value.empty()) return usage_error(fmt::format("--nic: '{}' needs a value, as in {}=…", key, key));
  if (key == "mac") {
    nic.mac = TRY(parse_mac(value));
  } else if (key == "mtu") {
    const auto mtu = number(value);
    if (!mtu || *mtu < least_mtu || *mtu > most_mtu)
      return usage_error(fmt::format("--nic: an MTU is {} to {} bytes, not '{}'", least_mtu, most_mtu, value));
    nic.mtu = *mtu;
  } else if (key == "pcap") {
    nic.capture = value;
  } else if (key == "name" && nic.kind == PortKind::tap) {
    if (value.size() >= IFNAMSIZ)
      return usage_error(fmt::format("--nic: '{}' is too long for an interface: at most {}", value, IFNAMSIZ - 1));
    nic.device = value;
  } else if (key == "path" && nic.kind == PortKind::socket) {
    if (value.size() > SocketPort::longest_path)
      return usage_error(
          fmt::format("--nic: the socket's path is too long: at most {} bytes", SocketPort::longest_path));
    nic.path = value;
  } else {
    return usage_error(fmt::format("--nic: unknown setting '{}' of '{}'", key, name_of(nic.kind)));
  }
  return {};
}

}  // namespace

std::string_view name_of(PortKind kind) {
  switch (kind) {
    case PortKind::none: return "none";
    case PortKind::user: return "user";
    case PortKind::tap: return "tap";
    case PortKind::socket: return "socket";
  }
  return "";
}

Result<MacAddress> parse_mac(std::string_view text) {
  const auto wrong = [&] {
    return usage_error(fmt::format("--nic: '{}' is not a MAC address of one station, such as 52:54:00:12:34:56", text));
  };
  MacAddress mac{};
  if (text.size() != 17) return wrong();
  for (unsigned i = 0; i < 6; ++i) {
    const char* digits = text.data() + 3 * i;
    const auto [rest, problem] = std::from_chars(digits, digits + 2, mac[i], 16);
    if (problem != std::errc{} || rest != digits + 2 || (i < 5 && *rest != ':')) return wrong();
  }
  if ((mac[0] & 1) != 0 || mac == MacAddress{}) return wrong();
  return mac;
}

Result<NicSpec> parse_nic(std::string_view text) {
  NicSpec nic;
  const std::string_view kind = text.substr(0, text.find(','));
  nic.kind = TRY(parse_kind(kind));
  text.remove_prefix(kind.size());
  while (!text.empty()) {
    text.remove_prefix(1);
    const std::string_view word = text.substr(0, text.find(','));
    text.remove_prefix(word.size());
    const std::string_view key = word.substr(0, word.find('='));
    TRY(apply(nic, key, key.size() < word.size() ? word.substr(key.size() + 1) : std::string_view()));
  }
  if (nic.kind == PortKind::tap && nic.device.empty()) return usage_error("--nic tap: say which with name=NAME");
  if (nic.kind == PortKind::socket && nic.path.empty()) return usage_error("--nic socket: say which with path=PATH");
  return nic;
}

Result<Publish> parse_publish(std::string_view text) {
  const auto wrong = [&](std::string_view why) {
    return usage_error(fmt::format("--publish: '{}' {}: use [ADDRESS:]HOSTPORT:GUESTPORT[/udp]", text, why));
  };
  Publish publish;
  std::string_view rest = text.substr(0, text.find('/'));
  if (rest.size() < text.size()) {
    const std::string_view protocol = text.substr(rest.size() + 1);
    if (protocol != "udp" && protocol != "tcp") return wrong("has an unknown protocol");
    publish.udp = protocol == "udp";
  }
  const auto last = rest.rfind(':');
  if (last == std::string_view::npos) return wrong("lacks a port");
  const auto guest = number(rest.substr(last + 1));
  rest = rest.substr(0, last);
  if (const auto colon = rest.rfind(':'); colon != std::string_view::npos) {
    const std::string address(rest.substr(0, colon));
    if (::inet_pton(AF_INET, address.c_str(), publish.address.data()) != 1) return wrong("has no IPv4 address");
    rest = rest.substr(colon + 1);
  }
  const auto host = number(rest);
  if (!guest || !host) return wrong("has a port that is not 1 to 65535");
  publish.guest_port = *guest;
  publish.host_port = *host;
  return publish;
}

std::string describe(const NicSpec& nic) {
  std::string text(name_of(nic.kind));
  if (nic.mac) text += fmt::format(",mac={:02x}", fmt::join(*nic.mac, ":"));
  if (nic.mtu != 0) text += fmt::format(",mtu={}", nic.mtu);
  return text;
}

std::string format_publish(const Publish& publish) {
  const auto& a = publish.address;
  return fmt::format("{}.{}.{}.{}:{}:{}/{}", a[0], a[1], a[2], a[3], publish.host_port, publish.guest_port,
                     publish.udp ? "udp" : "tcp");
}

}  // namespace doppel::network
