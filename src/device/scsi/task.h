// A SCSI command as it reaches a logical unit, and what the unit makes of it (SAM-5; sense data: SPC-4 §4.5).
#pragma once

#include <sys/uio.h>

#include <span>
#include <string_view>
#include <vector>

#include "base/types.h"
#include "device/image_operation.h"

namespace doppel::scsi {

// Sense key, additional sense code and qualifier: why a command did not end well.
struct Sense {
  u8 key = 0, code = 0, qualifier = 0;
  bool operator==(const Sense&) const = default;
};

namespace sense {
constexpr Sense none{};
constexpr Sense no_medium{2, 0x3a, 0x00};
constexpr Sense write_failed{3, 0x0c, 0x00};
constexpr Sense read_failed{3, 0x11, 0x00};
constexpr Sense parameter_list_length{5, 0x1a, 0x00};
constexpr Sense unknown_command{5, 0x20, 0x00};
constexpr Sense address_out_of_range{5, 0x21, 0x00};
constexpr Sense invalid_field{5, 0x24, 0x00};
constexpr Sense no_such_unit{5, 0x25, 0x00};
constexpr Sense invalid_parameter{5, 0x26, 0x00};
constexpr Sense no_saved_parameters{5, 0x39, 0x00};
constexpr Sense removal_prevented{5, 0x53, 0x02};
constexpr Sense medium_changed{6, 0x28, 0x00};
constexpr Sense reset_occurred{6, 0x29, 0x00};
constexpr Sense write_protected{7, 0x27, 0x00};
constexpr Sense no_space{7, 0x27, 0x07};
}  // namespace sense

constexpr u8 status_good = 0, status_check_condition = 2;  // SAM-5 §5.3

// Fixed-format sense data (SPC-4 §4.5.3).
constexpr std::size_t fixed_sense_bytes = 18;
std::vector<u8> fixed_sense(const Sense& sense);

constexpr std::size_t largest_cdb_bytes = 16;

struct Command {
  std::span<const u8, largest_cdb_bytes> cdb;  // copied from the guest; zeroes behind its end
  // Buffers in guest memory, which changes at any time.
  std::span<const std::span<u8>> data_out, data_in;
  u64 data_out_bytes = 0, data_in_bytes = 0;
};

// What the image does, so many times at offsets that follow each other. The buffers are in guest memory, or in `pattern`.
struct Step {
  ImageOperation operation;
  std::vector<iovec> buffers{};
  u64 times = 1;
};

struct Task {
  Sense sense{};            // other than none: check condition
  bool overrun = false;     // nothing is done: the buffers are too small for what the command transfers
  std::vector<u8> data;     // parameter data for the initiator, at most data_in_bytes
  u64 transferred = 0;      // bytes that the steps move in or out of the initiator's buffers, or that were taken in
  std::vector<Step> steps;  // one after another, until one fails
  std::vector<u8> pattern;  // what WRITE SAME writes again and again
};

// Fields of commands and parameter data are big endian.
inline u64 load_be(std::span<const u8> bytes, std::size_t at, unsigned count) {
  u64 value = 0;
  for (unsigned i = 0; i < count; ++i) value = value << 8 | bytes[at + i];
  return value;
}

// Appends fields in the order in which a table of the standard lists them.
class Fields {
 public:
  Fields& be8(u64 value) { return put(value, 1); }
  Fields& be16(u64 value) { return put(value, 2); }
  Fields& be24(u64 value) { return put(value, 3); }
  Fields& be32(u64 value) { return put(value, 4); }
  Fields& be64(u64 value) { return put(value, 8); }
  Fields& zeroes(std::size_t count) {
    bytes_.resize(bytes_.size() + count);
    return *this;
  }
  // Exactly `width` characters: cut, or filled with spaces.
  Fields& text(std::string_view value, std::size_t width) {
    for (std::size_t i = 0; i < width; ++i) bytes_.push_back(static_cast<u8>(i < value.size() ? value[i] : ' '));
    return *this;
  }
  Fields& append(std::span<const u8> bytes) {
    bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
    return *this;
  }
  // Overwrites what was left open, such as a length that is known at the end.
  Fields& set(std::size_t at, u64 value, unsigned count) {
    for (unsigned i = 0; i < count; ++i) bytes_[at + i] = static_cast<u8>(value >> (8 * (count - 1 - i)));
    return *this;
  }
  std::size_t size() const { return bytes_.size(); }
  std::vector<u8> take() { return std::move(bytes_); }

 private:
  Fields& put(u64 value, unsigned count) {
    bytes_.resize(bytes_.size() + count);
    return set(bytes_.size() - count, value, count);
  }
  std::vector<u8> bytes_;
};

}  // namespace doppel::scsi
