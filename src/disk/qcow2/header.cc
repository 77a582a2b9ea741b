// Headers of qcow2 images: reading with every field checked, and writing; see format.h.
//
//    0 magic     4 version           8 backing name offset 16 its length   20 cluster bits   24 size
//   32 crypt    36 L1 entries       40 L1 offset           48 refcount table offset          56 its clusters
//   60 snapshots                    64 snapshot table      version 2 ends here (72)
//   72 incompatible  80 compatible  88 autoclear  96 refcount order  100 header length  104 compression type
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

#include "disk/qcow2/format.h"

namespace doppel::disk::qcow2 {

namespace {

constexpr u32 header_bytes_v2 = 72, header_bytes_v3 = 104, header_bytes_ours = 112;
constexpr std::size_t max_extensions = 1000;

constexpr std::array<std::pair<u64, const char*>, 5> incompatible_names{{
    {0, "dirty bit"},
    {1, "corrupt bit"},
    {2, "external data file"},
    {3, "compression type"},
    {4, "extended L2 entries"},
}};

// The name that the image's feature name table has for an incompatible bit; else "bit n".
std::string feature_name(const Header& header, unsigned bit) {
  constexpr std::size_t row = 48;
  if (const std::string* table = header.find_extension(extension::feature_names)) {
    for (std::size_t at = 0; at + row <= table->size(); at += row) {
      if ((*table)[at] != 0 || static_cast<u8>((*table)[at + 1]) != bit) continue;
      std::string name = table->substr(at + 2, row - 2);
      name.resize(std::min(name.size(), name.find('\0')));
      for (char& c : name) c = c < ' ' || c > '~' ? '?' : c;
      if (!name.empty()) return fmt::format("'{}' (bit {})", name, bit);
    }
  }
  return fmt::format("of bit {}, which has no name in it", bit);
}

std::string feature_table() {
  std::string table;
  const auto add = [&](char type, u64 bit, std::string name) {
    table += type;
    table += static_cast<char>(bit);
    name.resize(46);
    table += name;
  };
  for (const auto& [bit, name] : incompatible_names) add(0, bit, name);
  add(1, 0, "lazy refcounts");
  add(2, 0, "bitmaps");
  add(2, 1, "raw external data");
  return table;
}

// Parses one image; the methods go from the fixed fields to what they refer to.
class Parser {
 public:
  Parser(std::span<const u8> start, u64 file_bytes, const std::string& path)
      : start_(start), file_bytes_(file_bytes), path_(path) {}

  Result<Header> parse() {
    if (!has_magic(start_)) return wrong("is not a qcow2 image: it does not begin like one");
    if (start_.size() < header_bytes_v2) return wrong("is truncated within its header");
    TRY(fixed());
    if (header_.version >= 3) TRY(version_3());
    TRY(extensions());
    TRY(features());
    TRY(tables());
    TRY(backing());
    return header_;
  }

 private:
  template <class T>
  T field(std::size_t at) const {
    return load_be<T>(start_.data() + at);
  }
  std::unexpected<Error> wrong(const std::string& what) const { return fail(fmt::format("disk '{}' {}", path_, what)); }
  bool aligned(u64 offset) const { return (offset & (header_.cluster_bytes() - 1)) == 0; }
  bool in_file(u64 offset, u64 bytes) const { return offset <= file_bytes_ && bytes <= file_bytes_ - offset; }

  Result<> fixed() {
    header_.version = field<u32>(4);
    if (header_.version != 2 && header_.version != 3)
      return wrong(fmt::format("is a qcow image of version {}; versions 2 and 3 are known", header_.version));
    header_.cluster_bits = field<u32>(20);
    if (header_.cluster_bits < min_cluster_bits || header_.cluster_bits > max_cluster_bits) {
      return wrong(fmt::format("has clusters of 2^{} bytes; a qcow2 image has 2^{} to 2^{}", header_.cluster_bits,
                               min_cluster_bits, max_cluster_bits));
    }
    header_.size_bytes = field<u64>(24);
    const u32 crypt = field<u32>(32);
    if (crypt != 0) {
      return wrong(fmt::format("is encrypted ({}), which is not supported; decrypt it with: qemu-img convert",
                               crypt == 1   ? "AES"
                               : crypt == 2 ? "LUKS"
                                            : "by an unknown method"));
    }
    header_.l1_entries = field<u32>(36);
    header_.l1_offset = field<u64>(40);
    header_.refcount_table_offset = field<u64>(48);
    header_.refcount_table_clusters = field<u32>(56);
    header_.snapshot_count = field<u32>(60);
    header_.snapshots_offset = field<u64>(64);
    return {};
  }

  Result<> version_3() {
    if (start_.size() < header_bytes_v3) return wrong("is truncated within its header");
    header_.incompatible = field<u64>(72);
    header_.compatible = field<u64>(80);
    header_.autoclear = field<u64>(88);
    header_.refcount_order = field<u32>(96);
    header_bytes_ = field<u32>(100);
    if (header_bytes_ < header_bytes_v3 || header_bytes_ % 8 != 0 || header_bytes_ > header_.cluster_bytes())
      return wrong(fmt::format("has a header of {} bytes, which none can have", header_bytes_));
    if (header_bytes_ > start_.size()) return wrong("is truncated within its header");
    if (header_bytes_ > header_bytes_v3) compression_ = field<u8>(104);
    if (header_bytes_ > header_bytes_ours) {
      header_.additional.assign(reinterpret_cast<const char*>(start_.data()) + header_bytes_ours,
                                header_bytes_ - header_bytes_ours);
    }
    return {};
  }

  Result<> extensions() {
    u64 end = std::min<u64>(start_.size(), header_.cluster_bytes());
    const u64 name = field<u64>(8);
    if (name != 0) end = std::min(end, name);
    for (u64 at = header_bytes_; at + 8 <= end;) {
      const u32 type = field<u32>(at), bytes = field<u32>(at + 4);
      if (type == extension::end) return {};
      at += 8;
      if (bytes > end - at || header_.extensions.size() >= max_extensions)
        return wrong(fmt::format("has a header extension ({:#010x}) that leaves the header", type));
      header_.extensions.push_back({type, std::string(reinterpret_cast<const char*>(start_.data()) + at, bytes)});
      at += align_up(bytes, 8);
    }
    return {};
  }

  Result<> features() {
    if (const u64 unknown = header_.incompatible & ~incompatible::known; unknown != 0) {
      return wrong(fmt::format("needs the feature {}, which is not supported",
                               feature_name(header_, static_cast<unsigned>(std::countr_zero(unknown)))));
    }
    if (header_.refcount_order > 6)
      return wrong(fmt::format("has refcounts of 2^{} bits; the format ends at 64", header_.refcount_order));
    if (header_.extended() && header_.cluster_bits < min_extended_cluster_bits)
      return wrong("has extended L2 entries and clusters below 16 KiB, which the format forbids");
    const bool other = (header_.incompatible & incompatible::compression) != 0;
    if (other != (compression_ != 0)) return wrong("says two things about how its clusters are compressed");
    if (compression_ > 1) return wrong(fmt::format("is compressed with the unknown method {}", compression_));
    header_.compression = static_cast<Compression>(compression_);
    if (!header_.external() && (header_.autoclear & autoclear::raw_data_file) != 0)
      return wrong("has a raw external data file and no external data file");
    return {};
  }

  Result<> tables() {
    const u64 cluster = header_.cluster_bytes();
    if (header_.size_bytes > max_size_bytes)
      return wrong(fmt::format("says that it has {} bytes, more than a disk can have", header_.size_bytes));
    const u64 l1_bytes = u64{header_.l1_entries} * 8;
    const u64 coverage_bits = header_.l2_bits() + header_.cluster_bits;
    const u64 needed = (header_.size_bytes >> coverage_bits) +
                       ((header_.size_bytes & low_bits(static_cast<unsigned>(coverage_bits))) != 0 ? 1 : 0);
    if (l1_bytes > max_l1_bytes || needed * 8 > max_l1_bytes) return wrong("has an L1 table of more than 32 MiB");
    if (needed > header_.l1_entries) {
      return wrong(fmt::format("has an L1 table of {} entries, too small for its {} bytes", header_.l1_entries,
                               header_.size_bytes));
    }
    if (header_.l1_entries != 0 && (header_.l1_offset == 0 || !aligned(header_.l1_offset)))
      return wrong(fmt::format("has its L1 table at {:#x}, where no cluster begins", header_.l1_offset));
    if (!in_file(header_.l1_offset, l1_bytes)) return wrong("is truncated: its L1 table lies beyond its end");
    const u64 table_bytes = u64{header_.refcount_table_clusters} * cluster;
    if (table_bytes == 0) return wrong("has no refcount table");
    if (table_bytes > max_refcount_table_bytes) return wrong("has a refcount table of more than 8 MiB");
    if (header_.refcount_table_offset == 0 || !aligned(header_.refcount_table_offset)) {
      return wrong(
          fmt::format("has its refcount table at {:#x}, where no cluster begins", header_.refcount_table_offset));
    }
    if (!in_file(header_.refcount_table_offset, 8))
      return wrong("is truncated: its refcount table lies beyond its end");
    if (header_.snapshot_count > max_snapshots)
      return wrong(fmt::format("says that it has {} snapshots; at most 65536 can be", header_.snapshot_count));
    if (header_.snapshot_count != 0 && (!aligned(header_.snapshots_offset) || !in_file(header_.snapshots_offset, 40)))
      return wrong("has its table of snapshots where none can be");
    if (header_.external() && header_.snapshot_count != 0)
      return wrong("has an external data file and snapshots, which the format forbids");
    return {};
  }

  Result<> backing() {
    header_.backing_offset = field<u64>(8);
    const u32 bytes = field<u32>(16);
    if (header_.backing_offset == 0) return {};
    if (bytes > max_name_bytes) return wrong(fmt::format("has a backing file's name of {} bytes", bytes));
    if (header_.backing_offset > header_.cluster_bytes() || bytes > header_.cluster_bytes() - header_.backing_offset ||
        header_.backing_offset + bytes > start_.size())
      return wrong("has its backing file's name outside of its header");
    if (header_.raw_external())
      return wrong("has a raw external data file and a backing file, which the format forbids");
    header_.backing_name.assign(reinterpret_cast<const char*>(start_.data()) + header_.backing_offset, bytes);
    if (header_.backing_name.find('\0') != std::string::npos)
      return wrong("has a backing file's name with a zero byte");
    return {};
  }

  const std::span<const u8> start_;
  const u64 file_bytes_;
  const std::string& path_;
  Header header_;
  u32 header_bytes_ = header_bytes_v2;
  u8 compression_ = 0;
};

}  // namespace

bool has_magic(std::span<const u8> start) { return start.size() >= 4 && std::memcmp(start.data(), magic, 4) == 0; }

Result<Header> parse_header(std::span<const u8> start, u64 file_bytes, const std::string& path) {
  return Parser(start, file_bytes, path).parse();
}

const std::string* Header::find_extension(u32 type) const {
  const auto found = std::ranges::find(extensions, type, &Extension::type);
  return found == extensions.end() ? nullptr : &found->data;
}

void Header::set_extension(u32 type, std::string data) {
  const auto found = std::ranges::find(extensions, type, &Extension::type);
  if (found != extensions.end()) {
    if (data.empty()) {
      extensions.erase(found);
    } else {
      found->data = std::move(data);
    }
  } else if (!data.empty()) {
    const auto place = type == extension::backing_format ? extensions.begin() : extensions.end();
    extensions.insert(place, {type, std::move(data)});
  }
}

std::string Header::backing_format() const {
  const std::string* text = find_extension(extension::backing_format);
  return text == nullptr ? "" : *text;
}

std::string Header::data_file() const {
  const std::string* text = find_extension(extension::data_file);
  return text == nullptr ? "" : *text;
}

void Header::patch(std::span<u8, header_sector> sector) const {
  u8* at = sector.data();
  std::memcpy(at, magic, 4);
  store_be<u32>(at + 4, version);
  store_be<u64>(at + 8, backing_name.empty() ? 0 : backing_offset);
  store_be<u32>(at + 16, static_cast<u32>(backing_name.size()));
  store_be<u32>(at + 20, cluster_bits);
  store_be<u64>(at + 24, size_bytes);
  store_be<u32>(at + 32, 0);
  store_be<u32>(at + 36, l1_entries);
  store_be<u64>(at + 40, l1_offset);
  store_be<u64>(at + 48, refcount_table_offset);
  store_be<u32>(at + 56, refcount_table_clusters);
  store_be<u32>(at + 60, snapshot_count);
  store_be<u64>(at + 64, snapshot_count == 0 ? 0 : snapshots_offset);
  if (version < 3) return;
  store_be<u64>(at + 72, incompatible);
  store_be<u64>(at + 80, compatible);
  store_be<u64>(at + 88, autoclear);
  store_be<u32>(at + 96, refcount_order);
}

Result<std::string> Header::encode() const {
  std::string text(header_sector, '\0');
  Header placed = *this;
  std::string tail = additional;
  std::vector<Extension> all = extensions;
  if (version >= 3 && find_extension(extension::feature_names) == nullptr &&
      (cluster_bits > min_cluster_bits || backing_name.empty()))
    all.push_back({extension::feature_names, feature_table()});
  const auto append = [&](const Extension& one) {
    std::string piece(8, '\0');
    store_be<u32>(piece.data(), one.type);
    store_be<u32>(piece.data() + 4, static_cast<u32>(one.data.size()));
    piece += one.data;
    piece.resize(align_up(piece.size(), 8));
    tail += piece;
  };
  // With clusters of 512 bytes the table of names, which nothing needs, may be what does not fit.
  const u64 start = version < 3 ? header_bytes_v2 : header_bytes_ours;
  for (const Extension& one : all) {
    const bool fits = start + tail.size() + 16 + one.data.size() + backing_name.size() <= cluster_bytes();
    if (fits || one.type != extension::feature_names) append(one);
  }
  tail += std::string(8, '\0');
  placed.backing_offset = start + tail.size();
  if (placed.backing_offset + backing_name.size() > cluster_bytes())
    return fail("the header does not fit a cluster: use a shorter backing file name or larger clusters");
  placed.patch(std::span<u8, header_sector>(reinterpret_cast<u8*>(text.data()), header_sector));
  if (version >= 3) {
    store_be<u32>(text.data() + 100, static_cast<u32>(header_bytes_ours + additional.size()));
    text[104] = static_cast<char>(compression);
  }
  text.resize(std::max<u64>(header_sector, placed.backing_offset + backing_name.size()));
  text.replace(start, tail.size(), tail);
  text.replace(placed.backing_offset, backing_name.size(), backing_name);
  return text;
}

std::optional<BitmapDirectory> bitmap_directory(const Header& header) {
  const std::string* data = header.find_extension(extension::bitmaps);
  if (data == nullptr || data->size() < 24 || (header.autoclear & autoclear::bitmaps) == 0) return std::nullopt;
  return BitmapDirectory{load_be<u32>(data->data()), load_be<u64>(data->data() + 8), load_be<u64>(data->data() + 16)};
}

}  // namespace doppel::disk::qcow2
