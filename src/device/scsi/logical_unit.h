// A SCSI logical unit over a disk image: a direct-access disk (SPC-4, SBC-3) or a CD-ROM drive (SPC-4, MMC-6).
//
// Not locked: the adapter's lock is held. A command yields a Task, whose steps the adapter has the image take.
#pragma once

#include <memory>
#include <string>

#include "device/scsi/task.h"
#include "disk/block_image.h"
#include "state/archive.h"

namespace doppel::scsi {

class LogicalUnit {
 public:
  enum class Kind : u8 { disk, cdrom };
  // Of one UNMAP or WRITE SAME: 2 GiB, and the ranges of a small parameter list (SBC-3 §6.5.3).
  static constexpr u64 most_unmap_blocks = 1u << 22, most_unmap_ranges = 64;

  // `serial`: printable, at most 20 characters. A CD-ROM's image is never written.
  LogicalUnit(Kind kind, std::unique_ptr<disk::BlockImage> image, std::string serial);

  disk::BlockImage& image() { return *image_; }
  const disk::BlockImage& image() const { return *image_; }

  Task execute(const Command& command);
  // What a step that failed with this errno means.
  static Sense failure(const Step& step, int error);
  // The next command is told (SAM-5 §6.3); what the initiator set is forgotten.
  void reset();
  void state(state::Archive& archive);

  // ---- for tests and the adapter ----
  // Units that do not exist answer INQUIRY and REQUEST SENSE, too (SPC-4 §6.4.2); REPORT LUNS is answered by any (§6.33).
  static Task execute_without_unit(const Command& command);

 private:
  struct Row;
  static const Row* find_row(u8 opcode);

  u64 blocks() const { return ejected_ ? 0 : image_->size_bytes() / block_bytes_; }
  bool has_medium() const { return blocks() != 0; }
  bool read_only() const { return kind_ == Kind::cdrom || image_->read_only(); }

  // ---- the commands, by file ----
  // logical_unit.cc
  Task succeed(const Command&) { return {}; }
  Task report_luns(const Command& command);
  Task request_sense(const Command& command);
  // inquiry.cc
  Task inquiry(const Command& command);
  Task vital_product_data(const Command& command) const;
  std::vector<u8> device_identification() const;
  std::vector<u8> block_limits() const;
  // mode_pages.cc
  Task mode_sense_6(const Command& command);
  Task mode_sense_10(const Command& command);
  Task mode_select_6(const Command& command);
  Task mode_select_10(const Command& command);
  enum class PageControl : u8 { current, changeable, defaults, saved };
  bool add_mode_page(u8 page, PageControl control, Fields& out) const;
  Task mode_sense(const Command& command, u64 allocation, bool ten);
  Task mode_select(const Command& command, u64 bytes, bool ten);
  bool select_page(std::span<const u8> page, bool& write_cache) const;
  // block_commands.cc
  Task read_capacity_10(const Command& command);
  Task read_capacity_16(const Command& command);
  Task read_write_6(const Command& command);
  Task read_write(const Command& command);
  Task verify(const Command& command);
  Task seek(const Command& command);
  Task synchronize_cache(const Command& command);
  Task unmap(const Command& command);
  Task write_same(const Command& command);
  Task transfer(const Command& command, bool write, u64 first, u64 count, bool force_unit_access);
  void add_pattern_writes(Task& task, std::span<const u8> block, u64 first, u64 count) const;
  bool on_medium(u64 first, u64 count) const { return first <= blocks() && count <= blocks() - first; }
  // multimedia.cc
  Task start_stop(const Command& command);
  Task prevent_removal(const Command& command);
  Task read_toc(const Command& command);
  Task get_configuration(const Command& command);
  Task get_event_status(const Command& command);
  Task read_disc_information(const Command& command);
  Task mechanism_status(const Command& command);
  bool is_dvd() const;

  const Kind kind_;
  const std::unique_ptr<disk::BlockImage> image_;
  const std::string serial_;
  const u32 block_bytes_;

  Sense attention_ = sense::reset_occurred;
  bool write_cache_ = true;
  bool ejected_ = false;
  bool removal_prevented_ = false;
  enum class MediaEvent : u8 { none = 0, eject_request = 1, new_medium = 2, removal = 3 };
  MediaEvent event_ = MediaEvent::none;  // not yet reported
};

// The first `bytes` (at most data_out_bytes) that the initiator sends, as they are now.
std::vector<u8> copy_parameters(const Command& command, u64 bytes);
// Parameter data, cut to what the command allows and the initiator has room for.
Task parameter_data(const Command& command, std::vector<u8> data, u64 allocation_bytes);
Task check_condition(const Sense& sense);

}  // namespace doppel::scsi
