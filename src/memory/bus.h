// Port and memory-mapped I/O: who answers at which address. One Bus for ports, one for memory-mapped regions.
// A handler is told its offset, never its base address. Accesses outside of any region read all ones and ignore writes.
#pragma once

#include <map>
#include <shared_mutex>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/types.h"

namespace doppel {

struct Access {
  u64 offset;      // from the start of the region
  unsigned bytes;  // 1, 2, 4 or 8; the access may straddle the handler's registers but never the region's end
};

// Called on any vCPU thread, several at once: a handler locks itself. Values are zero-extended; the bus masks what is
// returned to the access width. Whatever the guest sends is data: a handler never fails.
class IoHandler {
 public:
  virtual ~IoHandler() = default;
  virtual u64 read(Access access) = 0;
  virtual void write(Access access, u64 value) = 0;
};

class Bus {
 public:
  struct Region {
    u64 base;
    u64 size;
    std::string name;  // for `doppel machine show --map` and traces
    IoHandler* handler;
  };

  // `limit`: one past the last address (0x10000 for ports).
  explicit Bus(u64 limit) : limit_(limit) {}

  // Fails (naming both) if the region overlaps another or leaves the bus. The handler must outlive its mapping.
  Result<> map(u64 base, u64 size, IoHandler& handler, std::string name);
  // Any thread, also from inside a handler (a BAR moves). Accesses under way on other threads may still reach the handler.
  void unmap(u64 base);

  u64 read(u64 address, unsigned bytes);
  void write(u64 address, unsigned bytes, u64 value);

  std::vector<Region> regions() const;  // sorted by base

 private:
  struct Target {
    IoHandler* handler;
    u64 offset;
    u64 room;
  };
  Target find(u64 address) const;

  const u64 limit_;
  mutable std::shared_mutex mutex_;  // guards regions_; never held while a handler runs
  std::map<u64, Region> regions_;
};

}  // namespace doppel
