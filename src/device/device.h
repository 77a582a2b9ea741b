// What every device is: it has a name, it can be reset, and its state can be saved and loaded.
//
// Threads. Register accesses come from vCPU threads (several at once), alarms and host events from the I/O thread. A
// device guards its own state with its own mutex. Locks are taken in this order and never the other way round:
// device → PCI function or virtqueue → IOAPIC/8259 → local APIC → vCPU. IrqLine::set may be called with the
// device's lock held.
//
// Life cycle. construct → reset() → (accesses, alarms) … ; pause() before saving: when it returns, nothing of the device is in
// flight (disk requests finished, no callback running); resume() afterwards. state() only while paused; loading goes into
// a freshly constructed device of the same machine definition.
#pragma once

#include <string_view>

#include "state/archive.h"

namespace doppel {

class Device {
 public:
  virtual ~Device() = default;
  virtual std::string_view name() const = 0;
  virtual void reset() = 0;
  virtual void pause() {}
  virtual void resume() {}
  virtual void state(state::Archive& archive) = 0;
};

}  // namespace doppel
