// See terminal.h. The saved mode is process-wide, because a signal handler has no other way to it.
#include "cli/terminal.h"

#include <signal.h>
#include <termios.h>
#include <unistd.h>

#include <array>
#include <atomic>

#include "base/check.h"

namespace doppel::cli {

namespace {

// Ends of the process that no destructor sees.
constexpr std::array fatal_signals{SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGSYS, SIGQUIT};

struct SavedTerminal {
  std::atomic<bool> active{false};
  int fd = -1;
  struct termios original{}, raw{};
  std::array<struct sigaction, fatal_signals.size()> previous{};
};
SavedTerminal saved;

// Async-signal-safe. Colours off, cursor visible: a guest that was cut off may have left them otherwise.
void restore() {
  if (!saved.active.exchange(false)) return;
  static constexpr char sane[] = "\x1b[0m\x1b[?25h";
  ::tcsetattr(saved.fd, TCSANOW, &saved.original);
  (void)!::write(saved.fd, sane, sizeof sane - 1);
}

// Puts the earlier handler back and raises the signal again: it ends the process, or reaches whoever had it before us.
void on_fatal_signal(int number) {
  restore();
  for (std::size_t i = 0; i < fatal_signals.size(); ++i) {
    if (fatal_signals[i] == number) ::sigaction(number, &saved.previous[i], nullptr);
  }
  ::raise(number);
}

}  // namespace

Result<std::unique_ptr<RawTerminal>> RawTerminal::attach(int fd) {
  CHECK(!saved.active);
  if (::tcgetattr(fd, &saved.original) != 0) return fail_errno("cannot read the terminal's mode");
  saved.fd = fd;
  saved.raw = saved.original;
  ::cfmakeraw(&saved.raw);
  for (std::size_t i = 0; i < fatal_signals.size(); ++i) {
    struct sigaction action{};
    action.sa_handler = on_fatal_signal;
    action.sa_flags = SA_NODEFER;
    ::sigaction(fatal_signals[i], &action, &saved.previous[i]);
  }
  saved.active = true;
  std::unique_ptr<RawTerminal> terminal(new RawTerminal);
  if (::tcsetattr(fd, TCSANOW, &saved.raw) != 0) return fail_errno("cannot change the terminal's mode");
  return terminal;
}

RawTerminal::~RawTerminal() {
  restore();
  for (std::size_t i = 0; i < fatal_signals.size(); ++i) ::sigaction(fatal_signals[i], &saved.previous[i], nullptr);
}

void RawTerminal::continued() {
  if (saved.active) ::tcsetattr(saved.fd, TCSANOW, &saved.raw);
}

}  // namespace doppel::cli
