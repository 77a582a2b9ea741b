// Faults of translated code: the guest's own (division, alignment) and the polls that stop it. Each is looked up by the host instruction
// and goes on at the code that puts the guest's state right.
#pragma once

#include "engine/translator/block_translator.h"

namespace doppel::translator {

// Faults are looked up from now on (base/fault_signals.h).
void handle_faults();

// While it lives, faults of this thread may come from these translations. Gives the thread a stack for signals.
class FaultScope {
 public:
  explicit FaultScope(const Translations& translations);
  ~FaultScope();
  FaultScope(const FaultScope&) = delete;
  FaultScope& operator=(const FaultScope&) = delete;

 private:
  const Translations* outer_;
};

}  // namespace doppel::translator
