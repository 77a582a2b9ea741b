// See snapshot_table.h.
//
//   0 L1 offset  8 L1 entries  12 id length  14 name length  16 seconds  20 nanoseconds  24 guest time  32 state bytes
//  36 extra length  40 extra: state bytes, disk bytes, …  then id, name, padding to 8
#include "disk/qcow2/snapshot_table.h"

#include <fmt/format.h>

namespace doppel::disk::qcow2 {

namespace {

constexpr u64 fixed_bytes = 40, known_extra_bytes = 16, max_extra_bytes = 1024;

}  // namespace

Result<std::vector<Snapshot>> read_snapshots(const HostFile& file, const Header& header) {
  std::vector<Snapshot> snapshots;
  const auto wrong = [&](const char* what) {
    return fail(fmt::format("disk '{}' is damaged: entry {} of its table of snapshots {}", file.path(),
                            snapshots.size(), what));
  };
  u64 at = header.snapshots_offset;
  const u64 bound = at + max_snapshot_table_bytes;
  while (snapshots.size() < header.snapshot_count) {
    std::vector<u8> bytes(fixed_bytes);
    if (at + fixed_bytes > file.end()) return wrong("lies beyond the end of the file");
    TRY(file.read_now(at, bytes));
    Snapshot one{
        .l1_offset = load_be<u64>(&bytes[0]),
        .l1_entries = load_be<u32>(&bytes[8]),
        .seconds = load_be<u32>(&bytes[16]),
        .nanoseconds = load_be<u32>(&bytes[20]),
        .guest_nanoseconds = load_be<u64>(&bytes[24]),
        .machine_state_bytes = load_be<u32>(&bytes[32]),
        .disk_bytes = header.size_bytes,
    };
    const u64 id = load_be<u16>(&bytes[12]), name = load_be<u16>(&bytes[14]), extra = load_be<u32>(&bytes[36]);
    if (extra > max_extra_bytes) return wrong("has more extra data than any can have");
    bytes.resize(extra + id + name);
    if (at + fixed_bytes + bytes.size() > file.end()) return wrong("leaves the file");
    TRY(file.read_now(at + fixed_bytes, bytes));
    if (extra >= 8) one.machine_state_bytes = load_be<u64>(&bytes[0]);
    if (extra >= 16) one.disk_bytes = load_be<u64>(&bytes[8]);
    const auto text = [&](u64 from, u64 length) {
      return std::string(bytes.begin() + static_cast<i64>(from), bytes.begin() + static_cast<i64>(from + length));
    };
    if (extra > known_extra_bytes) one.more = text(known_extra_bytes, extra - known_extra_bytes);
    one.id = text(extra, id);
    one.name = text(extra + id, name);
    if ((one.l1_offset & (header.cluster_bytes() - 1)) != 0 || u64{one.l1_entries} * 8 > max_l1_bytes ||
        one.l1_offset > file.end() || u64{one.l1_entries} * 8 > file.end() - one.l1_offset)
      return wrong("has its L1 table where none can be");
    if (one.disk_bytes > max_size_bytes) return wrong("is of a disk that is too large");
    at += align_up(fixed_bytes + bytes.size(), 8);
    if (at > bound) return wrong("ends beyond 64 MiB");
    snapshots.push_back(std::move(one));
  }
  return snapshots;
}

std::string encode_snapshots(const std::vector<Snapshot>& snapshots) {
  std::string table;
  for (const Snapshot& one : snapshots) {
    std::string row(fixed_bytes + known_extra_bytes, '\0');
    store_be<u64>(&row[0], one.l1_offset);
    store_be<u32>(&row[8], one.l1_entries);
    store_be<u16>(&row[12], static_cast<u16>(one.id.size()));
    store_be<u16>(&row[14], static_cast<u16>(one.name.size()));
    store_be<u32>(&row[16], one.seconds);
    store_be<u32>(&row[20], one.nanoseconds);
    store_be<u64>(&row[24], one.guest_nanoseconds);
    store_be<u32>(&row[32], one.machine_state_bytes > ~u32{0} ? 0 : static_cast<u32>(one.machine_state_bytes));
    store_be<u32>(&row[36], static_cast<u32>(known_extra_bytes + one.more.size()));
    store_be<u64>(&row[40], one.machine_state_bytes);
    store_be<u64>(&row[48], one.disk_bytes);
    row += one.more + one.id + one.name;
    row.resize(align_up(row.size(), 8));
    table += row;
  }
  return table;
}

u64 snapshot_table_bytes(const std::vector<Snapshot>& snapshots) { return encode_snapshots(snapshots).size(); }

}  // namespace doppel::disk::qcow2
