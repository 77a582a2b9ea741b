// How a broken invariant of our own ends the process: one line, then a core.
#include "base/check.h"

#include <cstdio>
#include <cstdlib>

namespace doppel {

void check_failed(const char* expression, const char* file, int line) {
  std::fprintf(stderr, "doppel: internal error at %s:%d: CHECK(%s) failed; please report this\n", file, line,
               expression);
  std::abort();
}

}  // namespace doppel
