// See scan.h. Each L2 table is read once, however many snapshots share it, so that the work is bounded by the file's size.
#include "disk/qcow2/scan.h"

#include <fmt/format.h>

#include <algorithm>

#include "disk/qcow2/image.h"

namespace doppel::disk::qcow2 {

u32 ClusterCounts::get(u64 cluster) const {
  const auto found = pages_.find(cluster / page_clusters);
  return found == pages_.end() ? 0 : (*found->second)[cluster % page_clusters];
}

bool ClusterCounts::add(u64 cluster, u32 count) {
  auto found = pages_.find(cluster / page_clusters);
  if (found == pages_.end()) {
    if (pages_.size() >= max_pages) return false;
    found = pages_.emplace(cluster / page_clusters, std::make_unique<Page>()).first;
  }
  u32& value = (*found->second)[cluster % page_clusters];
  value += std::min(count, ~value);
  end_ = std::max(end_, cluster + 1);
  return true;
}

void ClusterCounts::subtract(u64 cluster, u32 count) {
  const auto found = pages_.find(cluster / page_clusters);
  CHECK(found != pages_.end() && (*found->second)[cluster % page_clusters] >= count);
  (*found->second)[cluster % page_clusters] -= count;
}

void Findings::note(std::string line) {
  constexpr std::size_t most = 50;
  if (lines.size() < most) lines.push_back(std::move(line));
  if (lines.size() == most) lines.emplace_back("… and more");
}
void Findings::corruption(std::string line, bool repairable) {
  ++corruptions;
  if (!repairable) ++not_repairable;
  note(std::move(line));
}
void Findings::leak(std::string line) {
  ++leaks;
  note(std::move(line));
}

namespace {

class Counter {
 public:
  Counter(const HostFile& file, const Structure& structure, ClusterCounts& counts, Findings& findings)
      : file_(file), structure_(structure), header_(structure.header), counts_(counts), findings_(findings) {}

  Result<> count(bool refcounts_too) {
    TRY(range(0, 1, "the header"));
    TRY(table(header_.l1_offset, structure_.l1.size() * 8, "the L1 table"));
    l1(structure_.l1, true);
    TRY(snapshots());
    TRY(bitmaps());
    if (refcounts_too) TRY(refcounts());
    for (const auto& [offset, use] : l2_tables_) TRY(l2(offset, use));
    return {};
  }

 private:
  struct Use {
    u32 times = 0;
    bool active = false;
  };

  bool in_file(u64 offset) const { return offset < align_up(file_.end(), header_.cluster_bytes()); }
  bool aligned(u64 offset) const { return (offset & (header_.cluster_bytes() - 1)) == 0; }

  // The clusters of some bytes.
  Result<> range(u64 offset, u64 bytes, std::string_view what, u32 times = 1) {
    if (bytes == 0) return {};
    const u64 last = (offset + bytes - 1) >> header_.cluster_bits;
    for (u64 cluster = offset >> header_.cluster_bits; cluster <= last; ++cluster) {
      if (!counts_.add(cluster, times)) return fail(fmt::format("disk '{}' is too large to be checked", file_.path()));
    }
    findings_.image_end_bytes = std::max(findings_.image_end_bytes, (last + 1) << header_.cluster_bits);
    if (offset == 0 && what != "the header") findings_.corruption(fmt::format("{} lies over the header", what), false);
    return {};
  }

  Result<> table(u64 offset, u64 bytes, std::string_view what) {
    if (bytes == 0) return {};
    if (!aligned(offset) || offset >= file_.end() || bytes > align_up(file_.end(), header_.cluster_bytes()) - offset) {
      findings_.corruption(fmt::format("{} at {:#x} lies where no table can be", what, offset), false);
      return {};
    }
    table_bytes_ += bytes;
    if (table_bytes_ > file_.end() + (u64{1} << 24))
      return fail(fmt::format("disk '{}' is damaged: its tables lie over each other", file_.path()));
    return range(offset, bytes, what);
  }

  void l1(const std::vector<u64>& entries, bool active) {
    for (const u64 value : entries) {
      const u64 offset = value & entry::offset_mask;
      if (offset == 0) continue;
      if ((value & entry::l1_reserved) != 0 || !aligned(offset) || !in_file(offset)) {
        findings_.corruption(fmt::format("the L1 entry {:#x} leads nowhere", value), false);
        continue;
      }
      Use& use = l2_tables_[offset];
      ++use.times;
      use.active |= active;
    }
  }

  Result<> snapshots() {
    if (structure_.snapshots.empty()) return {};
    TRY(table(header_.snapshots_offset, snapshot_table_bytes(structure_.snapshots), "the table of snapshots"));
    for (const Snapshot& snapshot : structure_.snapshots) {
      TRY(table(snapshot.l1_offset, u64{snapshot.l1_entries} * 8, "the L1 table of a snapshot"));
      std::vector<u64> entries(snapshot.l1_entries);
      TRY(file_.read_now(snapshot.l1_offset, {reinterpret_cast<u8*>(entries.data()), entries.size() * 8}));
      for (u64& value : entries) value = load_be<u64>(&value);
      l1(entries, false);
    }
    return {};
  }

  Result<> bitmaps() {
    const auto directory = bitmap_directory(header_);
    if (!directory) return {};
    constexpr u64 fixed = 24, max_directory = 64 * MiB;
    if (directory->bytes > max_directory || directory->offset > file_.end() ||
        directory->bytes > file_.end() - directory->offset) {
      findings_.corruption("the directory of bitmaps leaves the file", false);
      return {};
    }
    TRY(table(directory->offset, directory->bytes, "the directory of bitmaps"));
    std::vector<u8> bytes(directory->bytes);
    TRY(file_.read_now(directory->offset, bytes));
    for (u64 at = 0; at + fixed <= bytes.size();) {
      const u64 offset = load_be<u64>(&bytes[at]), entries = load_be<u32>(&bytes[at + 8]);
      TRY(table(offset, entries * 8, "the table of a bitmap"));
      if (offset > file_.end() || entries * 8 > file_.end() - offset) return {};
      std::vector<u64> rows(entries);
      TRY(file_.read_now(offset, {reinterpret_cast<u8*>(rows.data()), rows.size() * 8}));
      for (const u64 row : rows) {
        const u64 place = load_be<u64>(&row) & entry::offset_mask;
        if (place != 0) TRY(range(place, 1, "a bitmap"));
      }
      at += align_up(fixed + load_be<u32>(&bytes[at + 20]) + load_be<u16>(&bytes[at + 18]), 8);
    }
    return {};
  }

  Result<> refcounts() {
    const u64 bytes = header_.refcount_table_clusters * header_.cluster_bytes();
    TRY(range(header_.refcount_table_offset, bytes, "the refcount table"));
    std::vector<u64> blocks(bytes / 8);
    TRY(file_.read_now(header_.refcount_table_offset, {reinterpret_cast<u8*>(blocks.data()), bytes}));
    for (const u64 block : blocks) {
      const u64 offset = load_be<u64>(&block);
      if (offset == 0) continue;
      if (aligned(offset) && in_file(offset)) {
        TRY(range(offset, 1, "a refcount block"));
      } else {
        findings_.corruption(fmt::format("the refcount table leads to {:#x}, where no block can be", offset));
      }
    }
    return {};
  }

  Result<> l2(u64 offset, const Use& use) {
    TRY(range(offset, 1, "an L2 table", use.times));
    std::vector<u8> bytes(header_.cluster_bytes());
    TRY(file_.read_now(offset, bytes));
    for (u64 at = 0; at < bytes.size(); at += header_.l2_entry_bytes()) {
      const L2Entry value = load_entry(header_, &bytes[at]);
      if (value.descriptor == 0 && value.bitmap == 0) continue;
      TRY(l2_entry(value, use));
    }
    return {};
  }

  Result<> l2_entry(L2Entry value, const Use& use) {
    const auto wrong = [&] {
      findings_.corruption(fmt::format("the L2 entry {:#x} leads nowhere", value.descriptor), false);
    };
    if (is_compressed(value)) {
      const CompressedPlace place = compressed_place(header_, value.descriptor);
      if (header_.external() || place.offset >= file_.end() || place.bytes > 2 * header_.cluster_bytes() ||
          (value.descriptor & entry::copied) != 0) {
        wrong();
        return {};
      }
      if (use.active) ++findings_.data_clusters, ++findings_.compressed_clusters;
      return range(place.offset, place.bytes, "compressed data", use.times);
    }
    for (u64 sub = 0; sub < (header_.extended() ? 32u : 1u); ++sub) {
      if (kind_at(header_, value, sub) != Kind::bad) continue;
      wrong();
      return {};
    }
    if (!has_host(header_, value)) return {};
    if (use.active && kind_at(header_, value, 0) == Kind::data) ++findings_.data_clusters;
    if (header_.external()) return {};
    if (!in_file(host_offset(value))) {
      wrong();
      return {};
    }
    return range(host_offset(value), 1, "data", use.times);
  }

  const HostFile& file_;
  const Structure& structure_;
  const Header& header_;
  ClusterCounts& counts_;
  Findings& findings_;
  std::map<u64, Use> l2_tables_;
  u64 table_bytes_ = 0;  // L1 tables and directories: different ones never overlap in a sound image
};

void compare(const ClusterCounts& stored, const ClusterCounts& counted, Findings& findings) {
  counted.for_each([&](u64 cluster, u32 count) {
    if (stored.get(cluster) < count)
      findings.corruption(fmt::format("cluster {} counts {} and is used {} times", cluster, stored.get(cluster), count));
  });
  stored.for_each([&](u64 cluster, u32 count) {
    if (count > counted.get(cluster))
      findings.leak(
          fmt::format("cluster {} is leaked: it counts {} and is used {} times", cluster, count, counted.get(cluster)));
  });
}

// The flags that say "counts exactly 1", of the active tables.
Result<> check_flags(const HostFile& file, const Structure& structure, const ClusterCounts& stored, Findings& findings) {
  const Header& header = structure.header;
  const auto check = [&](u64 value, u64 cluster, const char* what) {
    if ((stored.get(cluster) == 1) != ((value & entry::copied) != 0)) {
      findings.corruption(
          fmt::format("the {} entry {:#x} is wrong about its cluster's refcount {}", what, value, stored.get(cluster)));
    }
  };
  for (const u64 value : structure.l1) {
    const u64 offset = value & entry::offset_mask;
    if (offset == 0 || (offset & (header.cluster_bytes() - 1)) != 0 || offset >= file.end()) continue;
    check(value, offset >> header.cluster_bits, "L1");
    std::vector<u8> bytes(header.cluster_bytes());
    TRY(file.read_now(offset, bytes));
    for (u64 at = 0; at < bytes.size() && !header.external(); at += header.l2_entry_bytes()) {
      const L2Entry one = load_entry(header, &bytes[at]);
      if (has_host(header, one) && (host_offset(one) & (header.cluster_bytes() - 1)) == 0)
        check(one.descriptor, host_offset(one) >> header.cluster_bits, "L2");
    }
  }
  return {};
}

}  // namespace

Result<> count_references(const HostFile& file, const Structure& structure, bool refcounts_too, ClusterCounts& counts,
                          Findings& findings) {
  return Counter(file, structure, counts, findings).count(refcounts_too);
}

Result<> read_refcounts(const HostFile& file, const Header& header, ClusterCounts& stored, Findings& findings) {
  const u64 bytes = header.refcount_table_clusters * header.cluster_bytes();
  std::vector<u64> blocks(bytes / 8);
  TRY(file.read_now(header.refcount_table_offset, {reinterpret_cast<u8*>(blocks.data()), bytes}));
  std::vector<u8> block(header.cluster_bytes());
  const u64 file_clusters = header.clusters_of(file.end());
  for (u64 i = 0; i < blocks.size(); ++i) {
    const u64 offset = load_be<u64>(&blocks[i]);
    if (offset == 0 || (offset & (header.cluster_bytes() - 1)) != 0 || offset >= file.end()) continue;
    TRY(file.read_now(offset, block));
    for (u64 j = 0; j < header.refcounts_per_block(); ++j) {
      const u64 count = load_refcount(block.data(), j, header.refcount_order);
      if (count == 0) continue;
      const u64 cluster = i * header.refcounts_per_block() + j;
      if (cluster >= file_clusters) {  // of no data: hostile tables could name any number of them
        findings.leak(fmt::format("cluster {} is leaked: it counts {} beyond the end of the file", cluster, count));
      } else if (!stored.add(cluster, static_cast<u32>(std::min<u64>(count, ~u32{0})))) {
        return fail(fmt::format("disk '{}' is too large to be checked", file.path()));
      }
    }
  }
  return {};
}

Result<Findings> check(Image& image) {
  TRY(image.settle());
  Findings findings;
  const Structure structure = TRY(structure_of(image));
  ClusterCounts counted, stored;
  TRY(count_references(image.file(), structure, true, counted, findings));
  TRY(read_refcounts(image.file(), structure.header, stored, findings));
  compare(stored, counted, findings);
  TRY(check_flags(image.file(), structure, stored, findings));
  return findings;
}

}  // namespace doppel::disk::qcow2
