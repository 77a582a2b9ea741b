// Device access to guest memory: see Dma in physical_memory.h.
#include <algorithm>
#include <cstring>

#include "memory/physical_memory.h"

namespace doppel {

namespace {

// Whole aligned words move in one access, as a device's would: the guest may be polling them.
void copy(void* to, const void* from, u64 size, const void* guest_side) {
  const bool aligned = reinterpret_cast<std::uintptr_t>(guest_side) % size == 0;
  if (aligned && size == 8) {
    std::memcpy(to, from, 8);
  } else if (aligned && size == 4) {
    std::memcpy(to, from, 4);
  } else if (aligned && size == 2) {
    std::memcpy(to, from, 2);
  } else {
    std::memcpy(to, from, size);
  }
}

// Calls `visit(host, address, size)` for each contiguous piece; host is null where there is no memory.
template <class Visit>
void for_each_piece(const PhysicalMemory& memory, GuestPhysical address, u64 size, Visit visit) {
  while (size != 0) {
    const auto host = memory.host_range(address);
    u64 piece = host.size;
    if (host.data == nullptr) {
      piece = ~u64{0} - address;  // up to the next region; an access that would wrap ends in nothing
      for (const auto& region : memory.regions()) {
        if (region.base > address) {
          piece = region.base - address;
          break;
        }
      }
      if (piece == 0) piece = size;
    }
    piece = std::min(piece, size);
    visit(host, address, piece);
    address += piece;
    size -= piece;
  }
}

}  // namespace

bool Dma::read(GuestPhysical address, void* data, u64 size) const {
  bool complete = true;
  u8* out = static_cast<u8*>(data);
  for_each_piece(memory_, address, size, [&](const PhysicalMemory::HostRange& host, GuestPhysical, u64 piece) {
    if (host.data != nullptr) {
      copy(out, host.data, piece, host.data);
    } else {
      std::memset(out, 0xff, piece);
      complete = false;
    }
    out += piece;
  });
  return complete;
}

bool Dma::write(GuestPhysical address, const void* data, u64 size) {
  bool complete = true;
  const u8* in = static_cast<const u8*>(data);
  for_each_piece(memory_, address, size, [&](const PhysicalMemory::HostRange& host, GuestPhysical, u64 piece) {
    if (host.writable) {
      copy(host.data, in, piece, host.data);
      memory_.note_write(static_cast<u64>(host.data - memory_.ram()), piece);
    } else {
      complete = false;
    }
    in += piece;
  });
  return complete;
}

bool Dma::ranges(GuestPhysical address, u64 size, bool for_device_writes, std::vector<std::span<u8>>& out) const {
  const std::size_t before = out.size();
  bool complete = true;
  for_each_piece(memory_, address, size, [&](const PhysicalMemory::HostRange& host, GuestPhysical, u64 piece) {
    if (host.data == nullptr || (for_device_writes && !host.writable)) {
      complete = false;
    } else {
      out.emplace_back(host.data, piece);
    }
  });
  if (!complete) out.resize(before);
  return complete;
}

void Dma::written(GuestPhysical address, u64 size) {
  for_each_piece(memory_, address, size, [&](const PhysicalMemory::HostRange& host, GuestPhysical, u64 piece) {
    if (host.writable) memory_.note_write(static_cast<u64>(host.data - memory_.ram()), piece);
  });
}

}  // namespace doppel
