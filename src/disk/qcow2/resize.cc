// Changing the disk's size. Growing: what becomes visible reads as zeroes, whatever was there. Shrinking: first the size,
// then what lies beyond is given back, so that a kill between leaves only what nobody sees.
#include <cerrno>

#include "disk/buffers.h"
#include "disk/qcow2/image.h"

namespace doppel::disk::qcow2 {

void Image::resize(u64 bytes, Completion done) {
  const bool possible = bytes % sector_bytes == 0 && bytes <= max_size_bytes &&
                        header_.l1_entries_for(bytes) <= max_l1_bytes / 8;
  if (read_only_ || !possible) return strand_.engine().complete(read_only_ ? EROFS : EFBIG, std::move(done));
  strand_.submit([&] { request(resize_task(bytes), std::move(done)); });
}

Task Image::resize_task(u64 bytes) {
  int error = co_await begin_writing();
  if (error != 0) co_return error;
  const u64 before = header_.size_bytes;
  if (bytes > before) {
    error = co_await grow_l1(bytes);
    if (error == 0 && !header_.raw_external()) {
      // Beyond the end may lie what was cut off once, or what the backing file has.
      const u64 ticket = under_way_.begin();
      error = co_await zero_range(before, align_up(bytes, cluster_bytes()), Zeroing::zeroes);
      under_way_.end(ticket);
    }
    if (error == 0) error = co_await flush_task();
    if (error != 0) co_return error;
  }
  {
    co_await committing_.lock();
    const AsyncHeld held(committing_);
    header_.size_bytes = bytes;
    error = co_await write_header();
    if (error == 0) error = co_await sync();
    if (error != 0) co_return error;
  }
  if (bytes < before) {
    const u64 ticket = under_way_.begin();
    error = co_await zero_clusters(align_up(bytes, cluster_bytes()), align_up(before, cluster_bytes()), Zeroing::cut);
    under_way_.end(ticket);
    if (error == 0) error = co_await flush_task();
  }
  if (error == 0 && header_.raw_external() && !data().truncate(bytes)) error = EIO;
  co_return error;
}

// A larger L1 table in new clusters; the header switches to it.
Task Image::grow_l1(u64 bytes) {
  const u64 entries = header_.l1_entries_for(bytes);
  if (entries <= l1_.size()) co_return 0;
  co_await committing_.lock();
  const AsyncHeld committing(committing_);
  co_await tables_.lock();
  const AsyncHeld tables(tables_);
  int error = co_await commit(false);  // now the old table on the disk is what is in memory
  const u64 clusters = header_.clusters_of(entries * 8);
  u64 first = 0, got = 0;
  if (error == 0) error = co_await allocate(clusters, true, first, got);
  if (error != 0) co_return error;
  const u64 place = first << header_.cluster_bits;
  std::vector<u8> table(clusters << header_.cluster_bits);
  for (std::size_t i = 0; i < l1_.size(); ++i) store_be(table.data() + i * 8, l1_[i]);
  const iovec list = buffer_of(table);
  error = co_await file_.write(strand_, place, {&list, 1});
  if (error == 0) error = co_await commit(false);  // its refcounts
  const u64 old = header_.l1_offset, old_clusters = header_.clusters_of(l1_.size() * 8);
  if (error == 0) {
    header_.l1_offset = place;
    header_.l1_entries = static_cast<u32>(entries);
    error = co_await write_header();
    if (error == 0) error = co_await sync();
    if (error != 0) co_return broken("its header cannot be written");
    l1_.resize(entries);
    for (u64 i = 0; i < clusters; ++i) metadata_.insert(first + i);
    for (u64 i = 0; i < old_clusters; ++i) release_later(cluster_of(old) + i);
    co_return 0;
  }
  for (u64 i = 0; i < clusters; ++i) release_later(first + i);
  co_return error;
}

}  // namespace doppel::disk::qcow2
