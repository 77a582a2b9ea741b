// Where the guest's status flags are while a block is being translated. They are exact at every point at which anything could look.
#pragma once

#include "base/types.h"

namespace doppel::translator {

// The status flags in Cpu::saved_flags while translated code runs: as PUSHFQ writes them, or SETO's byte below that of LAHF.
struct FlagImage {
  static u64 of(u64 rflags, bool pushed) { return pushed ? rflags : (rflags & 0xff) << 8 | (rflags >> 11 & 1); }
  static u64 rflags(u64 image, bool pushed) { return pushed ? image : (image >> 8 & 0xff) | (image & 1) << 11; }
};

struct FlagState {
  bool in_eflags = false;
  bool saved = false;  // in Cpu::saved_flags
  int recipe = -1;     // the step that produced them can be repeated without effect on anything else
};

}  // namespace doppel::translator
