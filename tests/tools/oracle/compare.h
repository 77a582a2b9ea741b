// What must agree: everything that the architecture defines.
#pragma once

#include <string>

#include "generate.h"

namespace doppel::oracle {

// Empty if the engine did what the host did; else what differs, in words.
std::string difference(const Drawn& drawn, const Outcome& host, const Outcome& engine);

}  // namespace doppel::oracle
