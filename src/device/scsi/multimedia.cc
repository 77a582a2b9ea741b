// What a CD-ROM drive has beyond reading blocks (MMC-6 §6): its tray, events, features and the disc's table of contents. The
// disc is one session with one track of data; what is larger than a CD is called a DVD.
#include <algorithm>
#include <array>

#include "base/units.h"
#include "device/scsi/logical_unit.h"

namespace doppel::scsi {

namespace {

constexpr u8 profile_none = 0, profile_cd_rom = 0x08, profile_dvd_rom = 0x10;
constexpr u64 largest_cd_blocks = 80 * 60 * 75;
constexpr u8 first_track = 1, lead_out_track = 0xaa, lead_out_point = 0xa2;
constexpr u8 data_track = 0x14;  // ADR 1, control 4

// Minutes, seconds and frames; the first block is at 00:02:00.
u32 msf_of(u64 block) {
  const u64 frames = std::min<u64>(block + 150, 255 * 60 * 75);
  return static_cast<u32>(frames / (60 * 75) << 16 | frames / 75 % 60 << 8 | frames % 75);
}

u64 address(u64 block, bool msf) { return msf ? msf_of(block) : block; }

// One feature descriptor (§5.3): code, version and whether it holds now, data.
void add_feature(Fields& out, u16 code, bool current, std::span<const u8> data, u8 version = 0) {
  out.be16(code).be8(static_cast<u64>(version << 2 | (current ? 1 : 0))).be8(data.size()).append(data);
}

}  // namespace

bool LogicalUnit::is_dvd() const { return blocks() > largest_cd_blocks; }

// LOEJ moves the tray; a disk has none, and is always spinning. Its power conditions are not modelled.
Task LogicalUnit::start_stop(const Command& command) {
  constexpr u8 start = 1, load_eject = 2;
  const u8 what = command.cdb[4];
  if (kind_ == Kind::disk || (what & load_eject) == 0) return {};
  const bool eject = (what & start) == 0;
  if (eject && removal_prevented_ && !ejected_) return check_condition(sense::removal_prevented);
  if (eject == ejected_) return {};
  ejected_ = eject;
  event_ = eject ? MediaEvent::removal : MediaEvent::new_medium;
  if (!eject) attention_ = sense::medium_changed;
  return {};
}

Task LogicalUnit::prevent_removal(const Command& command) {
  if (kind_ == Kind::cdrom) removal_prevented_ = (command.cdb[4] & 1) != 0;
  return {};
}

// §6.25. Formats 0: tracks; 1: sessions; 2: everything in the lead-in.
Task LogicalUnit::read_toc(const Command& command) {
  const bool msf = (command.cdb[1] & 2) != 0;
  const u8 track = command.cdb[6];
  u8 format = command.cdb[2] & 0x0f;
  if (format == 0) format = command.cdb[9] >> 6;  // where the first drives had it
  Fields out;
  out.be16(0).be8(first_track).be8(first_track);
  const auto add_track = [&](u8 number, u64 block) {
    out.be8(0).be8(data_track).be8(number).be8(0).be32(address(block, msf));
  };
  const auto add_point = [&](u8 point, u32 place) {
    out.be8(1).be8(data_track).be8(0).be8(point).be24(0).be8(0).be24(place);
  };
  switch (format) {
    case 0:
      if (track > first_track && track != lead_out_track) return check_condition(sense::invalid_field);
      if (track <= first_track) add_track(first_track, 0);
      add_track(lead_out_track, blocks());
      break;
    case 1: add_track(first_track, 0); break;
    case 2:
      add_point(0xa0, first_track << 16);
      add_point(0xa1, first_track << 16);
      add_point(lead_out_point, msf_of(blocks()));
      add_point(first_track, msf_of(0));
      break;
    default: return check_condition(sense::invalid_field);
  }
  out.set(0, out.size() - 2, 2);
  return parameter_data(command, out.take(), load_be(command.cdb, 7, 2));
}

// §6.5. RT 0: all features from the given one on; 1: those that hold now; 2: the given one.
Task LogicalUnit::get_configuration(const Command& command) {
  const u8 requested = command.cdb[1] & 3;
  const u64 from = load_be(command.cdb, 2, 2);
  if (requested == 3) return check_condition(sense::invalid_field);
  const u8 profile = !has_medium() ? profile_none : is_dvd() ? profile_dvd_rom : profile_cd_rom;
  const bool cd = profile == profile_cd_rom, dvd = profile == profile_dvd_rom, readable = cd || dvd;

  Fields out;
  out.be32(0).be16(0).be16(profile);
  const auto add = [&](u16 code, bool current, std::vector<u8> data, u8 version = 0) {
    const bool wanted = requested == 2 ? code == from : code >= from && (requested == 0 || current);
    if (wanted) add_feature(out, code, current, data, version);
  };
  add(0x0000, true, Fields().be16(profile_dvd_rom).be8(dvd).be8(0).be16(profile_cd_rom).be8(cd).be8(0).take());
  add(0x0001, true, Fields().be32(1).be8(1).zeroes(3).take(), 2);             // core: SCSI, device events
  add(0x0002, true, Fields().be8(2).zeroes(3).take(), 1);                     // morphing: operational change events
  add(0x0003, true, Fields().be8(0x29).zeroes(3).take(), 1);                  // removable: tray, ejects, locks
  add(0x0010, readable, Fields().be32(block_bytes_).be16(1).be16(0).take());  // random reading
  add(0x001e, cd, Fields().zeroes(4).take(), 2);                              // reading CDs
  add(0x001f, dvd, Fields().zeroes(4).take());                                // reading DVDs
  add(0x0105, true, Fields().zeroes(4).take(), 1);                            // time-out
  out.set(0, out.size() - 4, 4);
  return parameter_data(command, out.take(), load_be(command.cdb, 7, 2));
}

// §6.7. Polled only; the class that we have is media events.
Task LogicalUnit::get_event_status(const Command& command) {
  constexpr u8 polled = 1, media_class = 4, media_requested = 1 << media_class, nothing = 0x80;
  constexpr u8 tray_open = 1, medium_present = 2;
  if ((command.cdb[1] & polled) == 0) return check_condition(sense::invalid_field);
  Fields out;
  if ((command.cdb[4] & media_requested) == 0) {
    out.be16(2).be8(nothing).be8(media_requested);
  } else {
    const auto event = load_be(command.cdb, 7, 2) > 4 ? std::exchange(event_, MediaEvent::none) : MediaEvent::none;
    out.be16(6).be8(media_class).be8(media_requested);
    out.be8(static_cast<u64>(event)).be8((ejected_ ? tray_open : 0) | (has_medium() ? medium_present : 0)).be16(0);
  }
  return parameter_data(command, out.take(), load_be(command.cdb, 7, 2));
}

// §6.21. A finished disc with a complete session.
Task LogicalUnit::read_disc_information(const Command& command) {
  constexpr u8 finished = 0x0e;
  if ((command.cdb[1] & 7) != 0) return check_condition(sense::invalid_field);
  Fields out;
  out.be16(32).be8(finished).be8(1).be8(1).be8(1).be8(1).be8(0).be8(0).zeroes(25);
  return parameter_data(command, out.take(), load_be(command.cdb, 7, 2));
}

// §6.15. One slot, and no changer.
Task LogicalUnit::mechanism_status(const Command& command) {
  return parameter_data(command, Fields().zeroes(5).be8(1).be16(0).take(), load_be(command.cdb, 8, 2));
}

}  // namespace doppel::scsi
