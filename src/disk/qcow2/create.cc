// See create.h. A new image is: header, refcount table, refcount blocks, L1 table.
#include "disk/qcow2/create.h"

#include <fmt/format.h>

#include <algorithm>

#include "disk/block_image.h"

namespace doppel::disk::qcow2 {

Result<> check_options(const CreateOptions& options) {
  const auto version_3 = [&](bool wanted, const char* what) -> Result<> {
    if (wanted && options.version < 3) return usage_error(fmt::format("{} need version 3 of the format", what));
    return {};
  };
  if (options.version != 2 && options.version != 3) return usage_error("the format has the versions 2 and 3");
  if (options.cluster_bits < min_cluster_bits || options.cluster_bits > max_cluster_bits)
    return usage_error("clusters have 512 bytes to 2 MiB, a power of two");
  if (options.refcount_order > 6) return usage_error("refcounts have 1 to 64 bits, a power of two");
  TRY(version_3(options.refcount_order != 4, "refcounts of other than 16 bits"));
  TRY(version_3(options.lazy_refcounts, "lazy refcounts"));
  TRY(version_3(options.extended_l2, "extended L2 entries"));
  TRY(version_3(options.compression != Compression::zlib, "clusters compressed with zstd"));
  TRY(version_3(!options.data_file.empty(), "external data files"));
  if (options.extended_l2 && options.cluster_bits < min_extended_cluster_bits)
    return usage_error("extended L2 entries need clusters of 16 KiB or more");
  if (options.raw_data_file && options.data_file.empty()) return usage_error("a raw data file needs a data file");
  if (options.raw_data_file && !options.backing_name.empty())
    return usage_error("an image with a raw data file can have no backing file");
  if (options.backing_name.size() > max_name_bytes) return usage_error("the backing file's name is too long");
  if (options.size_bytes % sector_bytes != 0) return usage_error("the size must be a multiple of 512 bytes");
  Header header{.cluster_bits = options.cluster_bits};
  if (options.extended_l2) header.incompatible |= incompatible::extended_l2;
  const u64 most = max_l1_bytes / 8 * header.l1_coverage_bytes();
  if (options.size_bytes > std::min(most, max_size_bytes)) {
    return usage_error(fmt::format("with clusters of {} an image has at most {}; choose larger clusters",
                                   format_size(header.cluster_bytes()), format_size(most)));
  }
  return {};
}

Result<std::string> new_image(const CreateOptions& options) {
  TRY(check_options(options));
  Header header{
      .version = options.version,
      .cluster_bits = options.cluster_bits,
      .size_bytes = options.size_bytes,
      .refcount_order = options.refcount_order,
      .compression = options.compression,
      .backing_name = options.backing_name,
  };
  if (options.lazy_refcounts) header.compatible |= compatible::lazy_refcounts;
  if (options.extended_l2) header.incompatible |= incompatible::extended_l2;
  if (options.compression != Compression::zlib) header.incompatible |= incompatible::compression;
  if (!options.data_file.empty()) {
    header.incompatible |= incompatible::data_file;
    header.set_extension(extension::data_file, options.data_file);
  }
  if (options.raw_data_file) header.autoclear |= autoclear::raw_data_file;
  if (!options.backing_name.empty()) header.set_extension(extension::backing_format, options.backing_format);

  header.l1_entries = header.l1_entries_for(options.size_bytes);
  const u64 l1_clusters = std::max<u64>(header.clusters_of(u64{header.l1_entries} * 8), 1);
  u64 blocks = 1, table_clusters = 1;
  for (;;) {  // the more clusters, the more blocks count them
    const u64 clusters = 1 + table_clusters + blocks + l1_clusters;
    const u64 needed = (clusters + header.refcounts_per_block() - 1) / header.refcounts_per_block();
    const u64 table_needed = header.clusters_of(needed * 8);
    if (needed <= blocks && table_needed <= table_clusters) break;
    blocks = std::max(blocks, needed);
    table_clusters = std::max(table_clusters, table_needed);
  }
  if (table_clusters * header.cluster_bytes() > max_refcount_table_bytes)
    return usage_error("with these clusters and refcounts the image cannot have that size");
  const u64 cluster = header.cluster_bytes();
  header.refcount_table_offset = cluster;
  header.refcount_table_clusters = static_cast<u32>(table_clusters);
  header.l1_offset = (1 + table_clusters + blocks) * cluster;

  std::string bytes = TRY(header.encode());
  const u64 used = 1 + table_clusters + blocks + l1_clusters;
  bytes.resize(used * cluster);
  for (u64 block = 0; block < blocks; ++block) {
    const u64 place = (1 + table_clusters + block) * cluster;
    store_be(bytes.data() + header.refcount_table_offset + block * 8, place);
    const u64 from = block * header.refcounts_per_block();
    for (u64 i = 0; i < header.refcounts_per_block() && from + i < used; ++i)
      store_refcount(reinterpret_cast<u8*>(bytes.data()) + place, i, header.refcount_order, 1);
  }
  return bytes;
}

}  // namespace doppel::disk::qcow2
