// The guest-physical address space: RAM (one piece of anonymous memory), ROM, and holes that are memory-mapped I/O.
//
// Per RAM page there is one flag byte: zero means "just store". Who stores looks at it after the translation; an engine that remembers
// translations looks at it once and hears of flags that are set later (for_each_flagged).
//   holds_code  some vCPU has decoded instructions of this page: the store must bump the page's code generation
//               (only if it touches a 64-byte line that holds code); it stays until no vCPU executes what was overwritten
//   log_dirty   the dirty log is on and the page is still clean in it
// RAM pages are numbered by RAM offset (not by guest-physical address), so that aliases share their flags.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "base/types.h"
#include "memory/bus.h"
#include "memory/grace_periods.h"

namespace doppel {

using GuestPhysical = u64;

constexpr u64 page_size = 4096;
constexpr unsigned page_shift = 12;

namespace page_flag {
constexpr u8 holds_code = 1;
constexpr u8 log_dirty = 2;
constexpr u8 code_settled = 4;  // with holds_code: no thread stores without having seen that
}  // namespace page_flag

// Hears that decoded code was overwritten: on the writing thread, after the page's generation was bumped. Must not block.
class CodeWatcher {
 public:
  virtual ~CodeWatcher() = default;
  virtual void code_changed(u64 page) = 0;
};

class PhysicalMemory {
 public:
  enum class Kind : u8 { ram, rom };
  struct Region {
    GuestPhysical base;
    u64 size;
    u64 offset;  // into the RAM
    Kind kind;
    std::string name;
  };

  // `bytes` of RAM (page aligned, not yet visible to the guest) and the bus that answers where no RAM or ROM is.
  static Result<std::unique_ptr<PhysicalMemory>> create(u64 bytes, Bus& mmio);
  ~PhysicalMemory();
  PhysicalMemory(const PhysicalMemory&) = delete;
  PhysicalMemory& operator=(const PhysicalMemory&) = delete;

  // Makes [offset, offset+size) of the RAM visible at `base`; the same RAM may be visible at several places.
  // Before the machine starts only. Fails on overlap, naming both regions.
  Result<> map(GuestPhysical base, u64 offset, u64 size, Kind kind, std::string name);
  const std::vector<Region>& regions() const { return regions_; }
  const Region* find(GuestPhysical address) const;  // nullptr: memory-mapped I/O or nothing

  // Host address of a RAM or ROM byte, and how many bytes follow contiguously in that region; {nullptr, 0} elsewhere.
  struct HostRange {
    u8* data;
    u64 size;
    bool writable;
  };
  HostRange host_range(GuestPhysical address) const;

  u8* ram() const { return ram_; }
  u64 ram_bytes() const { return bytes_; }
  Bus& mmio() const { return mmio_; }

  // ---- pages (RAM page number = offset / 4096) ----
  std::atomic<u8>* page_flags() const { return page_flags_; }
  // Incremented whenever a line that holds decoded code is written; blocks remember the value they were decoded at.
  std::atomic<u32>* code_generations() const { return code_generations_; }
  // Marks [first_byte, last_byte] of the page as code before it is decoded, on the thread of the vCPU `self` between two blocks. In this
  // order: read the generation, mark_code, fetch the bytes. If it returns true, a store by another thread is either seen by the fetch
  // or bumps the generation past the value that was read. False: some vCPU may not yet know the page as code; what is fetched now
  // may be executed once, and not be kept.
  bool mark_code(u64 page, unsigned first_byte, unsigned last_byte, const GracePeriods::Member* self = nullptr);
  // After a store that found page_flags non-zero (and after DMA). Returns true if the code generation was bumped. If another thread
  // has done that for an earlier store, and a block of the page is still executed, then its new value is seen from now on.
  bool note_write(u64 offset, u64 size);
  GracePeriods& grace_periods() { return grace_periods_; }
  // Calls `each` with the number of every page that was flagged since the count `seen` (at first 0), which goes up to now. False: too
  // many, or the dirty log began anew; then it may be any page. What was flagged before a grace period began is among them. Any thread.
  template <class Each>
  bool for_each_flagged(u64& seen, Each each) const {
    const u64 now = flagged_count_.load(std::memory_order_acquire);
    if (now == seen) return true;
    for (u64 i = std::max(seen, now - std::min(now, flagged_remembered)); i < now; ++i)
      each(flagged_[i % flagged_remembered].load(std::memory_order_relaxed));
    const bool all = flagged_count_.load() - seen < flagged_remembered;  // none was overwritten meanwhile
    seen = now;
    return all;
  }

  // Before the machine starts, and while it is not running.
  void watch_code(CodeWatcher& watcher);
  void unwatch_code(CodeWatcher& watcher);

  // While no vCPU runs: engines hear of the flags when they go on.
  void start_dirty_log();               // all pages clean
  std::vector<u64> take_dirty_pages();  // sorted page numbers written since; the log goes on
  void stop_dirty_log();

  // The runs of RAM that the host has given memory to, by offset; everything else is zero and was never written. Whoever looks for
  // contents need not read more.
  struct Extent {
    u64 offset;
    u64 size;
  };
  std::vector<Extent> populated() const;

  u64 hash() const;  // of all RAM: equal for equal contents (FNV-like over 64-bit words; zero pages are cheap)

 private:
  PhysicalMemory(u64 bytes, Bus& mmio) : bytes_(bytes), mmio_(mmio), pages_(bytes >> page_shift) {}
  u64 window_bytes() const;
  void note_flagged(u64 page);
  bool note_code_write(u64 page, u64 first_byte, u64 last_byte);

  const u64 bytes_;
  Bus& mmio_;
  const u64 pages_;
  void* window_ = nullptr;  // the RAM between pages that cannot be reached
  u8* ram_ = nullptr;
  std::atomic<u8>* page_flags_ = nullptr;
  std::atomic<u32>* code_generations_ = nullptr;
  std::atomic<u64>* code_lines_ = nullptr;  // one bit per 64-byte line
  static constexpr u64 flagged_remembered = 1024;
  std::array<std::atomic<u64>, flagged_remembered> flagged_{};  // a ring
  std::atomic<u64> flagged_count_{0};
  u64* code_periods_ = nullptr;  // begun when the page was flagged, or last overwritten
  std::mutex code_mutex_;        // who changes the lines, these and the flag
  GracePeriods grace_periods_;
  std::atomic<u64>* dirty_ = nullptr;  // bitmap
  bool logging_ = false;
  std::vector<CodeWatcher*> watchers_;
  std::vector<Region> regions_;  // sorted by base
};

// How devices reach guest memory. Every access is checked; what lies outside RAM reads as all ones / is dropped and
// the call says so by returning false. Writes mark dirty pages and invalidate decoded code.
class Dma {
 public:
  explicit Dma(PhysicalMemory& memory) : memory_(memory) {}

  bool read(GuestPhysical address, void* data, u64 size) const;
  bool write(GuestPhysical address, const void* data, u64 size);
  template <class T>
  bool read(GuestPhysical address, T& value) const {
    return read(address, &value, sizeof(T));
  }
  template <class T>
  bool write(GuestPhysical address, const T& value) {
    return write(address, &value, sizeof(T));
  }

  // Zero-copy: the host ranges behind [address, address+size), appended to `out`; false (and nothing appended) if any of it is
  // not RAM, or if `for_device_writes` and not writable. After writing through them, call written().
  bool ranges(GuestPhysical address, u64 size, bool for_device_writes, std::vector<std::span<u8>>& out) const;
  void written(GuestPhysical address, u64 size);

 private:
  PhysicalMemory& memory_;
};

}  // namespace doppel
