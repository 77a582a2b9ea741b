// The program's own log: see log.h. The one piece of process-wide state, since a process has one standard error.
#include "base/log.h"

#include <fcntl.h>
#include <termios.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <mutex>

#include "base/fd.h"

namespace doppel::log {

namespace {

constexpr std::array<std::string_view, 4> level_names{"error", "warning", "info", "debug"};

struct Sink {
  std::atomic<Level> level{Level::warning};
  std::mutex mutex;  // guards file
  Fd file;           // empty: standard error
};

Sink& sink() {
  static Sink instance;
  return instance;
}

}  // namespace

Result<> configure(std::string_view spec) {
  const auto comma = spec.find(',');
  const auto name = spec.substr(0, comma);
  std::size_t level = 0;
  while (level < level_names.size() && level_names[level] != name) ++level;
  if (level == level_names.size()) {
    return usage_error(fmt::format("unknown log level '{}': use error, warning, info or debug", name));
  }
  Fd file;
  if (comma != std::string_view::npos) {
    const std::string path(spec.substr(comma + 1));
    if (path.empty()) return usage_error("the log file's name is missing after the comma");
    file = TRY(open_file(path, O_WRONLY | O_CREAT | O_APPEND));
  }
  const std::lock_guard lock(sink().mutex);
  sink().file = std::move(file);
  sink().level = static_cast<Level>(level);
  return {};
}

bool enabled(Level level) { return level <= sink().level.load(std::memory_order_relaxed); }

void write(Level level, std::string_view message) {
  if (!enabled(level)) return;
  const std::lock_guard lock(sink().mutex);
  const int fd = sink().file ? sink().file.get() : STDERR_FILENO;
  // A terminal that a guest has in raw mode takes a line feed for just that.
  struct termios mode{};
  const bool raw = ::tcgetattr(fd, &mode) == 0 && (mode.c_oflag & OPOST) == 0;
  const std::string line = fmt::format("doppel: {}: {}{}", level_names[static_cast<std::size_t>(level)], message,
                                       raw ? "\r\n" : "\n");
  // A log that cannot be written has nowhere to complain.
  (void)write_all(fd, {reinterpret_cast<const u8*>(line.data()), line.size()});
}

}  // namespace doppel::log
