// Pieces of L2 tables or refcount blocks in memory, bounded, written back by Image::commit alone. A page is 4 KiB (a
// cluster, if that is smaller); pages that are dirty or being written stay.
#pragma once

#include <list>
#include <memory>
#include <unordered_map>
#include <vector>

#include "disk/host_file.h"
#include "disk/task.h"

namespace doppel::disk::qcow2 {

class TableCache {
 public:
  TableCache(Strand& strand, const HostFile& file) : strand_(strand), file_(file) {}

  void configure(u64 cluster_bytes, u64 max_bytes);
  u64 page_bytes() const { return page_bytes_; }
  u64 page_of(u64 offset) const { return offset & ~(page_bytes_ - 1); }

  // The page at that offset of the file, if it is here. Valid until the next suspension.
  u8* find(u64 page);
  // Reads it if need be; `bytes` is valid until the next suspension.
  Task get(u64 page, u8*& bytes);
  // A page of a table that is new and zero.
  u8* add_zero(u64 page);
  void mark_dirty(u64 page);
  // The cluster holds no table any more.
  void forget(u64 offset, u64 bytes);

  bool clean() const { return dirty_ == 0; }
  // More dirty pages than should be: time to commit.
  bool crowded() const { return dirty_ > max_pages_ / 2; }

  struct Copy {
    u64 page;
    std::vector<u8> bytes;
  };
  // The dirty pages as they are now, in their order on disk; they count as being written until written() is told.
  std::vector<Copy> take_dirty();
  void written(const std::vector<Copy>& copies, bool successfully);
  void clear();

 private:
  struct Page {
    std::vector<u8> bytes;
    bool dirty = false;
    unsigned writing = 0;
    std::list<u64>::iterator use;
  };
  void insert(u64 page, std::vector<u8> bytes);

  Strand& strand_;
  const HostFile& file_;
  u64 page_bytes_ = 4096;
  std::size_t max_pages_ = 64, dirty_ = 0;
  std::unordered_map<u64, Page> pages_;
  std::list<u64> used_;                                                       // the longest unused in front
  std::unordered_map<u64, std::vector<std::coroutine_handle<>>> being_read_;  // and who waits
};

}  // namespace doppel::disk::qcow2
