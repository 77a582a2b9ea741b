#include "engine/interpreter/tlb.h"

#include <algorithm>

#include "base/bits.h"

namespace doppel::interpreter {
namespace {

constexpr u64 last_asid = 0xffe;
constexpr u64 frame_2m = u64{2} << 20;
constexpr u64 frame_1g = u64{1} << 30;
constexpr std::size_t frame_limit = 8192;  // remembered before a page flush means a full one

// False if there is no room for it.
bool remember(std::vector<u64>& frames, u64 frame) {
  const auto at = std::lower_bound(frames.begin(), frames.end(), frame);
  if (at != frames.end() && *at == frame) return true;
  if (frames.size() >= frame_limit) return false;
  frames.insert(at, frame);
  return true;
}

bool remembered(const std::vector<u64>& frames, u64 frame) {
  return std::binary_search(frames.begin(), frames.end(), frame);
}

}  // namespace

Tlb::Tlb() {
  for (auto& table : tables_) table = std::make_unique<TlbEntry[]>(entries);
  blind_ = std::make_unique<TlbEntry[]>(1);
}

u64 Tlb::fresh_asid() {
  if (next_asid_ > last_asid) {
    for (auto& table : tables_) std::fill_n(table.get(), entries, TlbEntry{});
    asids_.clear();
    large_.clear();
    huge_.clear();
    large_overflow_ = false;
    next_asid_ = 1;
  }
  return next_asid_++;
}

void Tlb::switch_address_space(u16 pcid, bool keep) {
  pcid_ = pcid;
  if (keep) {
    if (auto known = asids_.find(pcid); known != asids_.end()) {
      asid_ = known->second;
      return;
    }
  }
  asid_ = fresh_asid();
  asids_[pcid] = asid_;
  ++flushes;
}

void Tlb::flush_all() {
  asids_.clear();
  asid_ = fresh_asid();
  asids_[pcid_] = asid_;
  ++flushes;
}

void Tlb::flush_pcid(u16 pcid) {
  if (pcid == pcid_)
    switch_address_space(pcid, false);
  else
    asids_.erase(pcid);
}

void Tlb::flush_page(u64 linear) {
  if (large_overflow_ || remembered(huge_, align_down(linear, frame_1g))) return flush_all();
  const u64 frame = align_down(linear, frame_2m);
  const bool large = remembered(large_, frame);
  const u64 first = large ? frame : align_down(linear, 4096);
  const u64 pages = large ? frame_2m / 4096 : 1;
  for (auto& table : tables_)
    for (u64 i = 0; i < pages; ++i) table[((first >> 12) + i) & mask] = {};
}

void Tlb::note_large_page(u64 linear, u64 size) {
  bool room;
  if (size >= frame_1g) {
    room = remember(huge_, align_down(linear, frame_1g));
  } else {
    const u64 base = align_down(linear, size);
    room = remember(large_, base) && (size == frame_2m || remember(large_, base + frame_2m));
  }
  if (!room) large_overflow_ = true;
}

}  // namespace doppel::interpreter
