// The qcow2 format, versions 2 and 3, as QEMU's docs/interop/qcow2.txt describes it ("the specification" in this folder).
// Numbers on disk are big endian. This file names fields and says where they lie; header.cc reads and writes headers.
#pragma once

#include <bit>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/bits.h"
#include "base/result.h"
#include "base/types.h"
#include "base/units.h"

namespace doppel::disk::qcow2 {

template <class T>
T load_be(const void* from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  if constexpr (sizeof(T) == 1) return value;
  if constexpr (sizeof(T) == 2) return __builtin_bswap16(value);
  if constexpr (sizeof(T) == 4) return __builtin_bswap32(value);
  if constexpr (sizeof(T) == 8) return __builtin_bswap64(value);
}

template <class T>
void store_be(void* to, T value) {
  if constexpr (sizeof(T) == 2) value = __builtin_bswap16(value);
  if constexpr (sizeof(T) == 4) value = __builtin_bswap32(value);
  if constexpr (sizeof(T) == 8) value = __builtin_bswap64(value);
  std::memcpy(to, &value, sizeof value);
}

constexpr char magic[] = "QFI\xfb";
constexpr u64 header_sector = 512;  // holds every field that changes while an image is used: one write changes them together

// What other implementations hold to as well ("Header": notes on QEMU).
constexpr unsigned min_cluster_bits = 9, max_cluster_bits = 21, min_extended_cluster_bits = 14;
constexpr u64 max_l1_bytes = 32 * MiB, max_refcount_table_bytes = 8 * MiB, max_size_bytes = u64{1} << 61;
constexpr u32 max_snapshots = 65536, max_name_bytes = 1023;
constexpr u64 max_snapshot_table_bytes = 64 * MiB;

namespace incompatible {
constexpr u64 dirty = 1, corrupt = 2, data_file = 4, compression = 8, extended_l2 = 16, known = 31;
}
namespace compatible {
constexpr u64 lazy_refcounts = 1;
}
namespace autoclear {
constexpr u64 bitmaps = 1, raw_data_file = 2;
}

namespace extension {
constexpr u32 end = 0, backing_format = 0xe2792aca, feature_names = 0x6803f857, bitmaps = 0x23852875,
              encryption = 0x0537be77, data_file = 0x44415441;
}

// L1 and L2 entries ("Cluster mapping").
namespace entry {
using Offset = Bits<9, 47>;  // in units of 512 bytes
constexpr u64 offset_mask = Offset::mask;
constexpr u64 zero = 1, compressed = u64{1} << 62, copied = u64{1} << 63;
constexpr u64 l1_reserved = ~(offset_mask | copied), l2_reserved = ~(offset_mask | copied | zero);
}  // namespace entry

enum class Compression : u8 { zlib = 0, zstd = 1 };

struct Extension {
  u32 type;
  std::string data;
};

struct Header {
  u32 version = 3;
  u32 cluster_bits = 16;
  u64 size_bytes = 0;
  u32 l1_entries = 0;
  u64 l1_offset = 0;
  u64 refcount_table_offset = 0;
  u32 refcount_table_clusters = 0;
  u32 snapshot_count = 0;
  u64 snapshots_offset = 0;
  u64 incompatible = 0, compatible = 0, autoclear = 0;
  u32 refcount_order = 4;
  Compression compression = Compression::zlib;
  std::string backing_name;           // empty: none
  u64 backing_offset = 0;             // where the name lies, as read
  std::string additional;             // what a longer header than ours has after the fields that are known, kept
  std::vector<Extension> extensions;  // in their order, unknown ones too

  u64 cluster_bytes() const { return u64{1} << cluster_bits; }
  bool extended() const { return (incompatible & incompatible::extended_l2) != 0; }
  bool external() const { return (incompatible & incompatible::data_file) != 0; }
  bool raw_external() const { return external() && (autoclear & autoclear::raw_data_file) != 0; }
  bool dirty() const { return (incompatible & incompatible::dirty) != 0; }
  bool corrupt() const { return (incompatible & incompatible::corrupt) != 0; }
  bool lazy() const { return version >= 3 && (compatible & compatible::lazy_refcounts) != 0; }

  unsigned l2_entry_bytes() const { return extended() ? 16 : 8; }
  unsigned l2_bits() const { return cluster_bits - (extended() ? 4 : 3); }  // log2 of the entries in a table
  u64 l1_coverage_bytes() const { return u64{1} << (l2_bits() + cluster_bits); }
  unsigned subcluster_bits() const { return extended() ? cluster_bits - 5 : cluster_bits; }
  unsigned refcount_bits() const { return 1u << refcount_order; }
  u64 max_refcount() const { return low_bits(refcount_bits()); }
  u64 refcounts_per_block() const { return cluster_bytes() * 8 / refcount_bits(); }
  u64 clusters_of(u64 bytes) const { return (bytes >> cluster_bits) + ((bytes & (cluster_bytes() - 1)) != 0 ? 1 : 0); }
  u32 l1_entries_for(u64 bytes) const {
    return static_cast<u32>((bytes >> (l2_bits() + cluster_bits)) + ((bytes & (l1_coverage_bytes() - 1)) != 0 ? 1 : 0));
  }

  const std::string* find_extension(u32 type) const;
  void set_extension(u32 type, std::string data);  // the backing format goes first; an empty text removes it
  std::string backing_format() const;
  std::string data_file() const;

  // Writes the fixed fields over the start of the file, leaving alone what follows them.
  void patch(std::span<u8, header_sector> sector) const;
  // The whole header area with extensions and the backing file's name. An error when it does not fit a cluster.
  Result<std::string> encode() const;
};

// `start` is the file's beginning, as much of it as there is, up to one cluster. Checks every field for itself and against
// the file's length; errors begin with "disk 'path'".
Result<Header> parse_header(std::span<const u8> start, u64 file_bytes, const std::string& path);
bool has_magic(std::span<const u8> start);

// The bitmaps extension ("Bitmaps extension"); nothing if there is none, or it does not count for want of its bit.
struct BitmapDirectory {
  u32 count;
  u64 bytes, offset;
};
std::optional<BitmapDirectory> bitmap_directory(const Header& header);

// What one L2 entry says about the cluster, from one subcluster on.
enum class Kind : u8 { unallocated, zero, data, compressed, bad };
struct L2Entry {
  u64 descriptor = 0;
  u64 bitmap = 0;  // extended entries only: allocated in the low half, zero in the high half
  bool operator==(const L2Entry&) const = default;
};
L2Entry load_entry(const Header& header, const u8* at);
void store_entry(const Header& header, u8* at, L2Entry value);

constexpr u64 all_subclusters = 0xffffffff;
inline u64 subcluster_mask(u64 first, u64 count) { return low_bits(static_cast<unsigned>(count)) << first; }

// The host cluster that a standard entry holds, whether it is read from or not; 0: none. Not for compressed entries.
inline u64 host_offset(L2Entry value) { return value.descriptor & entry::offset_mask; }
bool has_host(const Header& header, L2Entry value);
bool is_compressed(L2Entry value);
Kind kind_at(const Header& header, L2Entry value, u64 subcluster);

struct CompressedPlace {
  u64 offset, bytes;  // up to the end of the last sector
};
CompressedPlace compressed_place(const Header& header, u64 descriptor);
u64 compressed_descriptor(const Header& header, u64 offset, u64 bytes);
// The highest offset at which compressed data may begin.
u64 compressed_limit(const Header& header);

// Entry `index` of a refcount block.
u64 load_refcount(const u8* block, u64 index, unsigned order);
void store_refcount(u8* block, u64 index, unsigned order, u64 value);

}  // namespace doppel::disk::qcow2
