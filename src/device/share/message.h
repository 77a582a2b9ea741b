// 9P messages (little endian): size[4] type[1] tag[2] and fields; a text is length[2] and its bytes.
// Reading checks every length against what is left, writing against a limit; the first violation sticks.
#pragma once

#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "base/types.h"

namespace doppel::p9 {

constexpr std::size_t header_bytes = 7;

class Reader {
 public:
  explicit Reader(std::span<const u8> bytes) : bytes_(bytes) {}

  template <class T>
  T get() {
    static_assert(std::is_unsigned_v<T>);
    T value{};
    const auto found = take(sizeof value);
    if (ok_) std::memcpy(&value, found.data(), sizeof value);
    return value;
  }
  std::string text() {
    const auto found = take(get<u16>());
    return {reinterpret_cast<const char*>(found.data()), found.size()};
  }
  std::span<const u8> take(std::size_t count) {
    if (count > bytes_.size() - at_) ok_ = false;
    if (!ok_) return {};
    at_ += count;
    return bytes_.subspan(at_ - count, count);
  }
  bool ok() const { return ok_; }

 private:
  std::span<const u8> bytes_;
  std::size_t at_ = 0;
  bool ok_ = true;
};

class Writer {
 public:
  explicit Writer(std::size_t limit) : limit_(limit) {}

  template <class T>
  void put(T value) {
    static_assert(std::is_unsigned_v<T>);
    if (u8* place = extend(sizeof value)) std::memcpy(place, &value, sizeof value);
  }
  void text(std::string_view value) {
    put(static_cast<u16>(value.size()));
    if (u8* place = extend(value.size())) std::memcpy(place, value.data(), value.size());
  }
  // Room for so many bytes more; nullptr if there is none.
  u8* extend(std::size_t count) {
    if (count > left()) ok_ = false;
    if (!ok_) return nullptr;
    bytes_.resize(bytes_.size() + count);
    return bytes_.data() + bytes_.size() - count;
  }
  void truncate(std::size_t size) { bytes_.resize(size); }
  template <class T>
  void overwrite(std::size_t at, T value) {
    std::memcpy(bytes_.data() + at, &value, sizeof value);
  }
  std::size_t size() const { return bytes_.size(); }
  std::size_t left() const { return limit_ - bytes_.size(); }
  bool ok() const { return ok_; }
  std::vector<u8> take_bytes() { return std::move(bytes_); }

 private:
  std::size_t limit_;
  std::vector<u8> bytes_;
  bool ok_ = true;
};

}  // namespace doppel::p9
