// The terminal that Doppel runs on, in raw mode while a guest has it: every key goes to the guest, and the window is put back
// as it was when the guest is left, also when the process dies of a signal.
#pragma once

#include <memory>

#include "base/result.h"

namespace doppel::cli {

class RawTerminal {
 public:
  // Puts the terminal `fd` into raw mode. At most one exists at a time: signal handlers need to find it.
  static Result<std::unique_ptr<RawTerminal>> attach(int fd);
  ~RawTerminal();
  RawTerminal(const RawTerminal&) = delete;
  RawTerminal& operator=(const RawTerminal&) = delete;

  // After the process was stopped and continued, the shell has put its own mode back.
  void continued();

 private:
  RawTerminal() = default;
};

}  // namespace doppel::cli
