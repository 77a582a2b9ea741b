// The directory of internal snapshots ("Snapshots" in the specification).
#pragma once

#include <span>
#include <string>
#include <vector>

#include "disk/host_file.h"
#include "disk/qcow2/format.h"

namespace doppel::disk::qcow2 {

struct Snapshot {
  u64 l1_offset = 0;
  u32 l1_entries = 0;
  std::string id, name;
  u32 seconds = 0, nanoseconds = 0;  // since 1970
  u64 guest_nanoseconds = 0;         // that the guest had run
  u64 machine_state_bytes = 0;       // that the image holds beyond the disk's end
  u64 disk_bytes = 0;
  std::string more;  // extra data beyond what is known, kept
};

// Every length is checked; an image of `header` without snapshots has an empty table.
Result<std::vector<Snapshot>> read_snapshots(const HostFile& file, const Header& header);
std::string encode_snapshots(const std::vector<Snapshot>& snapshots);
// The bytes that the table takes.
u64 snapshot_table_bytes(const std::vector<Snapshot>& snapshots);

}  // namespace doppel::disk::qcow2
