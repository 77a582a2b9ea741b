// Starts the process of user-mode networking; see process.h.
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "network/user/process.h"

namespace doppel::network {

namespace {

// After fork: system calls only.
[[noreturn]] void become(const char* program, int socket, pid_t parent) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(1);
  // The terminal's Ctrl-C and Ctrl-\ are the machine's business.
  for (const int number : {SIGINT, SIGQUIT, SIGHUP, SIGTSTP, SIGPIPE}) ::signal(number, SIG_IGN);
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  if (*program == '\0') ::_exit(run_user_process(socket));
  if (socket == user_process_socket) {
    ::fcntl(socket, F_SETFD, 0);
  } else if (::dup2(socket, user_process_socket) < 0) {
    ::_exit(1);
  }
  ::close_range(user_process_socket + 1, ~0u, CLOSE_RANGE_CLOEXEC);
  char name[] = "doppel-network";
  char* arguments[] = {name, const_cast<char*>(user_process_argument), nullptr};
  char* environment[] = {nullptr};
  ::execve(program, arguments, environment);
  ::_exit(127);
}

Result<> exchange(int socket, const UserNetwork& network) {
  const u32 mtu = network.mtu;
  const std::size_t bytes = network.publish.size() * sizeof(Publish);
  std::vector<u8> request(sizeof mtu + bytes);
  std::memcpy(request.data(), &mtu, sizeof mtu);
  if (bytes) std::memcpy(request.data() + sizeof mtu, network.publish.data(), bytes);
  if (::send(socket, request.data(), request.size(), MSG_NOSIGNAL) < 0) return fail_errno("cannot start the network");
  std::array<char, 512> answer{};
  ssize_t got;
  do got = ::recv(socket, answer.data(), answer.size(), 0);
  while (got < 0 && errno == EINTR);
  if (got <= 0) return fail("the process of the user network does not start");
  if (got > 1) return fail(std::string(answer.data() + 1, static_cast<std::size_t>(got) - 1));
  return {};
}

}  // namespace

Result<UserProcess> start_user_process(const UserNetwork& network, const std::string& program) {
  if (network.publish.size() > most_published) return usage_error("--publish: at most 256 ports");
  int pair[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) return fail_errno("cannot make a socket");
  Fd ours(pair[0]), theirs(pair[1]);
  for (const int fd : pair) {
    const int bytes = 4 << 20;  // as much as the host allows
    ::setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
    ::setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
  }
  const pid_t parent = ::getpid();
  const pid_t pid = ::fork();
  if (pid < 0) return fail_errno("cannot start the process of the user network");
  if (pid == 0) {
    ::close(ours.get());
    become(program.c_str(), theirs.get(), parent);
  }
  theirs.reset();
  UserProcess process{pid, std::move(ours)};
  if (auto started = exchange(process.socket.get(), network); !started) {
    ::kill(pid, SIGKILL);
    ::waitpid(pid, nullptr, 0);
    return std::unexpected(std::move(started.error()));
  }
  return process;
}

}  // namespace doppel::network
