// What the process of user-mode networking may still do: IP sockets, its memory, its clock. See process.h.
//
// libslirp reads the resolver's configuration again when it changes. No file may be opened here: the attempt traps, and the
// handler answers with the file that was opened beforehand.
#include <fcntl.h>
#include <seccomp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>

#include "network/user/process.h"

namespace doppel::network {

namespace {

constexpr const char* resolver_file = "/etc/resolv.conf";
int resolver = -1;  // of this process alone, which does nothing else

void answer_trap(int, siginfo_t* info, void* context) {
  auto& registers = static_cast<ucontext_t*>(context)->uc_mcontext.gregs;
  const auto path = reinterpret_cast<const char*>(registers[info->si_syscall == SYS_openat ? REG_RSI : REG_RDI]);
  registers[REG_RAX] = -EACCES;
  if (resolver < 0 || std::strcmp(path, resolver_file) != 0) return;
  const int copy = ::dup(resolver);
  if (copy < 0) return;
  ::lseek(copy, 0, SEEK_SET);
  registers[REG_RAX] = copy;
}

constexpr int allowed[] = {SCMP_SYS(read),
                           SCMP_SYS(write),
                           SCMP_SYS(readv),
                           SCMP_SYS(writev),
                           SCMP_SYS(lseek),
                           SCMP_SYS(close),
                           SCMP_SYS(dup),
                           SCMP_SYS(recvfrom),
                           SCMP_SYS(recvmsg),
                           SCMP_SYS(recvmmsg),
                           SCMP_SYS(sendto),
                           SCMP_SYS(sendmsg),
                           SCMP_SYS(sendmmsg),
                           SCMP_SYS(connect),
                           SCMP_SYS(bind),
                           SCMP_SYS(listen),
                           SCMP_SYS(accept),
                           SCMP_SYS(accept4),
                           SCMP_SYS(shutdown),
                           SCMP_SYS(getsockname),
                           SCMP_SYS(getpeername),
                           SCMP_SYS(getsockopt),
                           SCMP_SYS(setsockopt),
                           SCMP_SYS(poll),
                           SCMP_SYS(ppoll),
                           SCMP_SYS(fcntl),
                           SCMP_SYS(brk),
                           SCMP_SYS(munmap),
                           SCMP_SYS(mremap),
                           SCMP_SYS(madvise),
                           SCMP_SYS(futex),
                           SCMP_SYS(getrandom),
                           SCMP_SYS(fstat),
                           SCMP_SYS(newfstatat),
                           SCMP_SYS(stat),
                           SCMP_SYS(clock_gettime),
                           SCMP_SYS(gettimeofday),
                           SCMP_SYS(time),
                           SCMP_SYS(clock_nanosleep),
                           SCMP_SYS(rt_sigreturn),
                           SCMP_SYS(rt_sigprocmask),
                           SCMP_SYS(getpid),
                           SCMP_SYS(gettid),
                           SCMP_SYS(exit),
                           SCMP_SYS(exit_group),
                           SCMP_SYS(restart_syscall)};

bool add_rules(scmp_filter_ctx filter) {
  for (const int call : allowed) {
    if (seccomp_rule_add(filter, SCMP_ACT_ALLOW, call, 0) != 0) return false;
  }
  for (const int family : {AF_INET, AF_INET6}) {
    if (seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(socket), 1,
                         SCMP_A0(SCMP_CMP_EQ, static_cast<scmp_datum_t>(family))) != 0)
      return false;
  }
  // Memory, but none that can be executed; FIONREAD, which libslirp asks before it reads.
  constexpr scmp_datum_t executable = 4, bytes_readable = 0x541b;
  return seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 1, SCMP_A2(SCMP_CMP_MASKED_EQ, executable, 0)) == 0 &&
         seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(mprotect), 1, SCMP_A2(SCMP_CMP_MASKED_EQ, executable, 0)) ==
             0 &&
         seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(ioctl), 1, SCMP_A1(SCMP_CMP_EQ, bytes_readable)) == 0 &&
         seccomp_rule_add(filter, SCMP_ACT_ERRNO(EAFNOSUPPORT), SCMP_SYS(socket), 1, SCMP_A0(SCMP_CMP_EQ, AF_UNIX)) ==
             0 &&
         seccomp_rule_add(filter, SCMP_ACT_TRAP, SCMP_SYS(open), 0) == 0 &&
         seccomp_rule_add(filter, SCMP_ACT_TRAP, SCMP_SYS(openat), 0) == 0;
}

void limit(int resource, rlim_t most) {
  const rlimit value{most, most};
  ::setrlimit(static_cast<__rlimit_resource>(resource), &value);
}

}  // namespace

Result<> confine_user_process() {
  resolver = ::open(resolver_file, O_RDONLY | O_CLOEXEC);
  struct sigaction action{};
  action.sa_sigaction = answer_trap;
  action.sa_flags = SA_SIGINFO;
  ::sigaction(SIGSYS, &action, nullptr);

  rlimit files{};
  ::getrlimit(RLIMIT_NOFILE, &files);
  limit(RLIMIT_NOFILE, std::min<rlim_t>(files.rlim_max, 4096));
  limit(RLIMIT_CORE, 0);
  limit(RLIMIT_FSIZE, 0);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  limit(RLIMIT_AS, rlim_t{1} << 30);
#endif
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return fail_errno("cannot confine the user network");
  const std::unique_ptr<void, void (*)(scmp_filter_ctx)> filter(seccomp_init(SCMP_ACT_KILL_PROCESS), seccomp_release);
  if (!filter || !add_rules(filter.get()) || seccomp_load(filter.get()) != 0)
    return fail("cannot confine the user network: the host has no seccomp filters");
  return {};
}

}  // namespace doppel::network
