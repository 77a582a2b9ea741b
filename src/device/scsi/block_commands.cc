// Commands that move, check or forget blocks (SBC-3 §5; a CD-ROM drive has some of them: MMC-6 §6).
//
//   6 bytes   +1 LBA (21 bits)  +4 count, 0 is 256
//   10        +1 flags  +2 LBA (32)  +7 count (16)
//   12        +1 flags  +2 LBA (32)  +6 count (32)
//   16        +1 flags  +2 LBA (64)  +10 count (32)
#include <algorithm>
#include <bit>
#include <cstring>

#include "base/units.h"
#include "device/scsi/logical_unit.h"

namespace doppel::scsi {

namespace {

constexpr u8 force_unit_access_bit = 0x08;
constexpr u64 pattern_bytes = 64 * KiB;

struct Extent {
  u64 first, count;
};

// The length of a command follows from the upper bits of its operation code (SPC-4 §4.2.5.1).
Extent extent_of(const Command& command) {
  switch (command.cdb[0] >> 5) {
    case 4: return {load_be(command.cdb, 2, 8), load_be(command.cdb, 10, 4)};
    case 5: return {load_be(command.cdb, 2, 4), load_be(command.cdb, 6, 4)};
    default: return {load_be(command.cdb, 2, 4), load_be(command.cdb, 7, 2)};
  }
}

bool writes(u8 opcode) { return (opcode & 0x1f) == 0x0a; }

}  // namespace

Task LogicalUnit::read_capacity_10(const Command& command) {
  constexpr u64 too_many = 0xffff'ffff;  // the longer command knows
  return parameter_data(command, Fields().be32(std::min(blocks() - 1, too_many)).be32(block_bytes_).take(), 8);
}

// The one service action that we have of operation code 0x9e.
Task LogicalUnit::read_capacity_16(const Command& command) {
  constexpr u8 read_capacity = 0x10, unmaps = 0x80;
  if ((command.cdb[1] & 0x1f) != read_capacity) return check_condition(sense::invalid_field);
  const u32 preferred = std::max(image_->preferred_bytes() / block_bytes_, 1u);
  return parameter_data(command,
                        Fields()
                            .be64(blocks() - 1)
                            .be32(block_bytes_)
                            .be8(0)
                            .be8(static_cast<u64>(std::countr_zero(preferred)))
                            .be8(read_only() ? 0 : unmaps)
                            .zeroes(17)
                            .take(),
                        load_be(command.cdb, 10, 4));
}

Task LogicalUnit::read_write_6(const Command& command) {
  const u64 count = command.cdb[4] == 0 ? 256 : command.cdb[4];
  return transfer(command, writes(command.cdb[0]), load_be(command.cdb, 1, 3) & 0x1f'ffff, count, false);
}

Task LogicalUnit::read_write(const Command& command) {
  if ((command.cdb[1] & 0xe0) != 0 && kind_ == Kind::disk)
    return check_condition(sense::invalid_field);  // protection information
  const auto [first, count] = extent_of(command);
  return transfer(command, writes(command.cdb[0]), first, count, (command.cdb[1] & force_unit_access_bit) != 0);
}

Task LogicalUnit::transfer(const Command& command, bool write, u64 first, u64 count, bool force_unit_access) {
  if (write && read_only()) return check_condition(sense::write_protected);
  if (!on_medium(first, count)) return check_condition(sense::address_out_of_range);
  Task task;
  const u64 bytes = count * block_bytes_;
  if (bytes > (write ? command.data_out_bytes : command.data_in_bytes)) {
    task.overrun = true;
    return task;
  }
  task.transferred = bytes;
  if (bytes != 0) {
    task.steps.push_back({{.kind = write ? ImageOperation::Kind::write : ImageOperation::Kind::read,
                           .offset = first * block_bytes_,
                           .bytes = bytes},
                          cut_buffers(write ? command.data_out : command.data_in, 0, bytes)});
  }
  if (write && (force_unit_access || !write_cache_)) task.steps.push_back({{.kind = ImageOperation::Kind::flush}});
  return task;
}

// Everything on the medium can be read, as far as anyone can tell; comparing it with data is left out.
Task LogicalUnit::verify(const Command& command) {
  constexpr u8 compare = 0x06, protection = 0xe0;
  if ((command.cdb[1] & (compare | protection)) != 0) return check_condition(sense::invalid_field);
  const auto [first, count] = extent_of(command);
  return on_medium(first, count) ? Task{} : check_condition(sense::address_out_of_range);
}

Task LogicalUnit::seek(const Command& command) {
  return on_medium(load_be(command.cdb, 2, 4), 1) ? Task{} : check_condition(sense::address_out_of_range);
}

// The whole cache, whatever range was named.
Task LogicalUnit::synchronize_cache(const Command& command) {
  const auto [first, count] = extent_of(command);
  if (!on_medium(first, count)) return check_condition(sense::address_out_of_range);
  Task task;
  if (!read_only()) task.steps.push_back({{.kind = ImageOperation::Kind::flush}});
  return task;
}

//   parameter list: +0 length behind it (16)  +2 length of descriptors (16)  +8 descriptors {LBA (64), count (32), 0 (32)}
Task LogicalUnit::unmap(const Command& command) {
  constexpr u64 header_bytes = 8, range_bytes = 16;
  if (read_only()) return check_condition(sense::write_protected);
  if ((command.cdb[1] & 1) != 0) return check_condition(sense::invalid_field);  // ANCHOR
  const u64 bytes = load_be(command.cdb, 7, 2);
  Task task;
  if (bytes == 0) return task;
  if (bytes < header_bytes) return check_condition(sense::parameter_list_length);
  if (bytes > command.data_out_bytes) {
    task.overrun = true;
    return task;
  }
  const std::vector<u8> list = copy_parameters(command, bytes);
  const u64 ranges = std::min(load_be(list, 2, 2), bytes - header_bytes) / range_bytes;
  if (ranges > most_unmap_ranges) return check_condition(sense::invalid_parameter);
  u64 total = 0;
  for (u64 i = 0; i < ranges; ++i) {
    const u64 at = header_bytes + i * range_bytes;
    const u64 first = load_be(list, at, 8), count = load_be(list, at + 8, 4);
    if (!on_medium(first, count)) return check_condition(sense::address_out_of_range);
    total += count;
    task.steps.push_back(
        {{.kind = ImageOperation::Kind::discard, .offset = first * block_bytes_, .bytes = count * block_bytes_}});
  }
  if (total > most_unmap_blocks) return check_condition(sense::invalid_parameter);
  task.transferred = bytes;
  if (!write_cache_) task.steps.push_back({{.kind = ImageOperation::Kind::flush}});
  return task;
}

// One block of data for all; of zeroes, if NDOB says that there is none (WRITE SAME (16) only).
Task LogicalUnit::write_same(const Command& command) {
  constexpr u8 unmap_bit = 0x08, no_data = 0x01, refused = 0xf6;  // WRPROTECT, ANCHOR, PBDATA, LBDATA
  const u8 flags = command.cdb[1];
  const bool sixteen = command.cdb[0] == 0x93;
  if (read_only()) return check_condition(sense::write_protected);
  if ((flags & refused) != 0 || (!sixteen && (flags & no_data) != 0)) return check_condition(sense::invalid_field);
  const auto [first, count] = extent_of(command);
  if (!on_medium(first, count)) return check_condition(sense::address_out_of_range);
  if (count == 0 || count > most_unmap_blocks) return check_condition(sense::invalid_field);

  Task task;
  std::vector<u8> block(block_bytes_);
  if ((flags & no_data) == 0) {
    if (command.data_out_bytes < block_bytes_) {
      task.overrun = true;
      return task;
    }
    block = copy_parameters(command, block_bytes_);
    task.transferred = block_bytes_;
  }
  if (std::ranges::all_of(block, [](u8 byte) { return byte == 0; })) {
    task.steps.push_back({{.kind = ImageOperation::Kind::zeroes,
                           .offset = first * block_bytes_,
                           .bytes = count * block_bytes_,
                           .may_unmap = (flags & unmap_bit) != 0}});
  } else {
    add_pattern_writes(task, block, first, count);
  }
  if (!write_cache_) task.steps.push_back({{.kind = ImageOperation::Kind::flush}});
  return task;
}

void LogicalUnit::add_pattern_writes(Task& task, std::span<const u8> block, u64 first, u64 count) const {
  const u64 total = count * block_bytes_, piece = std::min(total, pattern_bytes);
  task.pattern.resize(piece);
  for (u64 at = 0; at < piece; at += block_bytes_) std::memcpy(task.pattern.data() + at, block.data(), block_bytes_);
  const auto add = [&](u64 offset, u64 bytes, u64 times) {
    task.steps.push_back({.operation = {.kind = ImageOperation::Kind::write, .offset = offset, .bytes = bytes},
                          .buffers = {{.iov_base = task.pattern.data(), .iov_len = bytes}},
                          .times = times});
  };
  add(first * block_bytes_, piece, total / piece);
  if (total % piece != 0) add(first * block_bytes_ + total / piece * piece, total % piece, 1);
}

}  // namespace doppel::scsi
