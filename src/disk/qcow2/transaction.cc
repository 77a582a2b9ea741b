// See transaction.h.
#include "disk/qcow2/transaction.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

namespace doppel::disk::qcow2 {

namespace {

class Transaction {
 public:
  Transaction(Image& image, Structure next)
      : image_(image), file_(image.file_for_change()), next_(std::move(next)), header_(next_.header) {}

  Result<> run(bool snapshots_changed) {
    Findings ignored;
    const Structure before = TRY(structure_of(image_));
    TRY(count_references(file_, before, true, used_, ignored));
    TRY(read_refcounts(file_, before.header, used_, ignored));
    if (snapshots_changed) TRY(place_snapshots());
    TRY(place_l1());
    TRY(count_references(file_, next_, false, counts_, ignored));
    TRY(set_flags());
    TRY(write_l1());
    TRY(write_refcounts());
    TRY(file_.sync_now());
    TRY(switch_header());
    give_back();
    return image_.reload();
  }

 private:
  u64 cluster_bytes() const { return header_.cluster_bytes(); }
  bool free(u64 cluster) const {
    return used_.get(cluster) == 0 && counts_.get(cluster) == 0 && !taken_.contains(cluster);
  }

  // The first of so many free clusters in a row.
  u64 take(u64 clusters) {
    u64 first = search_from_, length = 0;
    for (u64 cluster = first; length < clusters; ++cluster) {
      if (!free(cluster)) {
        length = 0;
      } else if (length++ == 0) {
        first = cluster;
      }
    }
    if (clusters == 1) search_from_ = first + 1;
    for (u64 i = 0; i < clusters; ++i) taken_.insert(first + i);
    return first;
  }

  std::unexpected<Error> too_large() const {
    return fail(fmt::format("disk '{}' is too large for this", file_.path()));
  }

  Result<> place_snapshots() {
    const std::string table = encode_snapshots(next_.snapshots);
    header_.snapshot_count = static_cast<u32>(next_.snapshots.size());
    if (table.empty()) return {};
    if (next_.snapshots.size() > max_snapshots || table.size() > max_snapshot_table_bytes)
      return fail(fmt::format("disk '{}' has as many snapshots as can be", file_.path()));
    header_.snapshots_offset = take(header_.clusters_of(table.size())) << header_.cluster_bits;
    return file_.write_now(header_.snapshots_offset, {reinterpret_cast<const u8*>(table.data()), table.size()});
  }

  Result<> place_l1() {
    next_.l1.resize(std::max<std::size_t>(next_.l1.size(), header_.l1_entries_for(header_.size_bytes)));
    header_.l1_entries = static_cast<u32>(next_.l1.size());
    header_.l1_offset = take(std::max<u64>(header_.clusters_of(next_.l1.size() * 8), 1)) << header_.cluster_bits;
    return write_l1();  // so that it lies in the file when it is counted
  }

  // Tables whose flags change are copied: the old ones may be in use until the header switches.
  Result<> set_flags() {
    std::vector<u8> table(cluster_bytes());
    for (u64& value : next_.l1) {
      value &= entry::offset_mask;
      if (value == 0 || value >= align_up(file_.end(), cluster_bytes())) continue;
      TRY(file_.read_now(value, table));
      bool changed = false;
      for (u64 at = 0; at < table.size() && !header_.external(); at += header_.l2_entry_bytes()) {
        L2Entry one = load_entry(header_, &table[at]);
        if (!has_host(header_, one) || (host_offset(one) & (cluster_bytes() - 1)) != 0) continue;
        const u64 flag = counts_.get(host_offset(one) >> header_.cluster_bits) == 1 ? entry::copied : 0;
        if ((one.descriptor & entry::copied) == flag) continue;
        one.descriptor ^= entry::copied;
        store_entry(header_, &table[at], one);
        changed = true;
      }
      if (!changed) continue;
      const u64 copy = take(1);
      TRY(file_.write_now(copy << header_.cluster_bits, table));
      counts_.subtract(value >> header_.cluster_bits, 1);
      if (!counts_.add(copy, 1)) return too_large();
      value = copy << header_.cluster_bits;
    }
    for (u64& value : next_.l1) {
      if (value != 0 && counts_.get(value >> header_.cluster_bits) == 1) value |= entry::copied;
    }
    return {};
  }

  Result<> write_l1() {
    std::vector<u64> table(next_.l1.size());
    for (std::size_t i = 0; i < table.size(); ++i) store_be(&table[i], next_.l1[i]);
    table.resize(std::max<std::size_t>(table.size(), 1));
    return file_.write_now(header_.l1_offset, {reinterpret_cast<const u8*>(table.data()), table.size() * 8});
  }

  // Blocks and table count themselves, so that placing one may need another.
  Result<> place_refcounts(std::map<u64, u64>& blocks, u64& table, u64& table_clusters) {
    const u64 per_block = header_.refcounts_per_block();
    counts_.for_each([&](u64 cluster, u32) { blocks.emplace(cluster / per_block, 0); });
    const auto add_blocks = [&]() -> bool {
      for (auto unplaced = blocks.begin(); unplaced != blocks.end();) {
        if (unplaced->second != 0) {
          ++unplaced;
          continue;
        }
        unplaced->second = take(1);
        if (!counts_.add(unplaced->second, 1)) return false;
        unplaced = blocks.emplace(unplaced->second / per_block, 0).second ? blocks.begin() : std::next(unplaced);
      }
      return true;
    };
    const auto table_for = [&] { return header_.clusters_of((blocks.rbegin()->first + 1) * 8); };
    if (!add_blocks()) return too_large();
    for (table_clusters = table_for();; ++table_clusters) {
      table = take(table_clusters);
      for (u64 i = 0; i < table_clusters; ++i) {
        if (!counts_.add(table + i, 1)) return too_large();
        blocks.emplace((table + i) / per_block, 0);
      }
      if (!add_blocks()) return too_large();
      if (table_for() <= table_clusters) break;
      for (u64 i = 0; i < table_clusters; ++i) counts_.subtract(table + i, 1);  // too small by now: elsewhere, larger
    }
    if (table_clusters * cluster_bytes() > max_refcount_table_bytes) return too_large();
    return {};
  }

  Result<> write_refcounts() {
    std::map<u64, u64> blocks;  // index, cluster
    u64 table = 0, table_clusters = 0;
    TRY(place_refcounts(blocks, table, table_clusters));
    std::vector<u8> block(cluster_bytes());
    std::vector<u64> entries(table_clusters * cluster_bytes() / 8);
    for (const auto& [index, cluster] : blocks) {
      std::ranges::fill(block, u8{0});
      for (u64 i = 0; i < header_.refcounts_per_block(); ++i) {
        const u32 count = counts_.get(index * header_.refcounts_per_block() + i);
        if (count > header_.max_refcount()) {
          return fail(fmt::format(
              "disk '{}' has refcounts of {} bits, too few for this; convert it to one with more: doppel disk convert",
              file_.path(), header_.refcount_bits()));
        }
        if (count != 0) store_refcount(block.data(), i, header_.refcount_order, count);
      }
      TRY(file_.write_now(cluster << header_.cluster_bits, block));
      store_be(&entries[index], cluster << header_.cluster_bits);
    }
    header_.refcount_table_offset = table << header_.cluster_bits;
    header_.refcount_table_clusters = static_cast<u32>(table_clusters);
    return file_.write_now(header_.refcount_table_offset,
                           {reinterpret_cast<const u8*>(entries.data()), entries.size() * 8});
  }

  Result<> switch_header() {
    std::array<u8, header_sector> sector;
    TRY(file_.read_now(0, sector));
    header_.patch(sector);
    TRY(file_.write_now(0, sector));
    return file_.sync_now();
  }

  // What is free now is given back to the host. The file keeps its length: a shorter one would have to be on the disk
  // before new clusters at its end count as zeroes.
  void give_back() {
    std::set<u64> unused;
    used_.for_each([&](u64 cluster, u32) {
      if (counts_.get(cluster) == 0) unused.insert(cluster);
    });
    for (auto next = unused.begin(); next != unused.end();) {
      const u64 first = *next;
      u64 count = 0;
      while (next != unused.end() && *next == first + count) ++next, ++count;
      file_.punch_now(first << header_.cluster_bits, count << header_.cluster_bits);
    }
  }

  Image& image_;
  HostFile& file_;
  Structure next_;
  Header& header_;
  ClusterCounts used_, counts_;  // of the image as it is, by references and by its refcounts; of the next
  std::set<u64> taken_;
  u64 search_from_ = 1;
};

Result<Structure> sound_structure(Image& image) {
  const Findings findings = TRY(check(image));
  if (findings.corruptions != 0) {
    return fail(fmt::format("disk '{}' is damaged ({}): try: doppel disk check --repair '{}'", image.path(),
                            findings.lines.front(), image.path()));
  }
  if (image.header().external())
    return fail(fmt::format("disk '{}' has an external data file: it can have no snapshots", image.path()));
  return structure_of(image);
}

Result<std::size_t> find_snapshot(const Image& image, const Structure& structure, const std::string& name) {
  for (const auto member : {&Snapshot::name, &Snapshot::id}) {
    const auto found = std::ranges::find(structure.snapshots, name, member);
    if (found != structure.snapshots.end()) return static_cast<std::size_t>(found - structure.snapshots.begin());
  }
  return fail(fmt::format("disk '{}' has no snapshot '{}'; see: doppel disk snapshot list '{}'", image.path(), name,
                          image.path()));
}

}  // namespace

Result<> transact(Image& image, Structure next, bool snapshots_changed) {
  next.header.autoclear &= autoclear::bitmaps | autoclear::raw_data_file;
  next.header.incompatible &= ~(incompatible::dirty | incompatible::corrupt);
  auto done = Transaction(image, std::move(next)).run(snapshots_changed);
  if (!done) (void)image.reload();  // what was written to free clusters is no hole any more
  return done;
}

Result<Structure> structure_of(const Image& image) {
  Structure structure{.header = image.header()};
  const Header& header = structure.header;
  structure.l1.resize(header.l1_entries);
  TRY(image.file().read_now(header.l1_offset, {reinterpret_cast<u8*>(structure.l1.data()), structure.l1.size() * 8}));
  for (u64& value : structure.l1) value = load_be<u64>(&value);
  structure.snapshots = TRY(read_snapshots(image.file(), header));
  return structure;
}

Result<> repair_refcounts(Image& image) {
  TRY(image.settle());
  return transact(image, TRY(structure_of(image)), false);
}

Result<> make_empty(Image& image) {
  TRY(image.settle());
  Structure next = TRY(structure_of(image));
  std::ranges::fill(next.l1, 0);
  next.header.autoclear &= ~autoclear::bitmaps;
  return transact(image, std::move(next), false);
}

Result<std::vector<Snapshot>> snapshots_of(const Image& image) { return read_snapshots(image.file(), image.header()); }

Result<> create_snapshot(Image& image, const std::string& name, u64 nanoseconds_since_1970) {
  Structure next = TRY(sound_structure(image));
  u64 id = 0;
  for (const Snapshot& other : next.snapshots) {
    if (other.name == name) return fail(fmt::format("disk '{}' has a snapshot '{}' already", image.path(), name));
    id = std::max<u64>(id, std::strtoul(other.id.c_str(), nullptr, 10));
  }
  next.snapshots.push_back({
      .l1_offset = next.header.l1_offset,  // the table as it is; the disk goes on with another
      .l1_entries = next.header.l1_entries,
      .id = std::to_string(id + 1),
      .name = name,
      .seconds = static_cast<u32>(nanoseconds_since_1970 / nanoseconds_per_second),
      .nanoseconds = static_cast<u32>(nanoseconds_since_1970 % nanoseconds_per_second),
      .disk_bytes = next.header.size_bytes,
  });
  return transact(image, std::move(next), true);
}

Result<> apply_snapshot(Image& image, const std::string& name) {
  Structure next = TRY(sound_structure(image));
  const Snapshot snapshot = next.snapshots[TRY(find_snapshot(image, next, name))];
  next.l1.assign(snapshot.l1_entries, 0);
  TRY(image.file().read_now(snapshot.l1_offset, {reinterpret_cast<u8*>(next.l1.data()), next.l1.size() * 8}));
  for (u64& value : next.l1) value = load_be<u64>(&value);
  next.header.size_bytes = snapshot.disk_bytes;
  next.header.autoclear &= ~autoclear::bitmaps;
  return transact(image, std::move(next), false);
}

Result<> delete_snapshot(Image& image, const std::string& name) {
  Structure next = TRY(sound_structure(image));
  next.snapshots.erase(next.snapshots.begin() + static_cast<i64>(TRY(find_snapshot(image, next, name))));
  return transact(image, std::move(next), true);
}

Result<> change_backing(Image& image, const std::string& name, const std::string& format) {
  TRY(image.settle());
  Header header = image.header();
  header.backing_name = name;
  header.set_extension(extension::backing_format, name.empty() ? "" : format);
  const std::string bytes = TRY(header.encode());
  HostFile& file = image.file_for_change();
  TRY(file.write_now(0, {reinterpret_cast<const u8*>(bytes.data()), bytes.size()}));
  TRY(file.sync_now());
  return image.reload();
}

}  // namespace doppel::disk::qcow2
