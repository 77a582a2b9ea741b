// Connects the machine's console with this process: standard output gets what the guest says; what comes on standard input
// is what the guest hears. Also turns the signals that end a program into the end of the machine.
#pragma once

#include <signal.h>

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "cli/terminal.h"
#include "machine/machine.h"

namespace doppel::cli {

struct ConsoleOptions {
  enum class Output { standard, none, file };
  Output output = Output::standard;
  std::string path;           // file
  bool reproducible = false;  // only a person's input counts: everything else would come at times that vary
};

class Console {
 public:
  // Opens the output and blocks the signals; before the machine's threads exist, since they inherit that.
  static Result<std::unique_ptr<Console>> create(const ConsoleOptions& options);
  ~Console();
  Console(const Console&) = delete;
  Console& operator=(const Console&) = delete;

  // Connects with the machine, on whose I/O thread all the rest happens; before Machine::run.
  Result<> attach(Machine& machine);
  // After Machine::run: shows what is left to show, and puts the terminal back.
  void detach();

  static constexpr u8 leave_key = 0x1d;  // Ctrl-]

 private:
  explicit Console(const ConsoleOptions& options) : options_(options) {}
  Result<> attach_input();
  std::size_t write(std::span<const u8> bytes);
  void read_input();
  void offer_input();
  void end_input();
  void take_signal();

  const ConsoleOptions options_;
  Fd file_;
  Fd signals_;
  sigset_t previous_signals_{};
  Machine* machine_ = nullptr;
  std::unique_ptr<RawTerminal> terminal_;
  enum class Input {
    none,
    watched,
    file
  } input_ = Input::none;    // a file is always readable, so the loop cannot watch it
  std::vector<u8> waiting_;  // read, and not yet taken by the guest
  bool output_failed_ = false;
};

}  // namespace doppel::cli
