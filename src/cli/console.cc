// See console.h.
#include "cli/console.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

namespace doppel::cli {

namespace {

constexpr std::array ending_signals{SIGINT, SIGTERM, SIGHUP};
constexpr std::size_t most_typed_ahead = 64 * 1024;

sigset_t handled_signals() {
  sigset_t set;
  ::sigemptyset(&set);
  for (const int number : ending_signals) ::sigaddset(&set, number);
  ::sigaddset(&set, SIGCONT);
  return set;
}

}  // namespace

Result<std::unique_ptr<Console>> Console::create(const ConsoleOptions& options) {
  std::unique_ptr<Console> console(new Console(options));
  if (options.output == ConsoleOptions::Output::file) {
    console->file_ = TRY(open_file(options.path, O_WRONLY | O_CREAT | O_TRUNC));
  }
  const sigset_t set = handled_signals();
  ::pthread_sigmask(SIG_BLOCK, &set, &console->previous_signals_);
  ::signal(SIGPIPE, SIG_IGN);
  console->signals_ = Fd(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!console->signals_) return fail_errno("cannot watch for signals");
  return console;
}

Console::~Console() {
  machine_ = nullptr;  // it may be gone
  detach();
  ::pthread_sigmask(SIG_SETMASK, &previous_signals_, nullptr);
}

Result<> Console::attach(Machine& machine) {
  machine_ = &machine;
  TRY(machine.loop().watch(signals_.get(), EPOLLIN, [this](u32) { take_signal(); }));
  machine.board().console().connect([this](std::span<const u8> bytes) { return write(bytes); },
                                    [this] { machine_->loop().post([this] { offer_input(); }); });
  if (options_.output == ConsoleOptions::Output::standard) TRY(attach_input());
  return {};
}

// Takes everything, also when nobody reads any more: then the machine ends.
std::size_t Console::write(std::span<const u8> bytes) {
  if (options_.output == ConsoleOptions::Output::none || output_failed_) return bytes.size();
  if (!write_all(file_ ? file_.get() : STDOUT_FILENO, bytes)) {
    output_failed_ = true;
    machine_->request_stop({1, "the console's output cannot be written any more"});
  }
  return bytes.size();
}

Result<> Console::attach_input() {
  struct stat info{};
  if (::fstat(STDIN_FILENO, &info) != 0) return {};  // closed: nobody speaks to the guest
  const bool person = ::isatty(STDIN_FILENO) == 1;
  if (!person && options_.reproducible) return {};
  if (person && ::isatty(STDOUT_FILENO) == 1) {
    fmt::print(stderr, "doppel: this is the guest's console; Ctrl-] leaves it and ends the machine\n");
    terminal_ = TRY(RawTerminal::attach(STDIN_FILENO));
  }
  if (S_ISREG(info.st_mode)) {
    input_ = Input::file;
    machine_->loop().post([this] { offer_input(); });
  } else if (machine_->loop().watch(STDIN_FILENO, EPOLLIN, [this](u32) { read_input(); })) {
    input_ = Input::watched;
  }
  return {};
}

void Console::read_input() {
  std::array<u8, 1024> buffer;
  const ssize_t count = ::read(STDIN_FILENO, buffer.data(), buffer.size());
  if (count < 0 && (errno == EINTR || errno == EAGAIN)) return;
  if (count <= 0) return end_input();
  const std::span<const u8> bytes(buffer.data(), static_cast<std::size_t>(count));
  if (terminal_ && std::find(bytes.begin(), bytes.end(), leave_key) != bytes.end())
    return machine_->request_stop({0, ""});
  if (waiting_.size() < most_typed_ahead) waiting_.insert(waiting_.end(), bytes.begin(), bytes.end());
  if (input_ == Input::watched) offer_input();
}

// The end of input is not the end of the guest.
void Console::end_input() {
  if (std::exchange(input_, Input::none) == Input::watched) machine_->loop().unwatch(STDIN_FILENO);
}

// Gives the guest what it has room for; the console says when there is room again. A pipe's writer waits meanwhile; a terminal is
// read on, so that its leave key works with a guest that does not listen.
void Console::offer_input() {
  for (;;) {
    if (input_ == Input::file && waiting_.empty()) read_input();
    if (waiting_.empty()) break;
    const std::size_t taken = machine_->board().console().receive(waiting_);
    waiting_.erase(waiting_.begin(), waiting_.begin() + static_cast<std::ptrdiff_t>(taken));
    if (!waiting_.empty()) break;
  }
  const u32 events = waiting_.empty() ? u32{EPOLLIN} : 0;
  if (input_ == Input::watched && !terminal_) (void)machine_->loop().modify(STDIN_FILENO, events);
}

void Console::take_signal() {
  struct signalfd_siginfo info{};
  if (::read(signals_.get(), &info, sizeof info) != sizeof info) return;
  if (info.ssi_signo == SIGCONT) {
    if (terminal_) terminal_->continued();
    return;
  }
  machine_->request_stop({128 + static_cast<int>(info.ssi_signo), ""});
}

void Console::detach() {
  if (machine_ != nullptr) machine_->board().console().flush();
  machine_ = nullptr;
  if (std::exchange(terminal_, nullptr)) fmt::print(stderr, "\n");
}

}  // namespace doppel::cli
