// How a request is written: in place where the cluster is the image's own, else to new clusters, with what is around the
// data copied (copy on write), after which the L2 entry is changed in memory.
#include <fmt/format.h>

#include <cerrno>

#include "disk/buffers.h"
#include "disk/qcow2/compression.h"
#include "disk/qcow2/image.h"

namespace doppel::disk::qcow2 {

// Where a run of clusters goes. `begin` to `end` are the guest bytes that are written: the data, and what is copied around.
struct Image::Placement {
  u64 guest = 0;  // of the first cluster
  u64 clusters = 0;
  u64 host = 0;
  bool reuse = false;  // the entry has this cluster already, or it lies in the data file
  bool blank = false;  // the host's clusters read as zeroes as they are
  u64 begin = 0, end = 0;
  std::vector<L2Entry> old;
};

namespace {

constexpr u64 most_allocated_bytes = 4 * MiB;  // at once; at least a cluster

bool holds_data(const Header& header, L2Entry value) {
  if (is_compressed(value)) return true;
  if (!has_host(header, value)) return false;
  return header.extended() ? (value.bitmap & all_subclusters) != 0 : (value.descriptor & entry::zero) == 0;
}

}  // namespace

void Image::write(u64 offset, std::span<const iovec> buffers, Completion done) {
  if (const int error = check_request(offset, total_bytes(buffers), true))
    return strand_.engine().complete(error, std::move(done));
  if (!submit_directly(IoRequest::Kind::write, offset, buffers, done))
    strand_.submit([&] { request(write_task(offset, buffers), std::move(done)); });
}

bool Image::touches_metadata(const Run& run) const {
  if (header_.external()) return false;
  for (u64 cluster = cluster_of(run.host); cluster <= cluster_of(run.host + run.bytes - 1); ++cluster) {
    if (metadata_.contains(cluster)) return true;
  }
  return false;
}

// What the first write changes in the header: features that we do not keep up are switched off, lazy refcounts are dirty.
Task Image::begin_writing() {
  if (broken_) co_return EIO;
  if (prepared_) co_return 0;
  co_await preparing_.lock();
  const AsyncHeld held(preparing_);
  if (prepared_) co_return 0;
  const u64 kept = header_.autoclear & autoclear::raw_data_file;
  const bool dirty = header_.lazy() && !header_.dirty();
  if (dirty || header_.autoclear != kept) {
    header_.autoclear = kept;
    if (dirty) header_.incompatible |= incompatible::dirty;
    int error = co_await write_header();
    if (error == 0) error = co_await file_.sync(strand_);
    if (error != 0) co_return error;
  }
  prepared_ = true;
  co_return 0;
}

Task Image::write_task(u64 offset, std::span<const iovec> buffers) {
  int error = co_await begin_writing();
  if (error == 0) error = co_await make_room();
  if (error != 0) co_return error;
  const u64 ticket = under_way_.begin();
  error = co_await write_inside(offset, buffers);
  under_way_.end(ticket);
  co_return error;
}

Task Image::write_inside(u64 offset, std::span<const iovec> buffers) {
  const u64 total = total_bytes(buffers);
  for (u64 at = 0; at < total;) {
    Run run;
    int error = co_await locate(offset + at, total - at, run);
    if (error != 0) co_return error;
    if (run.in_place) {
      if (touches_metadata(run)) co_return broken(fmt::format("data at {:#x}, where a table lies", run.host));
      const auto part = slice(buffers, at, run.bytes);
      error = co_await data().write(strand_, run.host, part);
      if (error != 0) co_return error;
      at += run.bytes;
      continue;
    }
    const u64 first = cluster_of(offset + at), last = cluster_of(offset + total - 1);
    RangeLocks::Held range(ranges_, first, std::min(last, first + most_allocated_bytes / cluster_bytes()));
    co_await range;
    u64 written = 0;
    const auto rest = slice(buffers, at, total - at);
    error = co_await write_allocating(offset + at, rest, written);
    if (error != 0) co_return error;
    at += written;
  }
  co_return 0;
}

// Writes at least the data's part in the first cluster, unless that can be written in place by now.
Task Image::write_allocating(u64 offset, std::span<const iovec> buffers, u64& written) {
  int error = co_await own_table(l1_index(offset));
  if (error != 0) co_return error;
  Placement placement;
  error = co_await place(offset, total_bytes(buffers), placement);
  if (error != 0 || placement.clusters == 0) co_return error;
  const u64 end = std::min(offset + total_bytes(buffers), placement.guest + placement.clusters * cluster_bytes());
  const auto part = slice(buffers, 0, end - offset);
  error = co_await write_around(placement, offset, part);
  if (error == 0) error = co_await link(placement);
  if (error == 0) {
    written = end - offset;
  } else if (!placement.reuse) {
    for (u64 i = 0; i < placement.clusters; ++i) release_later(cluster_of(placement.host) + i);
  }
  co_return error;
}

// Finds clusters for as much of the data as goes to one place.
Task Image::place(u64 offset, u64 bytes, Placement& placement) {
  u8* page = nullptr;
  int error = co_await l2_cache_.get(l2_cache_.page_of(entry_place(offset)), page);
  if (error != 0) co_return error;
  placement.guest = offset - in_cluster(offset);
  u64 most = std::min(entries_left_in_page(offset), header_.clusters_of(in_cluster(offset) + bytes));
  most = std::min(most, std::max<u64>(most_allocated_bytes / cluster_bytes(), 1));
  for (u64 i = 0; i < most; ++i) {
    const u64 at = placement.guest + i * cluster_bytes();
    const L2Entry value = load_entry(header_, entry_in(page, at));
    const u64 sub = i == 0 ? in_cluster(offset) >> header_.subcluster_bits() : 0;
    const Kind kind = kind_at(header_, value, sub);
    if (kind == Kind::bad) co_return broken(fmt::format("the L2 entry {:#x} of offset {:#x}", value.descriptor, at));
    const bool own = has_host(header_, value) && (value.descriptor & entry::copied) != 0;
    if (own && kind == Kind::data) break;  // in place
    const bool reuse = own || header_.external();
    const u64 host = header_.external() ? at : host_offset(value);
    if (i == 0) {
      placement.reuse = reuse;
      placement.host = host;
    } else if (reuse != placement.reuse || (reuse && host != placement.host + i * cluster_bytes()) ||
               (reuse && header_.extended())) {
      break;
    }
    placement.old.push_back(value);
  }
  placement.clusters = placement.old.size();
  if (placement.clusters == 0) co_return 0;
  if (!placement.reuse) {
    const u64 untouched = untouched_from_;
    u64 first = 0, got = 0;
    error = co_await allocate(placement.clusters, false, first, got);
    if (error != 0) co_return error;
    placement.host = first << header_.cluster_bits;
    placement.blank = first >= untouched;
    placement.clusters = got;
    placement.old.resize(got);
  } else if (touches_metadata({.bytes = placement.clusters * cluster_bytes(), .host = placement.host})) {
    co_return broken(fmt::format("data at {:#x}, where a table lies", placement.host));
  } else {
    placement.blank = header_.external() && placement.host >= data().end();
  }

  const u64 end = std::min(offset + bytes, placement.guest + placement.clusters * cluster_bytes());
  placement.begin = placement.guest;
  placement.end = placement.guest + placement.clusters * cluster_bytes();
  if (!header_.extended()) co_return 0;
  // Only the subclusters that are touched, unless the others must move to the new cluster.
  const u64 sub_bytes = u64{1} << header_.subcluster_bits();
  const auto whole = [&](u64 at, const L2Entry& old) {
    if (placement.reuse) return kind_at(header_, old, in_cluster(at) >> header_.subcluster_bits()) == Kind::data;
    return holds_data(header_, old);
  };
  if (placement.reuse || !whole(offset, placement.old.front())) {
    const bool allocated = placement.reuse && whole(offset, placement.old.front());
    placement.begin = allocated ? offset : align_down(offset, sub_bytes);
  }
  if (placement.reuse || !whole(end - 1, placement.old.back())) {
    const bool allocated = placement.reuse && whole(end - 1, placement.old.back());
    placement.end = allocated ? end : align_up(end, sub_bytes);
  }
  co_return 0;
}

// The data between what surrounds it, in one transfer. What reads as zeroes is not written where zeroes are.
Task Image::write_around(const Placement& placement, u64 offset, std::span<const iovec> buffers) {
  const u64 end = offset + total_bytes(buffers);
  u64 begin = placement.begin;
  std::vector<u8> head(offset - placement.begin), tail(placement.end - end);
  const iovec head_list = buffer_of(head), tail_list = buffer_of(tail);
  bool head_zero = true, tail_zero = true;
  int error = co_await reads_zero(placement.begin, head.size(), head_zero);
  if (error == 0) error = co_await reads_zero(end, tail.size(), tail_zero);
  if (error == 0 && !head_zero) error = co_await read_inside(placement.begin, {&head_list, 1});
  if (error == 0 && !tail_zero) error = co_await read_inside(end, {&tail_list, 1});
  if (error != 0) co_return error;
  std::vector<iovec> list;
  if (head_zero && placement.blank) {
    begin = offset;
  } else {
    list.push_back(head_list);
  }
  for (const iovec& buffer : buffers) list.push_back(buffer);
  if (!(tail_zero && placement.blank)) list.push_back(tail_list);
  co_return co_await data().write(strand_, placement.host + (begin - placement.guest), list);
}

Task Image::link(const Placement& placement) {
  const u64 page = l2_cache_.page_of(entry_place(placement.guest));
  u8* bytes = nullptr;
  const int error = co_await l2_cache_.get(page, bytes);
  if (error != 0) co_return error;
  for (u64 i = 0; i < placement.clusters; ++i) {
    const u64 guest = placement.guest + i * cluster_bytes();
    L2Entry value{.descriptor = (placement.host + i * cluster_bytes()) | entry::copied};
    if (header_.extended()) {
      const u64 first = (std::max(placement.begin, guest) - guest) >> header_.subcluster_bits();
      const u64 bound = std::min(placement.end, guest + cluster_bytes()) - guest;
      const u64 last = (bound + low_bits(header_.subcluster_bits())) >> header_.subcluster_bits();
      const u64 mask = subcluster_mask(first, last - first);
      const u64 before = is_compressed(placement.old[i]) ? 0 : placement.old[i].bitmap;
      value.bitmap = (before & ~(mask | mask << 32)) | mask;
    }
    store_entry(header_, entry_in(bytes, guest), value);
    if (!placement.reuse) give_up(placement.old[i]);
  }
  l2_cache_.mark_dirty(page);
  co_return 0;
}

// The entry does not lead to its cluster any more.
void Image::give_up(L2Entry old) {
  if (header_.external()) return;
  if (is_compressed(old)) {
    const CompressedPlace at = compressed_place(header_, old.descriptor);
    for (u64 cluster = cluster_of(at.offset); cluster <= cluster_of(at.offset + at.bytes - 1); ++cluster)
      release_later(cluster);
  } else if (has_host(header_, old)) {
    release_later(cluster_of(host_offset(old)));
  }
}

// ---- L2 tables ----

// Makes the table that entries of this part of the disk are in, or a copy of one that snapshots share.
Task Image::own_table(u64 index) {
  if (index >= l1_.size()) co_return EINVAL;
  if ((l1_[index] & entry::copied) != 0) co_return 0;
  co_await tables_.lock();
  const AsyncHeld held(tables_);
  if ((l1_[index] & entry::copied) != 0) co_return 0;
  const u64 shared = l1_[index] & entry::offset_mask;
  u64 cluster = 0, got = 0;
  int error = co_await allocate(1, true, cluster, got);
  if (error != 0) co_return error;
  const u64 place = cluster << header_.cluster_bits;
  if (shared == 0) {
    error = co_await file_.write_zeroes(strand_, place, cluster_bytes());
  } else {
    error = co_await copy_table(shared, place);
  }
  if (error != 0) {
    release_later(cluster);
    co_return error;
  }
  l1_[index] = place | entry::copied;
  l1_dirty_.insert(index);
  metadata_.insert(cluster);
  if (shared != 0) release_later(cluster_of(shared));
  co_return 0;
}

Task Image::copy_table(u64 from, u64 to) {
  std::vector<u8> table(cluster_bytes());
  const iovec list = buffer_of(table);
  const int error = co_await file_.read(strand_, from, {&list, 1});
  if (error != 0) co_return error;
  co_return co_await file_.write(strand_, to, {&list, 1});
}

// ---- compressed clusters ----

void Image::write_compressed(u64 offset, std::span<const u8> bytes, Completion done) {
  if (const int error = check_request(offset, bytes.size(), true))
    return strand_.engine().complete(error, std::move(done));
  if (in_cluster(offset) != 0 || bytes.empty() || bytes.size() > cluster_bytes())
    return strand_.engine().complete(EINVAL, std::move(done));
  strand_.submit([&] { request(write_compressed_task(offset, bytes), std::move(done)); });
}

Task Image::write_compressed_task(u64 offset, std::span<const u8> bytes) {
  std::vector<u8> cluster(bytes.begin(), bytes.end());
  cluster.resize(cluster_bytes());
  const iovec whole = buffer_of(bytes);
  const std::vector<u8> packed = header_.external() ? std::vector<u8>{}
                                                    : compress(header_.compression, cluster, cluster_bytes());
  if (packed.empty()) co_return co_await write_task(offset, {&whole, 1});
  int error = co_await begin_writing();
  if (error == 0) error = co_await make_room();
  if (error != 0) co_return error;
  RangeLocks::Held range(ranges_, cluster_of(offset), cluster_of(offset));
  co_await range;
  error = co_await own_table(l1_index(offset));
  u64 place = 0;
  if (error == 0) error = co_await place_compressed(packed.size(), place);
  if (error != 0) co_return error;
  const L2Entry packed_entry{.descriptor = compressed_descriptor(header_, place, packed.size())};
  const iovec list = buffer_of(packed);
  error = co_await file_.write(strand_, place, {&list, 1});
  const u64 page = l2_cache_.page_of(entry_place(offset));
  u8* table = nullptr;
  if (error == 0) error = co_await l2_cache_.get(page, table);
  if (error != 0) {
    give_up(packed_entry);
    co_return error;
  }
  const L2Entry old = load_entry(header_, entry_in(table, offset));
  store_entry(header_, entry_in(table, offset), packed_entry);
  l2_cache_.mark_dirty(page);
  give_up(old);
  co_return 0;
}

// Compressed data lie one behind the other, also across the bounds of clusters; each counts in every cluster it touches.
Task Image::place_compressed(u64 bytes, u64& offset) {
  co_await allocating_.lock();
  const AsyncHeld held(allocating_);
  bool room = compressed_left_ != 0;
  u64 count = 0;
  int error = 0;
  if (room) {
    error = co_await change_refcount(cluster_of(compressed_at_), 0, count);
    if (error != 0) co_return error;
    room = count < header_.max_refcount();
  }
  offset = compressed_at_;
  if (!room || bytes > compressed_left_) {
    u64 cluster = 0, got = 0;
    error = co_await allocate_locked(1, true, cluster, got);
    if (error != 0) co_return error;
    const u64 place = cluster << header_.cluster_bits;
    room = room && place == compressed_at_ + compressed_left_;
    if (!room) {
      offset = place;
      compressed_left_ = 0;
    }
    compressed_left_ += cluster_bytes();
  }
  compressed_at_ = offset + bytes;
  compressed_left_ -= bytes;
  if (offset > compressed_limit(header_)) co_return EFBIG;
  if (room) error = co_await change_refcount(cluster_of(offset), 1, count);
  co_return error;
}

}  // namespace doppel::disk::qcow2
