// Saving appends to one byte vector; loading reads from one, bounded by the innermost open section. See archive.h.
#include "state/archive.h"

#include <fmt/format.h>

#include <cstring>

#include "base/check.h"

namespace doppel::state {

namespace {

constexpr std::string_view magic = "DOPPELST";
constexpr u32 format_version = 1;

enum Tag : u8 { section = 0x5b, text = 't', bytes = 'b', raw_bytes = 'r' };  // integers: their size, 1, 2, 4 or 8

void store(std::vector<u8>& out, u64 value, unsigned size) {
  for (unsigned i = 0; i < size; ++i) out.push_back(static_cast<u8>(value >> (8 * i)));
}

}  // namespace

Archive Archive::for_saving() {
  Archive archive;
  archive.bytes_.assign(magic.begin(), magic.end());
  store(archive.bytes_, format_version, 4);
  return archive;
}

Archive Archive::for_loading(std::vector<u8> bytes) {
  Archive archive;
  archive.loading_ = true;
  archive.bytes_ = std::move(bytes);
  std::array<u8, 8> found{};
  if (!archive.take_bytes(found.data(), found.size()) || std::memcmp(found.data(), magic.data(), magic.size()) != 0) {
    archive.error_ = "this is not a saved state";
    return archive;
  }
  std::array<u8, 4> version{};
  archive.take_bytes(version.data(), version.size());
  const u32 number = version[0] | version[1] << 8 | version[2] << 16 | static_cast<u32>(version[3]) << 24;
  if (number != format_version)
    archive.reject(fmt::format("saved-state format {} is not known (this is {})", number, format_version));
  return archive;
}

u32 Archive::begin(std::string_view name, u32 version) {
  CHECK(name.size() <= 0xffff);
  if (!loading_) {
    bytes_.push_back(Tag::section);
    store(bytes_, name.size(), 2);
    bytes_.insert(bytes_.end(), name.begin(), name.end());
    store(bytes_, version, 4);
    store(bytes_, 0, 8);  // the length, known at end()
    sections_.push_back({std::string(name), bytes_.size(), 0});
    return version;
  }
  std::array<u8, 12> rest{};
  std::array<u8, 3> head{};
  std::string found;
  if (ok() && take_bytes(head.data(), head.size())) {
    if (head[0] != Tag::section) reject(fmt::format("section '{}' expected", name));
    found.resize(static_cast<std::size_t>(head[1] | head[2] << 8));
    take_bytes(found.data(), found.size());
    if (ok() && found != name) reject(fmt::format("section '{}' expected", name));
    take_bytes(rest.data(), rest.size());
  }
  u32 number = 0;
  u64 length = 0;
  std::memcpy(&number, rest.data(), sizeof number);
  std::memcpy(&length, rest.data() + 4, sizeof length);
  const std::size_t limit = sections_.empty() ? bytes_.size() : sections_.back().end;
  if (ok() && length > limit - position_) reject(fmt::format("section '{}' is longer than what holds it", name));
  if (ok() && number > version)
    reject(fmt::format("section '{}' has version {}, newer than {}", name, number, version));
  // Opened even after an error, so that begin and end stay paired.
  sections_.push_back({std::string(name), position_, ok() ? position_ + static_cast<std::size_t>(length) : position_});
  return ok() ? number : version;
}

void Archive::end() {
  CHECK(!sections_.empty());
  const Section section = sections_.back();
  if (loading_) {
    if (ok() && position_ != section.end) reject(fmt::format("{} bytes too many", section.end - position_));
  } else {
    const u64 length = bytes_.size() - section.start;
    std::memcpy(bytes_.data() + section.start - sizeof length, &length, sizeof length);
  }
  sections_.pop_back();
}

void Archive::integer(u64& value, unsigned size) {
  if (!loading_) {
    bytes_.push_back(static_cast<u8>(size));
    store(bytes_, value, size);
    return;
  }
  u8 tag = 0;
  if (!take_bytes(&tag, 1)) return;
  if (tag != size) return reject(fmt::format("an integer of {} bytes expected", size));
  u64 result = 0;
  if (take_bytes(&result, size)) value = result;
}

void Archive::operator()(std::string& text, u64 limit) {
  std::vector<u8> buffer(text.begin(), text.end());
  (*this)(buffer, limit);
  if (loading_ && ok()) text.assign(buffer.begin(), buffer.end());
}

void Archive::operator()(std::vector<u8>& bytes, u64 limit) {
  if (!loading_) {
    CHECK(bytes.size() <= limit);
    bytes_.push_back(Tag::bytes);
    store(bytes_, bytes.size(), 8);
    bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
    return;
  }
  u8 tag = 0;
  u64 length = 0;
  if (!take_bytes(&tag, 1)) return;
  if (tag != Tag::bytes) return reject("bytes expected");
  if (!take_bytes(&length, sizeof length)) return;
  const std::size_t left = (sections_.empty() ? bytes_.size() : sections_.back().end) - position_;
  if (length > limit || length > left) return reject(fmt::format("{} bytes where at most {} fit", length, limit));
  bytes.resize(static_cast<std::size_t>(length));
  take_bytes(bytes.data(), bytes.size());
}

void Archive::raw(void* data, std::size_t size) {
  if (!loading_) {
    bytes_.push_back(Tag::raw_bytes);
    store(bytes_, size, 8);
    const u8* start = static_cast<const u8*>(data);
    bytes_.insert(bytes_.end(), start, start + size);
    return;
  }
  u8 tag = 0;
  u64 length = 0;
  if (!take_bytes(&tag, 1)) return;
  if (tag != Tag::raw_bytes || !take_bytes(&length, sizeof length) || length != size) {
    return reject(fmt::format("exactly {} bytes expected", size));
  }
  take_bytes(data, size);
}

// Copies nothing unless all of it is there.
bool Archive::take_bytes(void* data, std::size_t size) {
  if (!ok()) return false;
  const std::size_t limit = sections_.empty() ? bytes_.size() : sections_.back().end;
  if (size > limit - position_) {
    reject("the saved state ends too early");
    return false;
  }
  if (size != 0) std::memcpy(data, bytes_.data() + position_, size);
  position_ += size;
  return true;
}

void Archive::reject(std::string message) {
  if (!ok()) return;
  std::string where;
  for (const Section& section : sections_) where += section.name + ": ";
  error_ = where + message;
}

void Archive::require(bool condition, std::string_view what) {
  if (loading_ && !condition) reject(fmt::format("invalid {}", what));
}

Result<> Archive::status() const {
  if (!ok()) return fail("saved state refused: " + error_);
  return {};
}

}  // namespace doppel::state
