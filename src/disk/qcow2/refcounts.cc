// Clusters of the file: how free ones are found, counted, and given back. The refcounts of free clusters are 0; what no
// refcount block covers yet is free.
#include <fmt/format.h>

#include <cerrno>

#include "disk/qcow2/image.h"

namespace doppel::disk::qcow2 {

namespace {

constexpr u64 max_host_bytes = u64{1} << 56;

}  // namespace

Task Image::allocate(u64 wanted, bool exactly, u64& first, u64& got) {
  co_await allocating_.lock();
  const AsyncHeld held(allocating_);
  co_return co_await allocate_locked(wanted, exactly, first, got);
}

// `wanted` clusters in a row, or, unless exactly, fewer; their refcounts are 1 afterwards.
Task Image::allocate_locked(u64 wanted, bool exactly, u64& first, u64& got) {
  int error = co_await find_free(wanted, exactly, first, got);
  if (error != 0) co_return error;
  if ((first + got) << header_.cluster_bits > max_host_bytes) co_return EFBIG;
  for (u64 i = 0; i < got; ++i) {
    if (metadata_.contains(first + i))
      co_return broken(fmt::format("the table in cluster {} counts as free", first + i));
    u64 now = 0;
    error = co_await change_refcount(first + i, 1, now);
    if (error != 0) co_return error;
  }
  untouched_from_ = std::max(untouched_from_, first + got);
  co_return 0;
}

Task Image::find_free(u64 wanted, bool exactly, u64& first, u64& got) {
  bool skipped = false;  // a free cluster that was too little
  first = search_from_;
  got = 0;
  for (u64 cluster = first; got < wanted;) {
    const u64 block = cluster / header_.refcounts_per_block();
    if (block >= refcount_table_.size() || refcount_table_[block] == 0) {
      if (got != 0 && !exactly) break;
      const int error = co_await add_refcount_block(block);
      if (error != 0) co_return error;
      cluster = search_from_;  // once more: a larger table may have taken what was found
      got = 0;
      skipped = false;
      continue;
    }
    u8* page = nullptr;
    const int error = co_await refcount_page(cluster, page);
    if (error != 0) co_return error;
    bool enough = false;
    for (u64 index = index_in_page(cluster); index < refcounts_in_page() && got < wanted; ++index, ++cluster) {
      if (load_refcount(page, index, header_.refcount_order) == 0) {
        if (got++ == 0) first = cluster;
      } else if (got != 0) {
        enough = !exactly;
        if (enough) break;
        skipped = true;
        got = 0;
      }
    }
    if (enough) break;
  }
  if (!skipped) search_from_ = first + got;
  co_return 0;
}

// ---- refcounts, through the cache ----

u64 Image::index_in_page(u64 cluster) const { return cluster % header_.refcounts_per_block() % refcounts_in_page(); }

// The page with the cluster's refcount; its block exists.
Task Image::refcount_page(u64 cluster, u8*& bytes) {
  const u64 block = refcount_table_[cluster / header_.refcounts_per_block()];
  const u64 within = cluster % header_.refcounts_per_block() * header_.refcount_bits() / 8;
  return refcount_cache_.get(refcount_cache_.page_of(block + within), bytes);
}

Task Image::change_refcount(u64 cluster, i64 by, u64& now) {
  const u64 block = cluster / header_.refcounts_per_block();
  if (block >= refcount_table_.size() || refcount_table_[block] == 0)
    co_return broken(fmt::format("cluster {} has no refcount", cluster));
  u8* page = nullptr;
  const int error = co_await refcount_page(cluster, page);
  if (error != 0) co_return error;
  const u64 count = load_refcount(page, index_in_page(cluster), header_.refcount_order);
  now = count + static_cast<u64>(by);
  if (by == 0) co_return 0;
  if ((by < 0 && count == 0) || (by > 0 && count >= header_.max_refcount()))
    co_return broken(fmt::format("the refcount of cluster {} is {}", cluster, count));
  store_refcount(page, index_in_page(cluster), header_.refcount_order, now);
  const u64 within = cluster % header_.refcounts_per_block() * header_.refcount_bits() / 8;
  refcount_cache_.mark_dirty(refcount_cache_.page_of(refcount_table_[block] + within));
  co_return 0;
}

// A new block counts itself: it is the first cluster of those that it covers.
Task Image::add_refcount_block(u64 index) {
  int error = 0;
  if (index >= refcount_table_.size()) {
    error = co_await grow_refcount_table(index);
    co_return error;  // which may have added the block already
  }
  const u64 cluster = index * header_.refcounts_per_block();
  if (cluster << header_.cluster_bits >= max_host_bytes) co_return EFBIG;
  if (metadata_.contains(cluster)) co_return broken(fmt::format("the table in cluster {} counts as free", cluster));
  const u64 place = cluster << header_.cluster_bits;
  error = co_await file_.write_zeroes(strand_, place, cluster_bytes());
  if (error != 0) co_return error;
  untouched_from_ = std::max(untouched_from_, cluster + 1);
  u8* page = refcount_cache_.add_zero(place);
  store_refcount(page, 0, header_.refcount_order, 1);
  refcount_table_[index] = place;
  refcount_table_dirty_.insert(index);
  metadata_.insert(cluster);
  co_return 0;
}

// Only in memory: the new table's clusters are taken like any others, and commit() writes it and switches to it.
Task Image::grow_refcount_table(u64 index) {
  const u64 per_cluster = cluster_bytes() / 8;
  const u64 clusters = (index + index / 2) / per_cluster + 1;
  if (clusters * cluster_bytes() > max_refcount_table_bytes) co_return EFBIG;
  refcount_table_.resize(clusters * per_cluster);
  u64 first = 0, got = 0;
  const int error = co_await allocate_locked(clusters, true, first, got);
  if (error != 0) co_return error;
  const u64 old = cluster_of(refcount_table_moved_ ? refcount_table_moved_->front() << header_.cluster_bits
                                                   : header_.refcount_table_offset);
  const u64 old_clusters = refcount_table_moved_ ? refcount_table_moved_->size() : header_.refcount_table_clusters;
  for (u64 i = 0; i < old_clusters; ++i) release_later(old + i);
  std::vector<u64>& moved = refcount_table_moved_.emplace();
  for (u64 i = 0; i < clusters; ++i) {
    moved.push_back(first + i);
    metadata_.insert(first + i);
  }
  co_return 0;
}

// ---- giving back ----

void Image::release_later(u64 cluster) { freed_.push_back({cluster, under_way_.next()}); }

// Nothing on the disk leads to these any more. What is free then is given back to the host before it can be used anew.
// A failure leaks them.
Task Image::release(std::vector<Freed> freed) {
  freed.insert(freed.end(), unreleased_.begin(), unreleased_.end());
  unreleased_.clear();
  const auto waiting = std::ranges::partition(freed,
                                              [&](const Freed& one) { return under_way_.all_before(one.ticket); });
  unreleased_.assign(waiting.begin(), waiting.end());
  freed.erase(waiting.begin(), waiting.end());
  if (freed.empty()) co_return 0;
  std::ranges::sort(freed, {}, &Freed::cluster);
  co_await allocating_.lock();
  const AsyncHeld held(allocating_);
  std::vector<std::pair<u64, u64>> holes;  // clusters: first, count
  for (const Freed& one : freed) {
    u64 count = 0;
    const int error = co_await change_refcount(one.cluster, 0, count);
    if (error != 0) co_return error;
    if (count != 1) continue;
    if (!holes.empty() && holes.back().first + holes.back().second == one.cluster) {
      ++holes.back().second;
    } else {
      holes.emplace_back(one.cluster, 1);
    }
  }
  for (const auto& [first, count] : holes)
    (void)co_await file_.punch(strand_, first << header_.cluster_bits, count << header_.cluster_bits);
  for (const Freed& one : freed) {
    u64 count = 0;
    const int error = co_await change_refcount(one.cluster, -1, count);
    if (error != 0) co_return error;
    if (count != 0) continue;
    search_from_ = std::min(search_from_, one.cluster);
    if (compressed_left_ != 0 && cluster_of(compressed_at_) == one.cluster) compressed_left_ = 0;
    inflated_descriptor_ = 0;
    if (metadata_.erase(one.cluster) == 0) continue;
    l2_cache_.forget(one.cluster << header_.cluster_bits, cluster_bytes());
    refcount_cache_.forget(one.cluster << header_.cluster_bits, cluster_bytes());
  }
  co_return 0;
}

}  // namespace doppel::disk::qcow2
