// Room for code that an engine writes: one piece of memory, mapped writable at one address and executable at another, so that no page is both.
// A vCPU's own; its thread alone writes to it.
#pragma once

#include <vector>

#include "base/result.h"
#include "base/types.h"

namespace doppel {

class CodeCache {
 public:
  // Maps `bytes` (whole pages), and behind them, where the code reaches it relative to itself, memory for data that it reads and writes.
  static Result<CodeCache> create(u64 bytes, u64 data_bytes = 0);
  CodeCache(CodeCache&& other) noexcept;
  CodeCache& operator=(CodeCache&&) = delete;
  ~CodeCache();

  // What lies beyond `offset` is no longer needed: its memory goes back to the host, in huge pages, and reads as zeroes again.
  void forget_from(u64 offset);

  // Tells that code was written up to here. Where much was, the host is asked for a huge page, for the sake of its TLB.
  void grown_to(u64 end);

  u8* writable() const { return writable_; }
  u64 bytes() const { return bytes_; }
  // Zeroes at first; as an offset of the code: bytes().
  u8* data() const { return executable_ + bytes_; }
  u64 data_bytes() const { return data_bytes_; }
  u64 address(u64 offset) const { return reinterpret_cast<u64>(executable_) + offset; }
  // Whether a host instruction pointer is within; `offset` is where.
  bool holds(u64 host, u64& offset) const {
    offset = host - reinterpret_cast<u64>(executable_);
    return offset < bytes_;
  }

 private:
  CodeCache(u8* writable, u8* executable, u64 bytes, u64 data_bytes);

  u8* writable_;
  u8* executable_;
  u64 bytes_;
  u64 data_bytes_;
  std::vector<bool> huge_;  // pages that were asked for
};

}  // namespace doppel
