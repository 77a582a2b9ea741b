// See terminal.h. The saved mode is process-wide, because a signal handler has no other way to it.
#include "cli/terminal.h"

#include <termios.h>
#include <unistd.h>

#include <atomic>

#include "base/check.h"
#include "base/fault_signals.h"

namespace doppel::cli {

namespace {

struct SavedTerminal {
  std::atomic<bool> active{false};
  int fd = -1;
  struct termios original{}, raw{};
};
SavedTerminal saved;

// Async-signal-safe. Colours off, cursor visible: a guest that was cut off may have left them otherwise.
void restore() {
  if (!saved.active.exchange(false)) return;
  static constexpr char sane[] = "\x1b[0m\x1b[?25h";
  ::tcsetattr(saved.fd, TCSANOW, &saved.original);
  (void)!::write(saved.fd, sane, sizeof sane - 1);
}

}  // namespace

Result<std::unique_ptr<RawTerminal>> RawTerminal::attach(int fd) {
  CHECK(!saved.active);
  if (::tcgetattr(fd, &saved.original) != 0) return fail_errno("cannot read the terminal's mode");
  saved.fd = fd;
  saved.raw = saved.original;
  ::cfmakeraw(&saved.raw);
  saved.active = true;
  set_last_will(restore);  // no destructor sees such an end
  std::unique_ptr<RawTerminal> terminal(new RawTerminal);
  if (::tcsetattr(fd, TCSANOW, &saved.raw) != 0) return fail_errno("cannot change the terminal's mode");
  return terminal;
}

RawTerminal::~RawTerminal() {
  restore();
  set_last_will(nullptr);
}

void RawTerminal::continued() {
  if (saved.active) ::tcsetattr(saved.fd, TCSANOW, &saved.raw);
}

}  // namespace doppel::cli
