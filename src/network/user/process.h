// User-mode networking: the process that speaks for the guest (NAT, DHCP, DNS, by libslirp). It is started afresh, so that
// it maps nothing of its parent, is confined before it reads the first frame, and dies with its parent.
//
// Its socket, SOCK_SEQPACKET, is descriptor 3. First packet: a u32, the MTU (0: Ethernet's), then what to publish, an array
// of Publish. Answer: "" with one byte before it, or what went wrong. Then frames, each behind its PacketHeader; a header
// without a frame says in the bits of gso_type (TCP over IPv4, IPv6) which long segments the guest takes.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "network/spec.h"

namespace doppel::network {

inline constexpr const char* user_process_argument = "--user-network-process";
constexpr int user_process_socket = 3;
constexpr std::size_t most_published = 256;

struct UserProcess {
  pid_t pid = -1;
  Fd socket;
};

struct UserNetwork {
  u16 mtu = 0;
  std::vector<Publish> publish;
};

// Starts the process and waits for its answer. `program` is this one, or another whose main() calls run_user_process();
// empty: the process is a fork that runs nothing else (for tests).
Result<UserProcess> start_user_process(const UserNetwork& network, const std::string& program = "/proc/self/exe");
// The process itself. Returns its exit status.
int run_user_process(int socket);
// No way back: from here on only what a NAT needs. Reading the resolver's configuration is left.
Result<> confine_user_process();

}  // namespace doppel::network
