// SMBIOS tables (DMTF DSP0134 3.0): entry points of 2.1 and 3.0, and types 0, 1, 3, 4, 16, 17, 19, 32, 127. What is not
// known of a virtual machine (serial numbers, slots, caches, voltages) is absent or "unknown".
#pragma once

#include <array>
#include <span>
#include <string>
#include <vector>

#include "firmware/memory_map.h"

namespace doppel::firmware {

struct SmbiosParameters {
  GuestPhysical base;  // 16-byte aligned, within 0xf0000–0xfffff, where operating systems look for the entry points
  unsigned cpus = 1;
  std::span<const MemoryMapEntry> memory_map;
  u64 memory_bytes = 0;       // installed
  std::string version;        // of Doppel
  std::array<u8, 16> uuid{};  // in the order in which it is printed; all zero: not set
};

// One block for guest memory at `parameters.base`.
std::vector<u8> build_smbios(const SmbiosParameters& parameters);

}  // namespace doppel::firmware
