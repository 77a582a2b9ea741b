// A wire into an interrupt controller. A device owns its lines and raises or lowers them; it never finds a controller.
#pragma once

#include <functional>
#include <utility>

#include "base/types.h"

namespace doppel {

class IrqLine {
 public:
  using Sink = std::function<void(bool level)>;  // any thread; must accept repeated equal levels

  IrqLine() = default;  // not connected
  explicit IrqLine(Sink sink) : sink_(std::move(sink)) {}

  void set(bool level) {
    if (sink_) sink_(level);
  }
  void raise() { set(true); }
  void lower() { set(false); }
  void pulse() {
    set(true);
    set(false);
  }  // an edge, as the 8254 and the RTC give

 private:
  Sink sink_;
};

// A message-signalled interrupt: a 32-bit write to the local APIC's window (PCI 3.0 §6.8, Intel SDM vol. 3 §11.11).
struct MsiMessage {
  u64 address;
  u32 data;
};
using MsiSink = std::function<void(MsiMessage)>;  // any thread

}  // namespace doppel
