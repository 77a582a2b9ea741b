// Loads an ELF kernel by the PVH boot protocol: Xen, docs/misc/pvh.pandoc and xen/include/public/arch-x86/hvm/start_info.h.
#pragma once

#include "firmware/boot.h"
#include "firmware/elf_image.h"

namespace doppel::firmware {

Result<x86::X86State> boot_pvh(Dma& memory, const ElfImage& image, NamedBytes kernel, NamedBytes initrd,
                               std::string_view command_line, const BootEnvironment& environment);

}  // namespace doppel::firmware
