// Loads a bzImage by the Linux boot protocol: Documentation/arch/x86/boot.rst and zero-page.rst.
#pragma once

#include "firmware/boot.h"

namespace doppel::firmware {

Result<x86::X86State> boot_linux(Dma& memory, const BzImage& image, NamedBytes kernel, NamedBytes initrd,
                                 std::string_view command_line, const BootEnvironment& environment);

}  // namespace doppel::firmware
