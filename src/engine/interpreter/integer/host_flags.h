// Flags that the architecture leaves undefined are what the host's processor makes of them: translated code executes these instructions
// as they are, and engines must agree to the last bit. So the instructions execute here, too, and say what they did to the flags.
// AF, which no condition tells, is 0 after all of them.
#pragma once

#include "engine/interpreter/flags.h"

namespace doppel::interpreter {

struct HostFlags {
  bool cf, pf, zf, sf, of;

  void put(LazyFlags& flags) const {
    flags.result = u64{!zf} << 32;
    flags.adjust = u64{sf} << 63 | u64{!pf};
    flags.set_carries(cf, of, false);
  }
};

// Outputs of an asm statement: the flags that it leaves.
#define DOPPEL_HOST_FLAGS(flags) \
  "=@ccc"((flags).cf), "=@ccp"((flags).pf), "=@ccz"((flags).zf), "=@ccs"((flags).sf), "=@cco"((flags).of)

}  // namespace doppel::interpreter
