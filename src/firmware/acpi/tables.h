// The ACPI tables of a board: RSDP, RSDT, XSDT, FADT, FACS, MADT, HPET, DSDT. ACPI 6.5 §5.2; IA-PC HPET 1.0a §3.2.4.
// No MCFG: configuration mechanism 1 is the only one. No thermal, battery or sleep states other than S5.
#pragma once

#include <vector>

#include "firmware/acpi/parameters.h"

namespace doppel::firmware::acpi {

// One block for guest memory at `parameters.base`; the RSDP is its first bytes. With 8 processors about 8 KiB.
std::vector<u8> build_tables(const Parameters& parameters);

// The DSDT's definition block, without table header.
std::vector<u8> build_dsdt_body(const Parameters& parameters);

}  // namespace doppel::firmware::acpi
