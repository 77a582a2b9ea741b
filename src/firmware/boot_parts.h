// What both boot protocols do alike, and the errors they share.
#pragma once

#include <optional>

#include "firmware/boot.h"
#include "firmware/free_memory.h"

namespace doppel::firmware {

constexpr GuestPhysical kernel_floor = u64{1} << 20;  // below lie the BootLayout's structures and firmware tables

// Checks the length against the layout's room and the kernel's own limit (in characters), writes it with its zero.
Result<> write_command_line(Dma& memory, const BootLayout& layout, std::string_view command_line, u64 limit);

// Loads the initrd as high as it can be below `end_limit`, or above 4 GiB if that is allowed and nowhere else is room.
Result<GuestPhysical> place_initrd(Dma& memory, FreeMemory& free, NamedBytes initrd, u64 end_limit,
                                   bool may_be_above_4g);

std::unexpected<Error> does_not_fit(NamedBytes kernel, u64 bytes, GuestPhysical address);

}  // namespace doppel::firmware
