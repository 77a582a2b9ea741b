// MSI-X; see msix.h.
#include "device/pci/msix.h"

#include "base/bits.h"
#include "base/check.h"

namespace doppel {

namespace {
constexpr u32 masked = 1;
}

Msix::Msix(unsigned vectors, MsiSink sink) : sink_(std::move(sink)), entries_(vectors), pending_((vectors + 63) / 64) {
  CHECK(vectors >= 1 && vectors <= max_vectors);
  reset();
}

void Msix::reset() {
  const std::lock_guard lock(mutex_);
  enabled_ = function_mask_ = may_send_ = false;
  for (auto& entry : entries_) entry = {{0, 0, 0, masked}};
  for (auto& word : pending_) word = 0;
}

void Msix::configure(bool enabled, bool function_mask, bool may_send) {
  const std::lock_guard lock(mutex_);
  enabled_ = enabled;
  function_mask_ = function_mask;
  may_send_ = may_send;
  send_pending();
}

bool Msix::enabled() const {
  const std::lock_guard lock(mutex_);
  return enabled_;
}

void Msix::notify(unsigned vector) {
  const std::lock_guard lock(mutex_);
  if (vector >= entries_.size() || !enabled_) return;
  if (deliverable(entries_[vector])) {
    send(vector);
  } else {
    pending_[vector / 64] |= u64{1} << (vector % 64);
  }
}

void Msix::send(unsigned vector) {
  const auto& words = entries_[vector].words;
  pending_[vector / 64] &= ~(u64{1} << (vector % 64));
  if (sink_) sink_({u64{words[1]} << 32 | (words[0] & ~u32{3}), words[2]});
}

void Msix::send_pending() {
  for (unsigned vector = 0; vector < entries_.size(); ++vector) {
    if (pending_[vector / 64] == 0) {
      vector |= 63;  // nothing pending among these 64
    } else if ((pending_[vector / 64] >> (vector % 64) & 1) != 0 && deliverable(entries_[vector])) {
      send(vector);
    }
  }
}

u64 Msix::read_table(Access access) const {
  const std::lock_guard lock(mutex_);
  if (access.bytes < 4 || access.offset % access.bytes != 0 || access.offset + access.bytes > table_bytes())
    return ~u64{0};
  const auto& words = entries_[access.offset / 16].words;
  const unsigned word = static_cast<unsigned>(access.offset / 4 % 4);
  return access.bytes == 4 ? u64{words[word]} : u64{words[word + 1]} << 32 | words[word];
}

void Msix::write_table(Access access, u64 value) {
  const std::lock_guard lock(mutex_);
  if (access.bytes < 4 || access.offset % access.bytes != 0 || access.offset + access.bytes > table_bytes()) return;
  const unsigned vector = static_cast<unsigned>(access.offset / 16);
  const unsigned word = static_cast<unsigned>(access.offset / 4 % 4);
  auto& words = entries_[vector].words;
  words[word] = static_cast<u32>(value);
  if (access.bytes == 8) words[word + 1] = static_cast<u32>(value >> 32);
  words[3] &= masked;  // the rest of Vector Control is reserved
  if ((pending_[vector / 64] >> (vector % 64) & 1) != 0 && deliverable(entries_[vector])) send(vector);
}

u64 Msix::read_pending(Access access) const {
  const std::lock_guard lock(mutex_);
  if (access.offset % access.bytes != 0 || access.offset + access.bytes > pending_bytes()) return ~u64{0};
  return pending_[access.offset / 8] >> (8 * (access.offset % 8)) & low_bits(8 * access.bytes);
}

void Msix::state(state::Archive& archive) {
  const std::lock_guard lock(mutex_);
  archive.begin("msix", 1);
  u32 vectors = static_cast<u32>(entries_.size());
  archive(vectors);
  archive.require(vectors == entries_.size(), "number of MSI-X vectors");
  for (auto& entry : entries_) archive(entry.words);
  for (auto& word : pending_) archive(word);
  if (archive.loading()) {
    for (auto& entry : entries_) entry.words[3] &= masked;
    if (entries_.size() % 64 != 0) pending_.back() &= low_bits(entries_.size() % 64);
  }
  archive.end();
}

}  // namespace doppel
