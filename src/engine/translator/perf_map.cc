#include "engine/translator/perf_map.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

namespace doppel::translator {

// In a folder that everybody writes to: a file that is there already, or a link, is not ours.
Result<std::unique_ptr<PerfMap>> PerfMap::create() {
  const std::string path = fmt::format("/tmp/perf-{}.map", ::getpid());
  ::unlink(path.c_str());
  const int descriptor = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
  std::FILE* file = descriptor < 0 ? nullptr : ::fdopen(descriptor, "w");
  if (!file) {
    auto error = fail_errno(fmt::format("cannot make '{}'", path));
    if (descriptor >= 0) ::close(descriptor);
    return error;
  }
  return std::unique_ptr<PerfMap>(new PerfMap(file));
}

void PerfMap::add(u64 host, u64 bytes, const CodePlace& place) {
  const std::string line = fmt::format("{:x} {:x} guest-{}-{:x}\n", host, bytes, place.user ? "user" : "kernel",
                                       place.rip);
  const std::lock_guard lock(mutex_);
  std::fputs(line.c_str(), file_.get());
}

}  // namespace doppel::translator
