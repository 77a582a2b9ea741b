// See debug_port.h.
#include "device/debug/debug_port.h"

#include "device/io_window.h"

namespace doppel {

void DebugConsole::flush() {
  const std::lock_guard lock(mutex_);
  flush_locked();
}

void DebugConsole::flush_locked() {
  if (!line_.empty() && output_) output_(line_);
  line_.clear();
}

u64 DebugConsole::read(Access access) {
  return read_bytewise(access, [](u64) { return present; });
}

void DebugConsole::write(Access access, u64 value) {
  const std::lock_guard lock(mutex_);
  write_bytewise(access, value, [this](u64, u8 byte) {
    line_.push_back(byte);
    if (byte == '\n' || line_.size() >= longest_line) flush_locked();
  });
}

void DebugConsole::state(state::Archive& archive) {
  const std::lock_guard lock(mutex_);
  archive.begin("debug-console", 1);
  archive(line_, longest_line);
  archive.end();
}

void DebugExit::state(state::Archive& archive) {
  archive.begin("debug-exit", 1);
  archive.end();
}

}  // namespace doppel
