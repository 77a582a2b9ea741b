// Little-endian fields in byte buffers: reading from images, building tables.
#pragma once

#include <cstring>
#include <span>
#include <string_view>
#include <type_traits>
#include <vector>

#include "base/check.h"
#include "base/types.h"

namespace doppel::firmware {

// The caller has checked that the field lies inside.
template <class T>
T load(std::span<const u8> bytes, u64 offset) {
  static_assert(std::is_integral_v<T>);
  CHECK(offset <= bytes.size() && sizeof(T) <= bytes.size() - offset);
  T value;
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

template <class T>
void store(std::span<u8> bytes, u64 offset, T value) {
  static_assert(std::is_integral_v<T>);
  CHECK(offset <= bytes.size() && sizeof(T) <= bytes.size() - offset);
  std::memcpy(bytes.data() + offset, &value, sizeof value);
}

// Appends fields in order, as a table's definition lists them.
class ByteWriter {
 public:
  ByteWriter& byte(u64 value) { return integer(value, 1); }
  ByteWriter& word(u64 value) { return integer(value, 2); }
  ByteWriter& dword(u64 value) { return integer(value, 4); }
  ByteWriter& qword(u64 value) { return integer(value, 8); }
  ByteWriter& zeros(u64 count) {
    bytes_.insert(bytes_.end(), count, 0);
    return *this;
  }
  // Exactly `width` bytes: cut, or filled with `fill`.
  ByteWriter& text(std::string_view value, u64 width, char fill = ' ') {
    for (u64 i = 0; i < width; ++i) bytes_.push_back(static_cast<u8>(i < value.size() ? value[i] : fill));
    return *this;
  }
  ByteWriter& raw(std::span<const u8> bytes) {
    bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
    return *this;
  }
  ByteWriter& align(u64 alignment) { return zeros((alignment - bytes_.size() % alignment) % alignment); }

  u64 size() const { return bytes_.size(); }
  std::span<u8> bytes() { return bytes_; }
  std::vector<u8> take() { return std::move(bytes_); }

 private:
  ByteWriter& integer(u64 value, unsigned size) {
    for (unsigned i = 0; i < size; ++i) bytes_.push_back(static_cast<u8>(value >> (8 * i)));
    return *this;
  }
  std::vector<u8> bytes_;
};

// The byte that makes the sum of all bytes zero when it replaces a zero among them (ACPI and SMBIOS checksums).
inline u8 checksum(std::span<const u8> bytes) {
  u8 sum = 0;
  for (const u8 byte : bytes) sum = static_cast<u8>(sum + byte);
  return static_cast<u8>(-sum);
}

}  // namespace doppel::firmware
