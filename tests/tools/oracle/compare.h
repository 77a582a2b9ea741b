// What must agree: everything that the architecture defines; if wanted, status flags that it leaves undefined, too.
#pragma once

#include <string>

#include "generate.h"

namespace doppel::oracle {

// Empty if the engine did what the host did; else what differs, in words.
std::string difference(const Drawn& drawn, const Outcome& host, const Outcome& engine, bool all_flags);

}  // namespace doppel::oracle
