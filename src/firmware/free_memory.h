// Finds room in guest RAM for what is loaded before the guest starts.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "firmware/memory_map.h"

namespace doppel::firmware {

class FreeMemory {
 public:
  // All RAM of the map at or above `floor`.
  FreeMemory(std::span<const MemoryMapEntry> map, GuestPhysical floor);

  // False, and nothing taken, unless [base, base+size) is free throughout.
  bool take(GuestPhysical base, u64 size);
  // The lowest (highest) free, aligned place for `size` bytes within [from, to); not taken yet. `alignment` is a power of two.
  std::optional<GuestPhysical> lowest(u64 size, u64 alignment, GuestPhysical from, GuestPhysical to) const;
  std::optional<GuestPhysical> highest(u64 size, u64 alignment, GuestPhysical from, GuestPhysical to) const;
  u64 largest() const;  // bytes of the largest free range

 private:
  struct Range {
    GuestPhysical begin, end;
  };
  std::vector<Range> ranges_;  // sorted, disjoint, not empty
};

}  // namespace doppel::firmware
