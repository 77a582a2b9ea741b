// Discarding and zeroing. What covers whole clusters (or subclusters) changes only entries, and gives clusters back; zeroes
// at the edges are written. What is discarded reads as zeroes where the format can say so, else as before; never as what
// lies in the backing file.
#include <fmt/format.h>

#include <cerrno>

#include "disk/buffers.h"
#include "disk/qcow2/image.h"

namespace doppel::disk::qcow2 {

namespace {

constexpr u64 zero_piece = 1 * MiB;

}  // namespace

void Image::discard(u64 offset, u64 bytes, Completion done) {
  if (const int error = check_request(offset, bytes, true)) return strand_.engine().complete(error, std::move(done));
  strand_.submit([&] { request(discard_task(offset, bytes), std::move(done)); });
}

void Image::write_zeroes(u64 offset, u64 bytes, bool may_unmap, Completion done) {
  if (const int error = check_request(offset, bytes, true)) return strand_.engine().complete(error, std::move(done));
  strand_.submit([&] { request(zeroes_task(offset, bytes, may_unmap), std::move(done)); });
}

Task Image::discard_task(u64 offset, u64 bytes) {
  int error = co_await begin_writing();
  if (error == 0) error = co_await make_room();
  if (error != 0 || bytes == 0) co_return error;
  const u64 ticket = under_way_.begin();
  if (header_.raw_external()) {
    error = co_await zero_data_file(offset, bytes, true);
  } else {
    const u64 end = offset + bytes == size_bytes() ? align_up(offset + bytes, cluster_bytes()) : offset + bytes;
    error = co_await zero_range(offset, end, Zeroing::discard);
  }
  under_way_.end(ticket);
  co_return error;
}

Task Image::zeroes_task(u64 offset, u64 bytes, bool may_unmap) {
  int error = co_await begin_writing();
  if (error == 0) error = co_await make_room();
  if (error != 0 || bytes == 0) co_return error;
  const u64 ticket = under_way_.begin();
  if (header_.raw_external()) {
    error = co_await zero_data_file(offset, bytes, may_unmap);
  } else {
    const u64 end = offset + bytes == size_bytes() ? align_up(offset + bytes, cluster_bytes()) : offset + bytes;
    error = co_await zero_range(offset, end, may_unmap ? Zeroing::zeroes : Zeroing::zeroes_kept);
  }
  under_way_.end(ticket);
  co_return error;
}

// Edges, and clusters between them.
Task Image::zero_range(u64 offset, u64 end, Zeroing mode) {
  const bool zeroes = mode != Zeroing::discard;
  // Version 2 cannot say "zeroes" of a cluster that has a backing file behind it.
  if (zeroes && header_.version < 3 && backing_has(offset)) co_return co_await write_zero_data(offset, end - offset);
  const u64 first = std::min(align_up(offset, cluster_bytes()), end);
  const u64 last = std::max(align_down(end, cluster_bytes()), first);
  int error = 0;
  if (first > offset) error = co_await zero_part(offset, first, mode);
  if (error == 0 && last > first) error = co_await zero_clusters(first, last, mode);
  if (error == 0 && end > last) error = co_await zero_part(last, end, mode);
  co_return error;
}

// Less than a cluster.
Task Image::zero_part(u64 offset, u64 end, Zeroing mode) {
  const bool zeroes = mode != Zeroing::discard;
  u64 first = end, last = end;
  if (header_.extended()) {
    const u64 sub_bytes = u64{1} << header_.subcluster_bits();
    first = std::min(align_up(offset, sub_bytes), end);
    last = std::max(align_down(end, sub_bytes), first);
  }
  int error = 0;
  if (zeroes && first > offset) error = co_await write_zero_data(offset, first - offset);
  if (error == 0 && last > first) error = co_await zero_subclusters(first, last - first, mode);
  if (error == 0 && zeroes && end > last) error = co_await write_zero_data(last, end - last);
  co_return error;
}

// Writes zeroes where something else is.
Task Image::write_zero_data(u64 offset, u64 bytes) {
  std::vector<u8> zeroes(std::min(bytes, zero_piece));
  while (bytes != 0) {
    const u64 piece = std::min(bytes, zero_piece);
    bool zero = false;
    int error = co_await reads_zero(offset, piece, zero);
    const iovec list{.iov_base = zeroes.data(), .iov_len = piece};
    if (error == 0 && !zero) error = co_await write_inside(offset, {&list, 1});
    if (error != 0) co_return error;
    offset += piece;
    bytes -= piece;
  }
  co_return 0;
}

// Whole clusters, a page of a table at a time.
Task Image::zero_clusters(u64 offset, u64 end, Zeroing mode) {
  while (offset < end) {
    const u64 index = l1_index(offset);
    if (index >= l1_.size()) co_return 0;
    const bool table = (l1_[index] & entry::offset_mask) != 0;
    const bool make_table = backing_has(offset) && (mode == Zeroing::zeroes || mode == Zeroing::zeroes_kept);
    if (!table && !make_table) {
      offset = align_down(offset, header_.l1_coverage_bytes()) + header_.l1_coverage_bytes();
      continue;
    }
    const u64 clusters = std::min(entries_left_in_page(offset), (end - offset) >> header_.cluster_bits);
    RangeLocks::Held range(ranges_, cluster_of(offset), cluster_of(offset) + clusters - 1);
    co_await range;
    int error = co_await zero_in_page(offset, clusters, mode);
    if (error == 0 && header_.external() && mode != Zeroing::zeroes_kept && offset < data().end()) {
      const u64 bytes = std::min(clusters << header_.cluster_bits, data().end() - offset);
      (void)co_await data().punch(strand_, offset, bytes);
    }
    if (error == 0) error = co_await make_room();
    if (error != 0) co_return error;
    offset += clusters << header_.cluster_bits;
  }
  co_return 0;
}

// What the entry of a whole cluster becomes.
L2Entry Image::zeroed(u64 offset, L2Entry old, Zeroing mode) const {
  if (mode == Zeroing::cut) return {};
  const bool backed = backing_has(offset);
  const bool nothing = !is_compressed(old) && !has_host(header_, old) && (old.descriptor & entry::zero) == 0 &&
                       old.bitmap == 0;
  if (nothing && (mode == Zeroing::discard || !backed)) return old;
  if (header_.version < 3) return backed ? old : L2Entry{};
  const bool own = has_host(header_, old) && (old.descriptor & entry::copied) != 0;
  const bool keep = own && (mode == Zeroing::zeroes_kept || header_.external());
  L2Entry result{.descriptor = keep ? host_offset(old) | entry::copied : 0};
  if (header_.extended()) {
    result.bitmap = all_subclusters << 32;
  } else {
    result.descriptor |= entry::zero;
  }
  return result;
}

Task Image::zero_in_page(u64 offset, u64 clusters, Zeroing mode) {
  u8* page = nullptr;
  int error = 0;
  bool changes = (l1_[l1_index(offset)] & entry::offset_mask) == 0;
  if (!changes) {
    error = co_await l2_cache_.get(l2_cache_.page_of(entry_place(offset)), page);
    if (error != 0) co_return error;
    for (u64 i = 0; i < clusters && !changes; ++i) {
      const u64 at = offset + (i << header_.cluster_bits);
      const L2Entry old = load_entry(header_, entry_in(page, at));
      changes = zeroed(at, old, mode) != old;
    }
  }
  if (!changes) co_return 0;
  error = co_await own_table(l1_index(offset));
  if (error == 0) error = co_await l2_cache_.get(l2_cache_.page_of(entry_place(offset)), page);
  if (error != 0) co_return error;
  for (u64 i = 0; i < clusters; ++i) {
    const u64 at = offset + (i << header_.cluster_bits);
    const L2Entry old = load_entry(header_, entry_in(page, at)), now = zeroed(at, old, mode);
    if (now == old) continue;
    store_entry(header_, entry_in(page, at), now);
    if (is_compressed(old) || host_offset(now) != host_offset(old)) give_up(old);
  }
  l2_cache_.mark_dirty(l2_cache_.page_of(entry_place(offset)));
  co_return 0;
}

// Within one cluster, of an image with extended entries.
Task Image::zero_subclusters(u64 offset, u64 bytes, Zeroing mode) {
  {
    RangeLocks::Held range(ranges_, cluster_of(offset), cluster_of(offset));
    co_await range;
    int error = co_await own_table(l1_index(offset));
    u8* page = nullptr;
    if (error == 0) error = co_await l2_cache_.get(l2_cache_.page_of(entry_place(offset)), page);
    if (error != 0) co_return error;
    const L2Entry old = load_entry(header_, entry_in(page, offset));
    if (!is_compressed(old)) {
      const unsigned bits = header_.subcluster_bits();
      u64 mask = subcluster_mask(in_cluster(offset) >> bits, bytes >> bits);
      if (mode == Zeroing::discard) mask &= old.bitmap;  // what is not allocated stays as it is
      L2Entry now{old.descriptor, (old.bitmap & ~(mask | mask << 32)) | mask << 32};
      const bool keep = mode == Zeroing::zeroes_kept || header_.external() || !has_host(header_, old);
      if (!keep && (now.bitmap & all_subclusters) == 0) now.descriptor = 0;
      if (now == old) co_return 0;
      store_entry(header_, entry_in(page, offset), now);
      l2_cache_.mark_dirty(l2_cache_.page_of(entry_place(offset)));
      if (now.descriptor != old.descriptor) give_up(old);
      co_return 0;
    }
  }
  if (mode == Zeroing::discard) co_return 0;
  co_return co_await write_zero_data(offset, bytes);
}

// A raw external data file says everything itself.
Task Image::zero_data_file(u64 offset, u64 bytes, bool may_unmap) {
  if (offset >= data().end()) co_return 0;
  bytes = std::min(bytes, data().end() - offset);
  if (may_unmap) {
    const int error = co_await data().punch(strand_, offset, bytes);
    if (!not_supported(error)) co_return error;
  }
  co_return co_await data().write_zeroes(strand_, offset, bytes);
}

}  // namespace doppel::disk::qcow2
