// What the host can fail at is a Result; the Error says what failed, on what, and what to do about it.
// Guest actions are never errors (they are data), and our own bugs are CHECKs (base/check.h).
#pragma once

#include <expected>
#include <string>
#include <utility>

namespace doppel {

// Who can mend it decides the exit code: a usage error exits 2, everything else 1.
enum class ErrorKind { failure, usage };

struct Error {
  std::string message;  // one line, no trailing newline: "cannot open 'disk.img': No such file or directory"
  ErrorKind kind = ErrorKind::failure;
};

template <class T = void>
using Result = std::expected<T, Error>;

// `return fail("cannot map {} bytes", n)`-style callers format with fmt first.
inline std::unexpected<Error> fail(std::string message) { return std::unexpected(Error{std::move(message)}); }
inline std::unexpected<Error> usage_error(std::string message) {
  return std::unexpected(Error{std::move(message), ErrorKind::usage});
}
// "cannot open 'x': No such file or directory" from errno (or the given code).
std::unexpected<Error> fail_errno(std::string what, int code = 0);

namespace detail {
template <class T>
T take(Result<T>& result) {
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}
}  // namespace detail

}  // namespace doppel

// File file = TRY(open_file(path));   TRY(file.sync());
#define TRY(...)                                              \
  ({                                                          \
    auto try_result_ = (__VA_ARGS__);                         \
    if (!try_result_) [[unlikely]]                            \
      return std::unexpected(std::move(try_result_.error())); \
    ::doppel::detail::take(try_result_);                      \
  })
