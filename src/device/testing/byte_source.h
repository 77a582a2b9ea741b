// Reads a fuzzer's input as a stream of small numbers; past the end it yields zeroes.
#pragma once

#include "base/check.h"
#include "base/types.h"

namespace doppel::testing {

class ByteSource {
 public:
  ByteSource(const u8* data, std::size_t size) : data_(data), size_(size) {}

  bool empty() const { return position_ >= size_; }
  std::size_t remaining() const { return size_ - position_; }

  // The next `bytes` (at most 8) as a little-endian number.
  u64 next(unsigned bytes) {
    CHECK(bytes <= 8);
    u64 value = 0;
    for (unsigned i = 0; i < bytes && position_ < size_; ++i) value |= u64{data_[position_++]} << (8 * i);
    return value;
  }

 private:
  const u8* data_;
  std::size_t size_;
  std::size_t position_ = 0;
};

}  // namespace doppel::testing
