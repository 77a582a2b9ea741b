// Opening and closing qcow2 images; see image.h.
#include "disk/qcow2/image.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>

#include "base/log.h"
#include "disk/buffers.h"
#include "disk/qcow2/snapshot_table.h"
#include "disk/qcow2/transaction.h"
#include "disk/raw.h"

namespace doppel::disk::qcow2 {

namespace {

constexpr u64 l2_cache_bytes = 16 * MiB, refcount_cache_bytes = 4 * MiB;

Result<std::vector<u64>> read_table(const HostFile& file, u64 offset, u64 entries) {
  std::vector<u64> table(entries);
  TRY(file.read_now(offset, {reinterpret_cast<u8*>(table.data()), entries * 8}));
  for (u64& value : table) value = load_be<u64>(&value);
  return table;
}

}  // namespace

Image::Image(HostFile file, bool read_only, IoEngine& engine)
    : file_(std::move(file)),
      read_only_(read_only),
      strand_(engine),
      preparing_(strand_),
      allocating_(strand_),
      tables_(strand_),
      committing_(strand_),
      ranges_(strand_),
      l2_cache_(strand_, file_),
      refcount_cache_(strand_, file_) {}

Image::~Image() {
  const auto settled = settle();
  if (!settled) log::warning("{}", settled.error().message);
}

Result<> Image::settle() {
  if (read_only_ || broken_ || !prepared_) return {};
  int result = -1;
  strand_.submit([&] { request(commit(true), [&result](int error) { result = error; }); });
  drain();
  if (result != 0) return fail_errno(fmt::format("what was written to disk '{}' may be lost", path()), result);
  prepared_ = false;  // the next write may have to mark it as dirty
  return {};
}

Result<std::unique_ptr<Image>> Image::open(const std::string& path, bool read_only, Purpose purpose, IoEngine& engine) {
  HostFile file = TRY(HostFile::open(path, read_only, engine));
  std::unique_ptr<Image> image(new Image(std::move(file), read_only, engine));
  TRY(image->load(purpose));
  return image;
}

Result<> Image::load(Purpose purpose) {
  std::vector<u8> start(std::min<u64>(file_.end(), u64{1} << max_cluster_bits));
  TRY(file_.read_now(0, start));
  header_ = TRY(parse_header(start, file_.end(), path()));
  TRY(open_data_file());
  if (purpose == Purpose::inspect) return load_tables();
  if (header_.corrupt() && !read_only_) {
    return fail(fmt::format(
        "disk '{}' is marked as corrupt; attach it read-only, or try: doppel disk check --repair '{}'", path(), path()));
  }
  TRY(load_tables());
  if (header_.dirty() && !read_only_) {
    log::info("disk '{}' was not closed properly: its refcounts are counted anew", path());
    return repair_refcounts(*this);
  }
  return {};
}

Result<> Image::reload() {
  std::vector<u8> start(std::min<u64>(file_.end(), u64{1} << max_cluster_bits));
  TRY(file_.read_now(0, start));
  header_ = TRY(parse_header(start, file_.end(), path()));
  freed_.clear();
  unreleased_.clear();
  l1_dirty_.clear();
  refcount_table_dirty_.clear();
  refcount_table_moved_.reset();
  search_from_ = compressed_at_ = compressed_left_ = inflated_descriptor_ = 0;
  prepared_ = false;
  return load_tables();
}

Result<> Image::load_tables() {
  const u64 cluster = cluster_bytes();
  l1_ = TRY(read_table(file_, header_.l1_offset, header_.l1_entries));
  refcount_table_ = TRY(
      read_table(file_, header_.refcount_table_offset, header_.refcount_table_clusters * (cluster / 8)));
  const u64 table_end = align_up(file_.end(), cluster);
  for (std::size_t i = 0; i < l1_.size(); ++i) {
    const u64 offset = l1_[i] & entry::offset_mask;
    if ((l1_[i] & entry::l1_reserved) != 0 || (offset & (cluster - 1)) != 0 || offset >= table_end)
      return fail(
          fmt::format("disk '{}' is damaged: entry {} of its L1 table ({:#x}) leads nowhere", path(), i, l1_[i]));
  }
  for (std::size_t i = 0; i < refcount_table_.size(); ++i) {
    const u64 offset = refcount_table_[i];
    if ((offset & (cluster - 1)) != 0 || offset >= table_end) {
      return fail(
          fmt::format("disk '{}' is damaged: entry {} of its refcount table ({:#x}) leads nowhere", path(), i, offset));
    }
  }
  l2_cache_.configure(cluster, l2_cache_bytes);
  refcount_cache_.configure(cluster, refcount_cache_bytes);
  untouched_from_ = cluster_of(table_end);

  metadata_.clear();
  const auto add = [&](u64 offset, u64 bytes) {
    for (u64 at = offset; at < offset + bytes; at += cluster) metadata_.insert(cluster_of(at));
  };
  add(0, cluster);
  add(header_.l1_offset, u64{header_.l1_entries} * 8);
  add(header_.refcount_table_offset, header_.refcount_table_clusters * cluster);
  const auto snapshots = TRY(read_snapshots(file_, header_));
  if (!snapshots.empty()) add(header_.snapshots_offset, snapshot_table_bytes(snapshots));
  u64 snapshot_bytes = 0;
  for (const Snapshot& snapshot : snapshots) {
    snapshot_bytes += u64{snapshot.l1_entries} * 8;
    if (snapshot_bytes > file_.end())
      return fail(fmt::format("disk '{}' is damaged: the L1 tables of its snapshots lie over each other", path()));
    add(snapshot.l1_offset, u64{snapshot.l1_entries} * 8);
  }
  for (const u64 value : l1_) {
    if ((value & entry::offset_mask) != 0) add(value & entry::offset_mask, cluster);
  }
  for (const u64 offset : refcount_table_) {
    if (offset != 0) add(offset, cluster);
  }
  return {};
}

Result<> Image::open_data_file() {
  if (!header_.external()) return {};
  const std::string name = header_.data_file();
  if (name.empty() || name.find('\0') != std::string::npos)
    return fail(fmt::format("disk '{}' has an external data file, and does not say which", path()));
  data_path_ = (std::filesystem::path(path()).parent_path() / name).string();
  auto opened = HostFile::open(data_path_, read_only_, strand_.engine());
  if (!opened) return fail(fmt::format("the data file of disk '{}': {}", path(), opened.error().message));
  data_file_.emplace(std::move(*opened));
  return {};
}

int Image::broken(const std::string& what) {
  if (!std::exchange(broken_, true))
    log::warning("disk '{}' is damaged ({}): it is not written any more; see: doppel disk check '{}'", path(), what,
                 path());
  return EIO;
}

Detached Image::request(Task work, Completion done) {
  const int error = co_await work;
  strand_.finish(std::move(done), error);
}

int Image::check_request(u64 offset, u64 bytes, bool writing) const {
  if (writing && read_only_) return EROFS;
  return check_range(offset, bytes, size_bytes());
}

void Image::state(state::Archive& archive) {
  archive.begin("qcow2-image", 1);
  u64 size = size_bytes();
  archive(size);
  archive.require(size == size_bytes(), "disk size: it is not the disk that the machine was saved with");
  archive.end();
}

Image* as_qcow2(BlockImage* image) { return dynamic_cast<Image*>(image); }

}  // namespace doppel::disk::qcow2
