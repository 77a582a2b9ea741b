// Where the guest's status flags are while a block is being translated. They are exact at every point at which anything could look.
#pragma once

#include "base/types.h"

namespace doppel::translator {

struct FlagState {
  bool in_eflags = false;
  bool saved = false;  // in Cpu::saved_flags
  int recipe = -1;     // the step that produced them can be repeated without effect on anything else
};

}  // namespace doppel::translator
