// Names of translated code for perf(1), which reads them from /tmp/perf-PID.map: a line "start size name" for each block. Names are the
// guest's address and privilege. Shared by the vCPUs of an engine. What was recycled is named anew by later lines.
#pragma once

#include <cstdio>
#include <memory>
#include <mutex>

#include "base/result.h"
#include "engine/translator/profile.h"

namespace doppel::translator {

class PerfMap {
 public:
  static Result<std::unique_ptr<PerfMap>> create();
  void add(u64 host, u64 bytes, const CodePlace& place);

 private:
  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  explicit PerfMap(std::FILE* file) : file_(file) {}

  std::mutex mutex_;
  std::unique_ptr<std::FILE, Close> file_;
};

}  // namespace doppel::translator
