// Scatter lists: parts of them, and copying into and out of them.
#pragma once

#include <sys/uio.h>

#include <algorithm>
#include <cstring>
#include <span>
#include <vector>

#include "base/types.h"

namespace doppel::disk {

inline u64 total_bytes(std::span<const iovec> buffers) {
  u64 total = 0;
  for (const iovec& buffer : buffers) total += buffer.iov_len;
  return total;
}

// The part [from, from + bytes) of a list.
inline std::vector<iovec> slice(std::span<const iovec> buffers, u64 from, u64 bytes) {
  std::vector<iovec> result;
  for (const iovec& buffer : buffers) {
    if (bytes == 0) break;
    if (from >= buffer.iov_len) {
      from -= buffer.iov_len;
      continue;
    }
    const u64 piece = std::min<u64>(bytes, buffer.iov_len - from);
    result.push_back({.iov_base = static_cast<u8*>(buffer.iov_base) + from, .iov_len = piece});
    from = 0;
    bytes -= piece;
  }
  return result;
}

inline void fill_zero(std::span<const iovec> buffers) {
  for (const iovec& buffer : buffers) {
    if (buffer.iov_len != 0) std::memset(buffer.iov_base, 0, buffer.iov_len);
  }
}

// `from` has as many bytes as the list.
inline void scatter(std::span<const iovec> buffers, const u8* from) {
  for (const iovec& buffer : buffers) {
    if (buffer.iov_len != 0) std::memcpy(buffer.iov_base, from, buffer.iov_len);
    from += buffer.iov_len;
  }
}

inline iovec buffer_of(std::span<const u8> bytes) {
  return {.iov_base = const_cast<u8*>(bytes.data()), .iov_len = bytes.size()};
}

inline bool all_zero(std::span<const u8> bytes) {
  if (bytes.empty()) return true;
  return bytes[0] == 0 && std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0;
}

}  // namespace doppel::disk
