// Compares what a guest test left behind with what it says must come of it.
#pragma once

#include <string>
#include <vector>

#include "guest_case.h"
#include "isa/x86/registers.h"
#include "memory/physical_memory.h"

namespace doppel::guest {

// What went wrong, one line each; empty: nothing.
std::vector<std::string> check(const Case& test, const std::string& exit, const x86::X86State& state,
                               const PhysicalMemory& memory);

}  // namespace doppel::guest
