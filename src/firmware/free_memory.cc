// See free_memory.h. All arithmetic is written so that hostile sizes and addresses cannot wrap.
#include "firmware/free_memory.h"

#include <algorithm>

#include "base/bits.h"

namespace doppel::firmware {

FreeMemory::FreeMemory(std::span<const MemoryMapEntry> map, GuestPhysical floor) {
  for (const MemoryMapEntry& entry : map) {
    if (entry.type != MemoryType::ram) continue;
    const GuestPhysical begin = std::max(entry.base, floor);
    const GuestPhysical end = entry.base + entry.size;
    if (begin >= end) continue;
    if (!ranges_.empty() && ranges_.back().end == begin) {
      ranges_.back().end = end;
    } else {
      ranges_.push_back({begin, end});
    }
  }
}

bool FreeMemory::take(GuestPhysical base, u64 size) {
  for (std::size_t i = 0; i < ranges_.size(); ++i) {
    const Range range = ranges_[i];
    if (base < range.begin || base > range.end || size > range.end - base) continue;
    std::vector<Range> left;
    if (range.begin < base) left.push_back({range.begin, base});
    if (base + size < range.end) left.push_back({base + size, range.end});
    ranges_.erase(ranges_.begin() + static_cast<std::ptrdiff_t>(i));
    ranges_.insert(ranges_.begin() + static_cast<std::ptrdiff_t>(i), left.begin(), left.end());
    return true;
  }
  return false;
}

std::optional<GuestPhysical> FreeMemory::lowest(u64 size, u64 alignment, GuestPhysical from, GuestPhysical to) const {
  for (const Range& range : ranges_) {
    const GuestPhysical begin = std::max(range.begin, from);
    const GuestPhysical end = std::min(range.end, to);
    const GuestPhysical place = align_up(begin, alignment);
    if (place >= begin && place <= end && size <= end - place) return place;
  }
  return std::nullopt;
}

std::optional<GuestPhysical> FreeMemory::highest(u64 size, u64 alignment, GuestPhysical from, GuestPhysical to) const {
  for (auto range = ranges_.rbegin(); range != ranges_.rend(); ++range) {
    const GuestPhysical begin = std::max(range->begin, from);
    const GuestPhysical end = std::min(range->end, to);
    if (begin > end || size > end - begin) continue;
    const GuestPhysical place = align_down(end - size, alignment);
    if (place >= begin) return place;
  }
  return std::nullopt;
}

u64 FreeMemory::largest() const {
  u64 largest = 0;
  for (const Range& range : ranges_) largest = std::max(largest, range.end - range.begin);
  return largest;
}

}  // namespace doppel::firmware
