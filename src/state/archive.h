// Saved state: every component has one function that names its state, for saving and for loading alike.
//
//   void Pit8254::state(state::Archive& archive) {
//     archive.begin("pit8254", 1);            // section name and version
//     for (auto& channel : channels_) { archive(channel.count); archive(channel.mode); }
//     archive.end();
//   }
//
// File layout (little endian): magic "DOPPELST", u32 format version, then nested sections: u8 tag 0x5b, u16 name length,
// name, u32 version, u64 body length, body. Fields are stored as tag (type) and value, so that a state file of another
// layout is refused instead of misread. Loading never trusts the file: every length is checked against what is left and
// against a bound that the caller states; the first error sticks and the caller looks at `status()`.
#pragma once

#include <array>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "base/result.h"
#include "base/types.h"

namespace doppel::state {

class Archive {
 public:
  static Archive for_saving();
  static Archive for_loading(std::vector<u8> bytes);

  bool loading() const { return loading_; }
  bool saving() const { return !loading_; }

  // Sections nest. Returns the version in the file when loading (at most `version`; a newer one fails), `version` when saving.
  u32 begin(std::string_view name, u32 version);
  // When loading, fails if the section's body was not consumed exactly.
  void end();

  template <class T>
    requires(std::is_integral_v<T> || std::is_enum_v<T>)
  void operator()(T& value) {
    u64 raw = static_cast<u64>(value);
    integer(raw, sizeof(T));
    if (loading_ && ok()) value = static_cast<T>(raw);
  }
  template <class T, std::size_t N>
  void operator()(std::array<T, N>& values) {
    for (auto& value : values) (*this)(value);
  }
  template <class T, std::size_t N>
  void operator()(T (&values)[N]) {
    for (auto& value : values) (*this)(value);
  }
  void operator()(std::string& text, u64 limit);
  void operator()(std::vector<u8>& bytes, u64 limit);
  // Exactly `size` raw bytes.
  void raw(void* data, std::size_t size);

  // A value that loading must reject: out of range, inconsistent. Keeps the first message.
  void reject(std::string message);
  // Shorthand: reject unless the condition holds (loading only).
  void require(bool condition, std::string_view what);

  bool ok() const { return error_.empty(); }
  Result<> status() const;
  std::vector<u8> take() { return std::move(bytes_); }  // after saving

 private:
  Archive() = default;
  void integer(u64& value, unsigned size);
  bool take_bytes(void* data, std::size_t size);

  struct Section {
    std::string name;
    std::size_t start;
    std::size_t end;
  };

  bool loading_ = false;
  std::vector<u8> bytes_;
  std::size_t position_ = 0;
  std::vector<Section> sections_;
  std::string error_;
};

}  // namespace doppel::state
