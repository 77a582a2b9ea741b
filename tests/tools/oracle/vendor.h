// Where Intel's processors rightly do otherwise than AMD's. The engine is one legal processor and follows AMD there; on a host of
// Intel's its outcome is first turned into what that host must show, so that the comparison itself stays exact. On other hosts only what AMD's
// processors have and a guest's have not is allowed for.
#pragma once

#include <span>

#include "generate.h"

namespace doppel::oracle {

// `pool`: what the data area was filled from.
void follow_host_vendor(const Drawn& drawn, std::span<const u8> pool, const Outcome& host, Outcome& engine);

}  // namespace doppel::oracle
