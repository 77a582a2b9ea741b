// An owned file descriptor.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "base/result.h"
#include "base/types.h"

namespace doppel {

class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    if (this != &other) {
      reset();
      fd_ = std::exchange(other.fd_, -1);
    }
    return *this;
  }
  ~Fd() { reset(); }

  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }
  int release() { return std::exchange(fd_, -1); }
  void reset();

 private:
  int fd_ = -1;
};

// `flags` as in open(2); O_CLOEXEC is added. The error names the path.
Result<Fd> open_file(const std::string& path, int flags, int mode = 0644);
// The whole regular file; an error when it is a directory or larger than `limit` bytes.
Result<std::string> read_file(const std::string& path, u64 limit);
// Makes the file, or replaces what it held. The error names the path.
Result<> write_file(const std::string& path, std::string_view text);
// Writes all bytes, retrying short writes and EINTR.
Result<> write_all(int fd, std::span<const u8> bytes);

}  // namespace doppel
