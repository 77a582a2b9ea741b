// The physical memory map as firmware reports it (ACPI 6.5 §15, "E820").
#pragma once

#include "base/types.h"
#include "memory/physical_memory.h"

namespace doppel::firmware {

enum class MemoryType : u32 { ram = 1, reserved = 2, acpi_tables = 3, acpi_nvs = 4, unusable = 5 };

// Sorted by base and without overlaps, as the board states it.
struct MemoryMapEntry {
  GuestPhysical base;
  u64 size;
  MemoryType type;
};

}  // namespace doppel::firmware
