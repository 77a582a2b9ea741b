// How metadata reaches the disk: the ordering rules of image.h, in stages.
//
//   refcount blocks | refcount table | L2 tables | L1 table | then what was given up is free
// At each bar there is an fdatasync if what follows is not empty; the last one makes the guest's flush true.
#include <cerrno>

#include "disk/buffers.h"
#include "disk/qcow2/image.h"

namespace doppel::disk::qcow2 {

// What is dirty at one moment, as it is then.
struct Image::Batch {
  using Entries = std::vector<std::pair<u64, u64>>;  // index, value
  std::vector<TableCache::Copy> refcounts, l2;
  Entries refcount_table, l1;
  bool table_moved = false;
  std::vector<Freed> freed;
};

void Image::flush(Completion done) {
  if (read_only_) return strand_.engine().complete(0, std::move(done));
  strand_.submit([&] { request(flush_task(), std::move(done)); });
}

// One commit serves all flushes that were asked for before it began.
Task Image::flush_task() {
  const u64 asked = ++flushes_asked_;
  co_await committing_.lock();
  const AsyncHeld held(committing_);
  if (flushes_done_ >= asked) co_return 0;
  const u64 serves = flushes_asked_;
  const int error = co_await commit(false);
  if (error == 0) flushes_done_ = serves;
  co_return error;
}

Task Image::make_room() {
  constexpr std::size_t most_freed = 100'000;
  if (!l2_cache_.crowded() && !refcount_cache_.crowded() && freed_.size() < most_freed) co_return 0;
  co_return co_await flush_task();
}

// Alone, by the mutex or because it closes the image.
Task Image::commit(bool closing) {
  for (;;) {
    if (broken_) co_return co_await sync();
    Batch batch = take_batch(closing);
    int error = co_await write_batch(batch);
    refcount_cache_.written(batch.refcounts, error == 0);
    l2_cache_.written(batch.l2, error == 0);
    if (error != 0) {
      give_back(batch);
      co_return error;
    }
    (void)co_await release(std::move(batch.freed));
    if (!closing) co_return 0;
    if (refcount_cache_.clean()) break;  // what was released is written too
  }
  if (!header_.dirty()) co_return 0;
  header_.incompatible &= ~incompatible::dirty;
  const int error = co_await write_header();
  if (error != 0) co_return error;
  co_return co_await file_.sync(strand_);
}

// With lazy refcounts these are written at the end, or when they get too many.
Image::Batch Image::take_batch(bool closing) {
  Batch batch;
  if (!header_.lazy() || closing || refcount_cache_.crowded()) {
    batch.refcounts = refcount_cache_.take_dirty();
    if (refcount_table_moved_) {
      batch.table_moved = true;
      header_.refcount_table_offset = refcount_table_moved_->front() << header_.cluster_bits;
      header_.refcount_table_clusters = static_cast<u32>(refcount_table_moved_->size());
      refcount_table_moved_.reset();
      for (u64 i = 0; i < refcount_table_.size(); ++i) batch.refcount_table.emplace_back(i, refcount_table_[i]);
    } else {
      for (const u64 index : refcount_table_dirty_) batch.refcount_table.emplace_back(index, refcount_table_[index]);
    }
    refcount_table_dirty_.clear();
  }
  batch.l2 = l2_cache_.take_dirty();
  for (const u64 index : l1_dirty_) batch.l1.emplace_back(index, l1_[index]);
  l1_dirty_.clear();
  batch.freed.swap(freed_);
  return batch;
}

void Image::give_back(Batch& batch) {
  if (batch.table_moved && !refcount_table_moved_) {
    std::vector<u64>& moved = refcount_table_moved_.emplace();
    for (u64 i = 0; i < header_.refcount_table_clusters; ++i)
      moved.push_back(cluster_of(header_.refcount_table_offset) + i);
  }
  for (const auto& [index, value] : batch.refcount_table) refcount_table_dirty_.insert(index);
  for (const auto& [index, value] : batch.l1) l1_dirty_.insert(index);
  freed_.insert(freed_.end(), batch.freed.begin(), batch.freed.end());
}

Task Image::write_batch(Batch& batch) {
  int error = co_await write_pages(batch.refcounts);
  if (error == 0 && !batch.refcount_table.empty()) {
    error = co_await file_.sync(strand_);
    if (error == 0) error = co_await write_entries(header_.refcount_table_offset, batch.refcount_table);
  }
  if (error == 0 && batch.table_moved) {
    error = co_await file_.sync(strand_);
    if (error == 0) error = co_await write_header();
  }
  if (error == 0 && !(batch.l2.empty() && batch.l1.empty())) {
    error = co_await sync();
    if (error == 0) error = co_await write_pages(batch.l2);
    if (error == 0 && !batch.l1.empty()) {
      error = co_await file_.sync(strand_);
      if (error == 0) error = co_await write_entries(header_.l1_offset, batch.l1);
    }
  }
  if (error != 0) co_return error;
  co_return co_await sync();
}

// Pages that lie one behind the other go as one.
Task Image::write_pages(const std::vector<TableCache::Copy>& pages) {
  constexpr std::size_t most = 256;  // in one request
  std::deque<std::vector<iovec>> lists;
  std::deque<Task> transfers;
  for (std::size_t i = 0; i < pages.size();) {
    auto& list = lists.emplace_back();
    const u64 start = pages[i].page;
    for (; i < pages.size() && list.size() < most && pages[i].page == start + list.size() * l2_cache_.page_bytes(); ++i)
      list.push_back(buffer_of(pages[i].bytes));
    transfers.push_back(file_.write(strand_, start, list));
  }
  int error = 0;
  for (Task& transfer : transfers) {
    const int failed = co_await transfer;
    if (error == 0) error = failed;
  }
  co_return error;
}

// Entries of 8 bytes each in a table in the file; in the order of their indexes.
Task Image::write_entries(u64 table, const std::vector<std::pair<u64, u64>>& entries) {
  for (std::size_t i = 0; i < entries.size();) {
    const u64 first = entries[i].first;
    std::vector<u64> row;
    for (; i < entries.size() && entries[i].first == first + row.size(); ++i) {
      u64 value = 0;
      store_be(&value, entries[i].second);
      row.push_back(value);
    }
    const iovec list{.iov_base = row.data(), .iov_len = row.size() * 8};
    const int error = co_await file_.write(strand_, table + first * 8, {&list, 1});
    if (error != 0) co_return error;
  }
  co_return 0;
}

Task Image::write_header() {
  std::array<u8, header_sector> sector;
  const iovec list = buffer_of(sector);
  const int error = co_await file_.read(strand_, 0, {&list, 1});
  if (error != 0) co_return error;
  header_.patch(sector);
  co_return co_await file_.write(strand_, 0, {&list, 1});
}

// Data before what leads to them.
Task Image::sync() {
  if (data_file_) {
    const int error = co_await data_file_->sync(strand_);
    if (error != 0) co_return error;
  }
  co_return co_await file_.sync(strand_);
}

}  // namespace doppel::disk::qcow2
