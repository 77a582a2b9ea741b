// How a request is read: entries are looked up page by page of their tables, and what they lead to is read all at once.
#include <fmt/format.h>

#include <cerrno>

#include "disk/buffers.h"
#include "disk/qcow2/compression.h"
#include "disk/qcow2/image.h"

namespace doppel::disk::qcow2 {

// ---- entries ----

u64 Image::entry_place(u64 offset) const {
  return (l1_[l1_index(offset)] & entry::offset_mask) + l2_index(offset) * header_.l2_entry_bytes();
}

u64 Image::entries_left_in_page(u64 offset) const {
  const u64 in_page = l2_index(offset) * header_.l2_entry_bytes() & (l2_cache_.page_bytes() - 1);
  return (l2_cache_.page_bytes() - in_page) / header_.l2_entry_bytes();
}

const u8* Image::entry_in(const u8* page, u64 offset) const {
  return page + (l2_index(offset) * header_.l2_entry_bytes() & (l2_cache_.page_bytes() - 1));
}
u8* Image::entry_in(u8* page, u64 offset) const {
  return page + (l2_index(offset) * header_.l2_entry_bytes() & (l2_cache_.page_bytes() - 1));
}

// As far as the same kind of place goes on, within the page.
Image::Run Image::run_in_page(const u8* page, u64 offset, u64 most) const {
  Run run;
  const u64 sub_bytes = u64{1} << header_.subcluster_bits();
  u64 entries = entries_left_in_page(offset);
  for (u64 at = offset; run.bytes < most && entries != 0; --entries) {
    const L2Entry value = load_entry(header_, entry_in(page, at));
    for (u64 sub = in_cluster(at) >> header_.subcluster_bits();; ++sub) {
      const Kind kind = kind_at(header_, value, sub);
      const u64 host = kind == Kind::data ? host_offset(value) + in_cluster(at) : 0;
      const bool in_place = kind == Kind::data && ((value.descriptor & entry::copied) != 0 || header_.external());
      if (run.bytes == 0) {
        run = {.kind = kind, .host = host, .descriptor = value.descriptor, .in_place = in_place};
      } else if (kind != run.kind || kind == Kind::compressed || in_place != run.in_place ||
                 (kind == Kind::data && host != run.host + run.bytes)) {
        return run;
      }
      if (kind == Kind::bad) {
        run.bytes = most;
        return run;
      }
      const u64 left = kind == Kind::compressed ? cluster_bytes() - in_cluster(at) : sub_bytes - (at & (sub_bytes - 1));
      const u64 piece = std::min(left, most - run.bytes);
      run.bytes += piece;
      at += piece;
      if (run.bytes == most) return run;
      if (in_cluster(at) == 0) break;
    }
  }
  return run;
}

Task Image::locate(u64 offset, u64 most, Run& run) {
  const u64 index = l1_index(offset);
  const u64 table_left = header_.l1_coverage_bytes() - (offset & (header_.l1_coverage_bytes() - 1));
  if (index >= l1_.size() || (l1_[index] & entry::offset_mask) == 0) {
    run = {.kind = Kind::unallocated, .bytes = std::min(most, table_left)};
    co_return 0;
  }
  u8* page = nullptr;
  const int error = co_await l2_cache_.get(l2_cache_.page_of(entry_place(offset)), page);
  if (error != 0) co_return error;
  run = run_in_page(page, offset, most);
  if (run.kind == Kind::bad)
    co_return broken(fmt::format("the L2 entry {:#x} of offset {:#x}", run.descriptor, offset));
  if (run.kind == Kind::data && header_.external() && run.host != offset)
    co_return broken(fmt::format("the L2 entry {:#x} leads to another place of the data file", run.descriptor));
  if (run.kind == Kind::data && !header_.external() && align_down(run.host, cluster_bytes()) >= file_.end())
    co_return broken(fmt::format("the L2 entry {:#x} leads beyond the end of the file", run.descriptor));
  co_return 0;
}

// ---- requests ----

// A request that one transfer answers, whose entries are in the cache.
bool Image::fast_run(u64 offset, u64 bytes, Run& run) {
  const u64 index = l1_index(offset);
  if (bytes == 0 || index >= l1_.size() || (l1_[index] & entry::offset_mask) == 0) return false;
  const u8* page = l2_cache_.find(l2_cache_.page_of(entry_place(offset)));
  if (page == nullptr) return false;
  run = run_in_page(page, offset, bytes);
  return run.kind == Kind::data && run.bytes == bytes && run.host + bytes <= data().end() &&
         (!header_.external() || run.host == offset);
}

void Image::read(u64 offset, std::span<const iovec> buffers, Completion done) {
  if (const int error = check_request(offset, total_bytes(buffers), false))
    return strand_.engine().complete(error, std::move(done));
  if (!submit_directly(IoRequest::Kind::read, offset, buffers, done))
    strand_.submit([&] { request(read_task(offset, buffers), std::move(done)); });
}

// A request to one run of data that lies ready, which needs no task; until end_direct() its clusters are not used anew.
std::optional<Image::Direct> Image::begin_direct(IoRequest::Kind kind, u64 offset, std::span<const iovec> buffers) {
  Run run;
  const std::lock_guard lock(strand_.mutex());
  const bool write = kind == IoRequest::Kind::write;
  if (write && (!prepared_ || broken_)) return std::nullopt;
  if (!fast_run(offset, total_bytes(buffers), run)) return std::nullopt;
  if (write && (!run.in_place || touches_metadata(run))) return std::nullopt;
  const int fd = data().fd_for(run.host, buffers);
  return Direct{
      .request = {.kind = kind, .fd = fd, .offset = run.host, .buffers = buffers, .cached = data().is_cached(fd)},
      .ticket = under_way_.begin()};
}

void Image::end_direct(u64 ticket) {
  const std::lock_guard lock(strand_.mutex());
  under_way_.end(ticket);
}

// `done` is taken if the request is submitted.
bool Image::submit_directly(IoRequest::Kind kind, u64 offset, std::span<const iovec> buffers, Completion& done) {
  auto direct = begin_direct(kind, offset, buffers);
  if (!direct) return false;
  direct->request.done = [this, ticket = direct->ticket, done = std::move(done)](int error) {
    end_direct(ticket);
    done(error);
  };
  strand_.engine().submit(std::move(direct->request));
  return true;
}

bool Image::transfer_at_once(IoRequest::Kind kind, u64 offset, std::span<const iovec> buffers) {
  if (check_request(offset, total_bytes(buffers), kind == IoRequest::Kind::write) != 0) return false;
  const auto direct = begin_direct(kind, offset, buffers);
  if (!direct) return false;
  const bool done = direct->request.cached && strand_.engine().transfer_at_once(direct->request);
  end_direct(direct->ticket);
  return done;
}

bool Image::read_at_once(u64 offset, std::span<const iovec> buffers) {
  return transfer_at_once(IoRequest::Kind::read, offset, buffers);
}

bool Image::write_at_once(u64 offset, std::span<const iovec> buffers) {
  return transfer_at_once(IoRequest::Kind::write, offset, buffers);
}

Task Image::read_task(u64 offset, std::span<const iovec> buffers) {
  const u64 ticket = under_way_.begin();
  const int error = co_await read_inside(offset, buffers);
  under_way_.end(ticket);
  co_return error;
}

Task Image::read_inside(u64 offset, std::span<const iovec> buffers) {
  const u64 total = total_bytes(buffers);
  std::deque<std::vector<iovec>> parts;  // stay where they are until all is read
  std::deque<Task> transfers;
  Join from_backing(strand_);
  int error = 0;
  for (u64 at = 0; at < total && error == 0;) {
    Run run;
    error = co_await locate(offset + at, total - at, run);
    if (error != 0) break;
    u64 bytes = run.bytes;
    if (run.kind == Kind::unallocated && backing_has(offset + at))
      bytes = std::min(bytes, backing_->size_bytes() - (offset + at));
    const auto& part = parts.emplace_back(slice(buffers, at, bytes));
    switch (run.kind) {
      case Kind::data: transfers.push_back(data().read(strand_, run.host, part)); break;
      case Kind::compressed: error = co_await read_compressed(run.descriptor, in_cluster(offset + at), part); break;
      case Kind::unallocated:
        if (backing_has(offset + at)) {
          backing_->read(offset + at, part, from_backing.part());
          break;
        }
        [[fallthrough]];
      default: fill_zero(part);
    }
    at += bytes;
  }
  for (Task& transfer : transfers) {
    const int failed = co_await transfer;
    if (error == 0) error = failed;
  }
  const int failed = co_await from_backing;
  co_return error != 0 ? error : failed;
}

Task Image::read_compressed(u64 descriptor, u64 within, std::span<const iovec> buffers) {
  const u64 bytes = total_bytes(buffers);
  if (inflated_descriptor_ != descriptor) {
    const CompressedPlace place = compressed_place(header_, descriptor);
    if (place.offset >= file_.end() || place.bytes > 2 * cluster_bytes())
      co_return broken(fmt::format("the L2 entry {:#x} of compressed data leads nowhere", descriptor));
    std::vector<u8> packed(place.bytes), cluster(cluster_bytes());
    const iovec list = buffer_of(packed);
    const int error = co_await file_.read(strand_, place.offset, {&list, 1});
    if (error != 0) co_return error;
    if (!decompress(header_.compression, packed, cluster))
      co_return broken(fmt::format("compressed data at {:#x} is none", place.offset));
    inflated_ = std::move(cluster);
    inflated_descriptor_ = descriptor;
  }
  CHECK(within + bytes <= inflated_.size());
  scatter(buffers, inflated_.data() + within);
  co_return 0;
}

// Whether all of a range reads as zeroes by its entries alone.
Task Image::reads_zero(u64 offset, u64 bytes, bool& zero) {
  for (zero = true; bytes != 0;) {
    Run run;
    const int error = co_await locate(offset, bytes, run);
    if (error != 0) co_return error;
    zero = run.kind == Kind::zero || (run.kind == Kind::unallocated && !backing_has(offset));
    if (!zero) co_return 0;
    offset += run.bytes;
    bytes -= run.bytes;
  }
  co_return 0;
}

Result<Image::Run> Image::look_up(u64 offset, u64 most) {
  Run run;
  int result = -1;
  strand_.submit([&] { request(locate(offset, most, run), [&result](int error) { result = error; }); });
  drain();
  if (result != 0) return fail_errno(fmt::format("cannot read the tables of disk '{}'", path()), result);
  return run;
}

}  // namespace doppel::disk::qcow2
