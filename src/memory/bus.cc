// Finds the region of an access and hands it over; what leaves its region is split into bytes. See bus.h.
#include "memory/bus.h"

#include <fmt/format.h>

#include <mutex>

#include "base/bits.h"

namespace doppel {

Result<> Bus::map(u64 base, u64 size, IoHandler& handler, std::string name) {
  if (size == 0 || base >= limit_ || size > limit_ - base) {
    return fail(
        fmt::format("'{}' at {:#x}, {:#x} bytes, does not lie in an address space of {:#x}", name, base, size, limit_));
  }
  const std::unique_lock lock(mutex_);
  auto next = regions_.upper_bound(base);
  const Region* other = nullptr;
  if (next != regions_.end() && next->first - base < size) other = &next->second;
  if (next != regions_.begin()) {
    const Region& previous = std::prev(next)->second;
    if (base - previous.base < previous.size) other = &previous;
  }
  if (other != nullptr) {
    return fail(fmt::format("'{}' at {:#x} overlaps '{}' at {:#x}", name, base, other->name, other->base));
  }
  regions_.emplace(base, Region{base, size, std::move(name), &handler});
  return {};
}

void Bus::unmap(u64 base) {
  const std::unique_lock lock(mutex_);
  regions_.erase(base);
}

Bus::Target Bus::find(u64 address) const {
  const std::shared_lock lock(mutex_);
  auto next = regions_.upper_bound(address);
  if (next == regions_.begin()) return {nullptr, 0, 0};
  const Region& region = std::prev(next)->second;
  const u64 offset = address - region.base;
  if (offset >= region.size) return {nullptr, 0, 0};
  return {region.handler, offset, region.size - offset};
}

u64 Bus::read(u64 address, unsigned bytes) {
  const Target target = find(address);
  if (target.handler != nullptr && target.room >= bytes) {
    return target.handler->read({target.offset, bytes}) & low_bits(8 * bytes);
  }
  if (bytes == 1) return 0xff;
  u64 value = 0;
  for (unsigned i = 0; i < bytes; ++i) value |= read(address + i, 1) << (8 * i);
  return value;
}

void Bus::write(u64 address, unsigned bytes, u64 value) {
  value &= low_bits(8 * bytes);
  const Target target = find(address);
  if (target.handler != nullptr && target.room >= bytes) return target.handler->write({target.offset, bytes}, value);
  if (bytes == 1) return;
  for (unsigned i = 0; i < bytes; ++i) write(address + i, 1, value >> (8 * i) & 0xff);
}

std::vector<Bus::Region> Bus::regions() const {
  const std::shared_lock lock(mutex_);
  std::vector<Region> result;
  for (const auto& [base, region] : regions_) result.push_back(region);
  return result;
}

}  // namespace doppel
