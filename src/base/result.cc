// Errors from the operating system, in words.
#include "base/result.h"

#include <cerrno>
#include <cstring>

namespace doppel {

std::unexpected<Error> fail_errno(std::string what, int code) {
  const int number = code != 0 ? code : errno;
  char buffer[128];
  return fail(std::move(what) + ": " + strerror_r(number, buffer, sizeof buffer));
}

}  // namespace doppel
