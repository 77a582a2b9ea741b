// User-mode networking: the process that speaks for the guest (NAT, DHCP, DNS, by libslirp). It is started afresh, so that
// it maps nothing of its parent, is confined before it reads the first frame, and dies with its parent.
//
// Its socket, SOCK_SEQPACKET, is descriptor 3. First packet: what to publish, an array of Publish, with one byte before
// it. Answer: "" with one byte before it, or what went wrong. Then frames, each behind its PacketHeader; a header without a frame says
// in gso_type whether the guest takes long TCP segments.
#pragma once

#include <sys/types.h>

#include <span>
#include <string>

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

// Starts the process and waits for its answer. `program` is this one, or another whose main() calls run_user_process();
// empty: the process is a fork that runs nothing else (for tests).
Result<UserProcess> start_user_process(std::span<const Publish> publish, const std::string& program = "/proc/self/exe");
// The process itself. Returns its exit status.
int run_user_process(int socket);
// No way back: from here on only what a NAT needs. Reading the resolver's configuration is left.
Result<> confine_user_process();

}  // namespace doppel::network
