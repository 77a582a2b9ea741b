// What the command line says about network cards.
#include "network/spec.h"

#include <gtest/gtest.h>

namespace doppel::network {
namespace {

void check_nic(const char* text, const std::string& expected) {
  const auto nic = parse_nic(text);
  if (!nic) {
    EXPECT_EQ(nic.error().message, expected) << text;
    EXPECT_EQ(nic.error().kind, ErrorKind::usage);
    return;
  }
  EXPECT_EQ(describe(*nic) + "|" + nic->device + "|" + nic->path + "|" + nic->capture, expected) << text;
}

TEST(Nic, IsParsed) {
  check_nic("none", "none|||");
  check_nic("user", "user|||");
  check_nic("user,mac=52:54:00:12:34:56,pcap=a.pcap", "user,mac=52:54:00:12:34:56|||a.pcap");
  check_nic("user,mtu=9000", "user,mtu=9000|||");
  check_nic("tap,name=tap0", "tap|tap0||");
  check_nic("socket,path=/run/a.sock", "socket||/run/a.sock|");
}

TEST(Nic, MistakesAreNamed) {
  check_nic("", "--nic: unknown network '': use none, user, tap or socket");
  check_nic("tap", "--nic tap: say which with name=NAME");
  check_nic("tap,name=a-name-of-16-cha", "--nic: 'a-name-of-16-cha' is too long for an interface: at most 15");
  check_nic("socket", "--nic socket: say which with path=PATH");
  check_nic("user,name=tap0", "--nic: unknown setting 'name' of 'user'");
  check_nic("user,mac", "--nic: 'mac' needs a value, as in mac=…");
  check_nic("user,mtu=1279", "--nic: an MTU is 1280 to 65521 bytes, not '1279'");
  check_nic("user,mtu=65522", "--nic: an MTU is 1280 to 65521 bytes, not '65522'");
  check_nic("user,mtu=big", "--nic: an MTU is 1280 to 65521 bytes, not 'big'");
  check_nic("user,", "--nic: '' needs a value, as in =…");
  for (const char* mac : {"52:54:00:12:34", "52:54:00:12:34:5g", "53:54:00:12:34:56", "00:00:00:00:00:00",
                          "52-54-00-12-34-56", "52:54:00:12:34:5:"}) {
    EXPECT_FALSE(parse_mac(mac)) << mac;
  }
}

void check_publish(const char* text, const std::string& expected) {
  const auto publish = parse_publish(text);
  EXPECT_EQ(publish ? format_publish(*publish) : publish.error().message, expected) << text;
}

TEST(Publish, IsParsed) {
  check_publish("8080:80", "127.0.0.1:8080:80/tcp");
  check_publish("8080:80/tcp", "127.0.0.1:8080:80/tcp");
  check_publish("0.0.0.0:5353:53/udp", "0.0.0.0:5353:53/udp");
  const std::string use = ": use [ADDRESS:]HOSTPORT:GUESTPORT[/udp]";
  check_publish("80", "--publish: '80' lacks a port" + use);
  check_publish("80:80/sctp", "--publish: '80:80/sctp' has an unknown protocol" + use);
  check_publish("0:80", "--publish: '0:80' has a port that is not 1 to 65535" + use);
  check_publish("80:65536", "--publish: '80:65536' has a port that is not 1 to 65535" + use);
  check_publish("host:80:80", "--publish: 'host:80:80' has no IPv4 address" + use);
  check_publish("::80", "--publish: '::80' has no IPv4 address" + use);
}

}  // namespace
}  // namespace doppel::network
