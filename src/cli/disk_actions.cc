// See disk_command.h: the commands that look at images or change them.
#include <fmt/chrono.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <chrono>

#include "base/units.h"
#include "cli/disk_command.h"
#include "cli/json_text.h"
#include "disk/qcow2/transaction.h"

namespace doppel::cli {

using disk::Format;
namespace qcow2 = disk::qcow2;

namespace {

std::string json_bool(bool value) { return value ? "true" : "false"; }
std::string json_or_null(const std::string& text) { return text.empty() ? "null" : json_text(text); }

std::string json_of(const qcow2::Snapshot& snapshot) {
  return fmt::format("{{\"id\": {}, \"name\": {}, \"created\": {}, \"disk_bytes\": {}, \"machine_state_bytes\": {}}}",
                     json_text(snapshot.id), json_text(snapshot.name), snapshot.seconds, snapshot.disk_bytes,
                     snapshot.machine_state_bytes);
}

std::string json_of(const std::vector<qcow2::Snapshot>& snapshots) {
  std::string text;
  for (const auto& snapshot : snapshots) text += (text.empty() ? "" : ", ") + json_of(snapshot);
  return "[" + text + "]";
}

void print(const std::vector<qcow2::Snapshot>& snapshots) {
  if (snapshots.empty()) return;
  fmt::print("{:<4}  {:<24}  {:<16}  {:>9}\n", "ID", "NAME", "MADE", "SIZE");
  for (const auto& snapshot : snapshots) {
    fmt::print("{:<4}  {:<24}  {:%Y-%m-%d %H:%M}  {:>9}\n", snapshot.id, snapshot.name,
               fmt::localtime(static_cast<std::time_t>(snapshot.seconds)), format_size(snapshot.disk_bytes));
  }
}

u64 used_bytes(const std::string& path) {
  struct stat info{};
  return ::stat(path.c_str(), &info) == 0 ? static_cast<u64>(info.st_blocks) * 512 : 0;
}

u64 nanoseconds_since_1970() {
  return static_cast<u64>(
      std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::system_clock::now().time_since_epoch()).count());
}

}  // namespace

Result<int> DiskCommand::info() {
  if (TRY(format_of(path_, format_)) == Format::raw) {
    const auto image = TRY(disk::open_disk({.path = path_, .format = Format::raw, .read_only = true}, *engine_));
    if (json_) {
      fmt::print("{{\"path\": {}, \"format\": \"raw\", \"size_bytes\": {}, \"used_bytes\": {}}}\n", json_text(path_),
                 image->size_bytes(), used_bytes(path_));
    } else {
      fmt::print("format     raw\nsize       {}\nused       {}\n", format_size(image->size_bytes()),
                 format_size(used_bytes(path_)));
    }
    return 0;
  }
  const auto image = TRY(open_qcow2({.read_only = true, .alone = true, .purpose = qcow2::Image::Purpose::inspect}, ""));
  const qcow2::Header& header = image->header();
  const auto snapshots = TRY(qcow2::snapshots_of(*image));
  const std::string compression = header.compression == qcow2::Compression::zstd ? "zstd" : "zlib";
  if (json_) {
    fmt::print(
        "{{\"path\": {}, \"format\": \"qcow2\", \"size_bytes\": {}, \"used_bytes\": {}, \"version\": {}, "
        "\"cluster_bytes\": "
        "{}, \"refcount_bits\": {}, \"lazy_refcounts\": {}, \"extended_l2\": {}, \"compression\": {}, \"dirty\": {}, "
        "\"corrupt\": {}, \"backing\": {}, \"backing_format\": {}, \"data_file\": {}, \"snapshots\": {}}}\n",
        json_text(path_), image->size_bytes(), used_bytes(path_), header.version, header.cluster_bytes(),
        header.refcount_bits(), json_bool(header.lazy()), json_bool(header.extended()), json_text(compression),
        json_bool(header.dirty()), json_bool(header.corrupt()), json_or_null(header.backing_name),
        json_or_null(header.backing_format()), json_or_null(header.data_file()), json_of(snapshots));
    return 0;
  }
  fmt::print(
      "format     qcow2, version {}\nsize       {}\nused       {}\nclusters   {}, refcounts of {} bits{}{}, {}\n",
      header.version, format_size(image->size_bytes()), format_size(used_bytes(path_)),
      format_size(header.cluster_bytes()), header.refcount_bits(), header.lazy() ? ", lazy" : "",
      header.extended() ? ", with subclusters" : "", compression);
  if (!header.backing_name.empty()) {
    const std::string format = header.backing_format();
    fmt::print("backing    {} ({})\n", header.backing_name, format.empty() ? "format not said" : format);
  }
  if (header.external()) fmt::print("data       {}{}\n", header.data_file(), header.raw_external() ? " (raw)" : "");
  if (header.dirty()) fmt::print("state      not closed properly: repaired when it is next opened for writing\n");
  if (header.corrupt()) fmt::print("state      marked as corrupt\n");
  print(snapshots);
  return 0;
}

Result<int> DiskCommand::check() {
  const auto image = TRY(open_qcow2({.read_only = !repair_, .alone = true, .purpose = qcow2::Image::Purpose::inspect},
                                    "has nothing to be checked"));
  qcow2::Findings findings = TRY(qcow2::check(*image));
  bool repaired = false;
  if (repair_ && (!findings.clean() || image->header().dirty() || image->header().corrupt())) {
    if (findings.not_repairable != 0) {
      return fail(fmt::format("disk '{}' cannot be repaired: {} entries lead nowhere, the first: {}", path_,
                              findings.not_repairable, findings.lines.front()));
    }
    TRY(qcow2::repair_refcounts(*image));
    findings = TRY(qcow2::check(*image));
    repaired = true;
  }
  const int status = findings.corruptions != 0 ? 1 : findings.leaks != 0 ? 3 : 0;
  if (json_) {
    std::string lines;
    for (const std::string& line : findings.lines) lines += (lines.empty() ? "" : ", ") + json_text(line);
    fmt::print(
        "{{\"path\": {}, \"corruptions\": {}, \"leaks\": {}, \"repaired\": {}, \"data_clusters\": {}, "
        "\"compressed_clusters\": {}, \"image_end_bytes\": {}, \"findings\": [{}]}}\n",
        json_text(path_), findings.corruptions, findings.leaks, json_bool(repaired), findings.data_clusters,
        findings.compressed_clusters, findings.image_end_bytes, lines);
    return status;
  }
  for (const std::string& line : findings.lines) fmt::print("{}\n", line);
  if (repaired) fmt::print("repaired\n");
  if (findings.clean()) {
    fmt::print("no errors: {} clusters of data, {} of them compressed\n", findings.data_clusters,
               findings.compressed_clusters);
  } else {
    fmt::print("{} errors, {} leaked clusters; try: doppel disk check --repair '{}'\n", findings.corruptions,
               findings.leaks, path_);
  }
  return status;
}

Result<int> DiskCommand::resize() {
  const bool more = size_.starts_with('+');
  const auto given = parse_size(std::string_view(size_).substr(more ? 1 : 0));
  if (!given) return usage_error("SIZE: " + given.error().message);
  const Format format = TRY(format_of(path_, format_));
  std::unique_ptr<disk::BlockImage> image;
  u64 before = 0;
  if (format == Format::raw && used_bytes(path_) == 0 && ::access(path_.c_str(), W_OK) == 0) {
    // An empty file is no disk yet.
    struct stat info{};
    if (::stat(path_.c_str(), &info) == 0 && S_ISREG(info.st_mode) && info.st_size == 0) {
      if (*given % disk::sector_bytes != 0 || *given == 0)
        return usage_error("SIZE: a disk's size is a multiple of 512 bytes");
      if (::truncate(path_.c_str(), static_cast<off_t>(*given)) != 0)
        return fail_errno(fmt::format("cannot change the size of disk '{}'", path_));
      return 0;
    }
  }
  image = TRY(open(path_, format == Format::qcow2 ? "qcow2" : "raw", false));
  before = image->size_bytes();
  if (more && *given > ~u64{0} - before) return usage_error("SIZE: no disk can be so large");
  const u64 size = more ? before + *given : *given;
  if (size % disk::sector_bytes != 0 || size == 0) return usage_error("SIZE: a disk's size is a multiple of 512 bytes");
  if (size < before && !shrink_) {
    return fail(fmt::format("disk '{}' has {}: to make it smaller, and lose what lies beyond, say --shrink", path_,
                            format_size(before)));
  }
  TRY(disk::wait_for(*image, "change the size of",
                     [&](disk::Completion done) { image->resize(size, std::move(done)); }));
  if (auto* resized = qcow2::as_qcow2(image.get())) TRY(resized->settle());
  return 0;
}

Result<int> DiskCommand::snapshot() {
  const bool listing = snapshot_list_->parsed();
  const auto image = TRY(open_qcow2({.read_only = listing, .alone = true}, "can have no snapshots"));
  if (listing) {
    const auto snapshots = TRY(qcow2::snapshots_of(*image));
    if (json_) {
      fmt::print("{}\n", json_of(snapshots));
    } else {
      print(snapshots);
    }
    return 0;
  }
  if (name_.empty() || name_.size() > 255) return usage_error("NAME: a snapshot's name has 1 to 255 characters");
  if (snapshot_create_->parsed()) TRY(qcow2::create_snapshot(*image, name_, nanoseconds_since_1970()));
  if (snapshot_apply_->parsed()) TRY(qcow2::apply_snapshot(*image, name_));
  if (snapshot_delete_->parsed()) TRY(qcow2::delete_snapshot(*image, name_));
  return 0;
}

Result<int> DiskCommand::commit() {
  const auto image = TRY(open_qcow2({.commit = true}, "has no backing file"));
  if (image->backing() == nullptr) return fail(fmt::format("disk '{}' has no backing file to commit to", path_));
  TRY(disk::commit_image(*image, progress("committing")));
  if (auto* below = qcow2::as_qcow2(image->backing())) TRY(below->settle());
  if (!keep_) TRY(qcow2::make_empty(*image));
  return 0;
}

Result<int> DiskCommand::rebase() {
  const auto image = TRY(open_qcow2({.alone = unsafe_}, "can have no backing file"));
  std::unique_ptr<disk::BlockImage> next;
  std::string name, format;
  if (!backing_.empty()) {
    name = backing_.substr(0, backing_.find(','));
    if (unsafe_) {
      const std::string rest = backing_.substr(name.size());
      const bool named = rest.starts_with(",format=");
      if (!rest.empty() && !named)
        return usage_error(
            fmt::format("--backing: unknown setting '{}': use format=raw or format=qcow2", rest.substr(1)));
      const std::string behind = TRY(disk::backing_path(path_, name));
      format = disk::format_name(TRY(format_of(behind, named ? rest.substr(8) : "")));
    } else {
      u64 size = 0;
      format = TRY(backed(size)).backing_format;
      const std::string behind = TRY(disk::backing_path(path_, name));
      const Format as = TRY(disk::parse_format(format));
      next = TRY(disk::open_backing(path_, behind, as, *engine_));
    }
  }
  if (image->header().raw_external() && !name.empty())
    return fail(fmt::format("disk '{}' has a raw data file: it can have no backing file", path_));
  if (!unsafe_) TRY(disk::keep_contents(*image, next.get(), progress("rebasing")));
  TRY(qcow2::change_backing(*image, name, format));
  return 0;
}

Result<int> DiskCommand::map() {
  const auto image = TRY(open(path_, format_, true));
  const u64 size = image->size_bytes();
  std::string rows;
  if (!json_) fmt::print("{:>16}  {:>16}  {:<10}  {:>5}  {:>16}\n", "OFFSET", "BYTES", "KIND", "DEPTH", "PLACE");
  const auto print = [&](const disk::Extent& one) {
    constexpr const char* kinds[] = {"data", "zero", "compressed"};
    const char* kind = kinds[static_cast<unsigned>(one.kind)];
    if (json_) {
      fmt::print("{}{{\"offset\": {}, \"bytes\": {}, \"kind\": \"{}\", \"depth\": {}, \"place\": {}}}",
                 one.offset == 0 ? "[" : ",\n ", one.offset, one.bytes, kind, one.depth,
                 one.place ? std::to_string(*one.place) : "null");
    } else if (one.kind != disk::Extent::Kind::zero) {
      fmt::print("{:>16}  {:>16}  {:<10}  {:>5}  {:>16}\n", one.offset, one.bytes, kind, one.depth,
                 one.place ? std::to_string(*one.place) : "");
    }
  };
  disk::Extent pending;
  for (u64 at = 0; at < size;) {
    const disk::Extent next = TRY(disk::extent_at(*image, at, size - at));
    const bool goes_on = pending.bytes != 0 && next.kind == pending.kind && next.depth == pending.depth &&
                         next.place.has_value() == pending.place.has_value() &&
                         (!next.place || *next.place == *pending.place + pending.bytes);
    if (goes_on) {
      pending.bytes += next.bytes;
    } else {
      if (pending.bytes != 0) print(pending);
      pending = next;
    }
    at += next.bytes;
  }
  if (pending.bytes != 0) print(pending);
  if (json_) fmt::print("{}]\n", size == 0 ? "[" : "");
  return 0;
}

Result<int> DiskCommand::compare() {
  const auto one = TRY(open(path_, format_, true)), other = TRY(open(other_, other_format_, true));
  if (strict_ && one->size_bytes() != other->size_bytes()) {
    fmt::print("the sizes differ: {} and {} bytes\n", one->size_bytes(), other->size_bytes());
    return 1;
  }
  const auto differs = TRY(disk::compare_images(*one, *other, progress("comparing")));
  if (differs) {
    fmt::print("the disks differ at offset {}\n", *differs);
    return 1;
  }
  fmt::print("the disks are the same\n");
  return 0;
}

}  // namespace doppel::cli
