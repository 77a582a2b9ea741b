// MSI-X (PCI Local Bus 3.0 §6.8.2): the vector table and the pending bit array, which lie in a BAR of the function, with
// function mask, per-vector masks and delivery of what became pending while masked.
#pragma once

#include <mutex>
#include <vector>

#include "device/irq_line.h"
#include "memory/bus.h"
#include "state/archive.h"

namespace doppel {

class Msix {
 public:
  static constexpr unsigned max_vectors = 2048;

  Msix(unsigned vectors, MsiSink sink);

  unsigned vectors() const { return static_cast<unsigned>(entries_.size()); }
  u64 table_bytes() const { return u64{16} * entries_.size(); }
  u64 pending_bytes() const { return u64{8} * pending_.size(); }

  // Message Control's enable and function mask, and whether the function may send at all (bus master). Any thread.
  void configure(bool enabled, bool function_mask, bool may_send);
  bool enabled() const;

  // Any thread. A vector beyond the table is ignored; a masked one becomes pending.
  void notify(unsigned vector);

  // The table and the pending bits, at offsets from their own start; 4- or 8-byte accesses, aligned (§6.8.2: others are undefined).
  u64 read_table(Access access) const;
  void write_table(Access access, u64 value);
  u64 read_pending(Access access) const;

  void reset();
  void state(state::Archive& archive);

 private:
  // +0 address low, +4 address high, +8 data, +12 vector control (bit 0: mask)
  struct Entry {
    u32 words[4];
  };

  bool deliverable(const Entry& entry) const {
    return enabled_ && may_send_ && !function_mask_ && (entry.words[3] & 1) == 0;
  }
  void send(unsigned vector);  // locked
  void send_pending();         // locked

  const MsiSink sink_;
  mutable std::mutex mutex_;  // guards everything below; held while the sink is called, so that order is kept
  bool enabled_ = false, function_mask_ = false, may_send_ = false;
  std::vector<Entry> entries_;
  std::vector<u64> pending_;
};

}  // namespace doppel
