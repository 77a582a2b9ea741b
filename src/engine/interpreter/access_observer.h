// Who is shown every data access of instructions, for a while, while the TLB is one that never hits (Cpu::observer).
#pragma once

#include "engine/interpreter/tlb.h"

namespace doppel::interpreter {

struct ObservedAccess {
  u64 linear = 0;
  u8* host = nullptr;  // of `linear`; nullptr: a device
  bool write = false, readable = false, writable = false;
};

class AccessObserver {
 public:
  virtual ~AccessObserver() = default;
  // Before the access. False: it must not happen; the instruction leaves as if by a fault, whose vector is run_alone.
  virtual bool access(const ObservedAccess& access) = 0;
};

}  // namespace doppel::interpreter
