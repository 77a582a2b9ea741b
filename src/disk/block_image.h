// A disk's contents as a device sees them: asynchronous reads and writes at byte offsets. Formats (raw, qcow2 with backing
// files, a throw-away overlay) implement it, and stack: an image may be built from others.
//
// Threads. Any thread may submit. A completion never runs inside the call that submitted it: it runs on the event loop's
// thread, or inside drain() on the thread that drains. Completions may submit more.
//
// Ordering. Requests under way at the same time have no order. flush() makes everything durable whose completion ran
// before flush() was called; nothing is said about requests still under way.
#pragma once

#include <sys/uio.h>

#include <functional>
#include <span>
#include <string>

#include "base/types.h"
#include "state/archive.h"

namespace doppel::disk {

// 0, or the errno of what failed. Data of a failed request is undefined.
using Completion = std::function<void(int error)>;

constexpr u64 sector_bytes = 512;

class BlockImage {
 public:
  virtual ~BlockImage() = default;  // drained by its owner first

  virtual const std::string& path() const = 0;
  virtual u64 size_bytes() const = 0;  // a multiple of 512; only resize() changes it
  virtual bool read_only() const = 0;
  // What writes should be aligned to and a multiple of, to be cheap; a power of two, at least 512.
  virtual u32 preferred_bytes() const { return 4096; }

  // `buffers` (the list and what it points to) stays valid until completion; its sizes add up to a multiple of 512.
  // An offset or size that is not a multiple of 512, or leaves the image: EINVAL. Writing a read-only image: EROFS.
  virtual void read(u64 offset, std::span<const iovec> buffers, Completion done) = 0;
  virtual void write(u64 offset, std::span<const iovec> buffers, Completion done) = 0;
  // The same within the call, for small transfers, where that takes little: true, and it is done. False: read() or write()
  // is to be asked; a write may have been done in part.
  virtual bool read_at_once(u64 /*offset*/, std::span<const iovec> /*buffers*/) { return false; }
  virtual bool write_at_once(u64 /*offset*/, std::span<const iovec> /*buffers*/) { return false; }
  virtual void flush(Completion done) = 0;
  // The contents do not matter any more; what is read there afterwards is zeroes or the old data.
  virtual void discard(u64 offset, u64 bytes, Completion done) = 0;
  // Reads as zeroes afterwards. `may_unmap`: space may be given back to the host.
  virtual void write_zeroes(u64 offset, u64 bytes, bool may_unmap, Completion done) = 0;

  // Grown by zeroes, or cut. Nothing else may be under way. EFBIG: the format cannot have that size; EOPNOTSUPP: no size but
  // its own.
  virtual void resize(u64 bytes, Completion done) = 0;

  // Returns when no request is under way and every completion has returned, also of requests that completions submitted.
  // Not from a completion. The caller holds no lock that a completion takes.
  virtual void drain() = 0;
  // Requests that have not been started complete soon, with ECANCELED. Best effort: a started one runs to its end.
  virtual void cancel() = 0;

  // What a saved machine keeps of this image: at least its size, and everything that closing would lose. Drained.
  virtual void state(state::Archive& archive) = 0;
};

}  // namespace doppel::disk
