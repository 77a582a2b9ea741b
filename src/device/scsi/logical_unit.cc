// The commands that units know, and those of all units; see logical_unit.h.
#include "device/scsi/logical_unit.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

namespace doppel::scsi {

namespace {

constexpr u8 opcode_request_sense = 0x03, opcode_inquiry = 0x12, opcode_report_luns = 0xa0;
constexpr u32 disk_block_bytes = 512, cdrom_block_bytes = 2048;
constexpr u8 for_disk = 1, for_cdrom = 2, for_both = 3;

}  // namespace

struct LogicalUnit::Row {
  u8 opcode;
  u8 kinds;
  bool needs_medium;
  bool reports_attention;  // SPC-4 §5.14, MMC-6 §4.1.6: some commands leave a unit attention pending
  Task (LogicalUnit::*execute)(const Command&);
};

const LogicalUnit::Row* LogicalUnit::find_row(u8 opcode) {
  using U = LogicalUnit;
  static constexpr std::array rows = {
      Row{0x00, for_both, true, true, &U::succeed},                 // TEST UNIT READY
      Row{0x03, for_both, false, false, &U::request_sense},         // REQUEST SENSE
      Row{0x08, for_both, true, true, &U::read_write_6},            // READ (6)
      Row{0x0a, for_disk, true, true, &U::read_write_6},            // WRITE (6)
      Row{0x12, for_both, false, false, &U::inquiry},               // INQUIRY
      Row{0x15, for_both, false, true, &U::mode_select_6},          // MODE SELECT (6)
      Row{0x16, for_disk, false, true, &U::succeed},                // RESERVE (6)
      Row{0x17, for_disk, false, true, &U::succeed},                // RELEASE (6)
      Row{0x1a, for_both, false, true, &U::mode_sense_6},           // MODE SENSE (6)
      Row{0x1b, for_both, false, true, &U::start_stop},             // START STOP UNIT
      Row{0x1d, for_disk, false, true, &U::succeed},                // SEND DIAGNOSTIC
      Row{0x1e, for_both, false, true, &U::prevent_removal},        // PREVENT ALLOW MEDIUM REMOVAL
      Row{0x25, for_both, true, true, &U::read_capacity_10},        // READ CAPACITY (10)
      Row{0x28, for_both, true, true, &U::read_write},              // READ (10)
      Row{0x2a, for_disk, true, true, &U::read_write},              // WRITE (10)
      Row{0x2b, for_cdrom, true, true, &U::seek},                   // SEEK (10)
      Row{0x2f, for_both, true, true, &U::verify},                  // VERIFY (10)
      Row{0x35, for_both, true, true, &U::synchronize_cache},       // SYNCHRONIZE CACHE (10)
      Row{0x41, for_disk, true, true, &U::write_same},              // WRITE SAME (10)
      Row{0x42, for_disk, true, true, &U::unmap},                   // UNMAP
      Row{0x43, for_cdrom, true, true, &U::read_toc},               // READ TOC/PMA/ATIP
      Row{0x46, for_cdrom, false, false, &U::get_configuration},    // GET CONFIGURATION
      Row{0x4a, for_cdrom, false, false, &U::get_event_status},     // GET EVENT STATUS NOTIFICATION
      Row{0x51, for_cdrom, true, true, &U::read_disc_information},  // READ DISC INFORMATION
      Row{0x55, for_both, false, true, &U::mode_select_10},         // MODE SELECT (10)
      Row{0x5a, for_both, false, true, &U::mode_sense_10},          // MODE SENSE (10)
      Row{0x88, for_disk, true, true, &U::read_write},              // READ (16)
      Row{0x8a, for_disk, true, true, &U::read_write},              // WRITE (16)
      Row{0x8f, for_disk, true, true, &U::verify},                  // VERIFY (16)
      Row{0x91, for_disk, true, true, &U::synchronize_cache},       // SYNCHRONIZE CACHE (16)
      Row{0x93, for_disk, true, true, &U::write_same},              // WRITE SAME (16)
      Row{0x9e, for_disk, true, true, &U::read_capacity_16},        // READ CAPACITY (16)
      Row{0xa0, for_both, false, false, &U::report_luns},           // REPORT LUNS
      Row{0xa8, for_both, true, true, &U::read_write},              // READ (12)
      Row{0xaa, for_disk, true, true, &U::read_write},              // WRITE (12)
      Row{0xaf, for_disk, true, true, &U::verify},                  // VERIFY (12)
      Row{0xbb, for_cdrom, false, true, &U::succeed},               // SET CD SPEED
      Row{0xbd, for_cdrom, false, true, &U::mechanism_status},      // MECHANISM STATUS
  };
  static_assert(std::ranges::is_sorted(rows, {}, &Row::opcode));
  const auto found = std::ranges::lower_bound(rows, opcode, {}, &Row::opcode);
  return found == rows.end() || found->opcode != opcode ? nullptr : &*found;
}

LogicalUnit::LogicalUnit(Kind kind, std::unique_ptr<disk::BlockImage> image, std::string serial)
    : kind_(kind),
      image_(std::move(image)),
      serial_(std::move(serial)),
      block_bytes_(kind == Kind::disk ? disk_block_bytes : cdrom_block_bytes) {}

Task check_condition(const Sense& sense) { return {.sense = sense}; }

std::vector<u8> copy_parameters(const Command& command, u64 bytes) {
  std::vector<u8> copy;
  for (const iovec& piece : cut_buffers(command.data_out, 0, bytes)) {
    const auto* data = static_cast<const u8*>(piece.iov_base);
    copy.insert(copy.end(), data, data + piece.iov_len);
  }
  return copy;
}

Task parameter_data(const Command& command, std::vector<u8> data, u64 allocation_bytes) {
  data.resize(std::min<u64>({data.size(), allocation_bytes, command.data_in_bytes}));
  Task task;
  task.transferred = data.size();
  task.data = std::move(data);
  return task;
}

std::vector<u8> fixed_sense(const Sense& sense) {
  constexpr u8 current_error = 0x70, additional_bytes = fixed_sense_bytes - 8;
  return Fields()
      .be8(current_error)
      .be8(0)
      .be8(sense.key)
      .be32(0)
      .be8(additional_bytes)
      .be32(0)
      .be8(sense.code)
      .be8(sense.qualifier)
      .be32(0)
      .take();
}

Task LogicalUnit::execute(const Command& command) {
  const Row* row = find_row(command.cdb[0]);
  const u8 kind = kind_ == Kind::disk ? for_disk : for_cdrom;
  if (row == nullptr || (row->kinds & kind) == 0) return check_condition(sense::unknown_command);
  if (row->reports_attention && attention_ != sense::none)
    return check_condition(std::exchange(attention_, sense::none));
  if (row->needs_medium && !has_medium()) return check_condition(sense::no_medium);
  return (this->*row->execute)(command);
}

Task LogicalUnit::execute_without_unit(const Command& command) {
  switch (command.cdb[0]) {
    case opcode_inquiry: {
      if ((command.cdb[1] & 1) != 0) return check_condition(sense::invalid_field);
      constexpr u8 no_unit_here = 0x7f, spc_4 = 6, response_format = 2, additional_bytes = 31;
      return parameter_data(
          command,
          Fields().be8(no_unit_here).be8(0).be8(spc_4).be8(response_format).be8(additional_bytes).zeroes(31).take(),
          load_be(command.cdb, 3, 2));
    }
    case opcode_request_sense: return parameter_data(command, fixed_sense(sense::no_such_unit), command.cdb[4]);
    case opcode_report_luns: {
      constexpr u32 one_entry = 8;
      return parameter_data(command, Fields().be32(one_entry).be32(0).zeroes(one_entry).take(),
                            load_be(command.cdb, 6, 4));
    }
    default: return check_condition(sense::no_such_unit);
  }
}

Task LogicalUnit::report_luns(const Command& command) { return execute_without_unit(command); }

// Without an error the status is what there is to say; a pending unit attention is reported and forgotten (SPC-4 §6.39).
Task LogicalUnit::request_sense(const Command& command) {
  const Sense sense = std::exchange(attention_, sense::none);
  const bool descriptors = (command.cdb[1] & 1) != 0;
  constexpr u8 current_error = 0x72;
  return parameter_data(
      command,
      descriptors ? Fields().be8(current_error).be8(sense.key).be8(sense.code).be8(sense.qualifier).be32(0).take()
                  : fixed_sense(sense),
      command.cdb[4]);
}

Sense LogicalUnit::failure(const Step& step, int error) {
  if (step.operation.kind == ImageOperation::Kind::read) return sense::read_failed;
  return error == ENOSPC ? sense::no_space : sense::write_failed;
}

void LogicalUnit::reset() {
  attention_ = sense::reset_occurred;
  write_cache_ = true;
  ejected_ = false;
  removal_prevented_ = false;
  event_ = MediaEvent::none;
}

void LogicalUnit::state(state::Archive& archive) {
  archive.begin("scsi-unit", 1);
  archive(attention_.key);
  archive(attention_.code);
  archive(attention_.qualifier);
  archive(write_cache_);
  archive(ejected_);
  archive(removal_prevented_);
  archive(event_);
  archive.require(event_ <= MediaEvent::removal, "media event");
  image_->state(archive);
  archive.end();
}

}  // namespace doppel::scsi
