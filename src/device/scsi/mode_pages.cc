// MODE SENSE and MODE SELECT (SPC-4 §6.11, §7.5; SBC-3 §6.4; MMC-6 annex E). What can be changed is the write cache.
#include <algorithm>
#include <array>

#include "device/scsi/logical_unit.h"

namespace doppel::scsi {

namespace {

enum Page : u8 {
  error_recovery = 0x01,
  caching = 0x08,
  control = 0x0a,
  capabilities = 0x2a,  // of a CD-ROM drive; obsolete, and asked for by everyone
  all_pages = 0x3f,
};
constexpr std::array disk_pages{error_recovery, caching, control};
constexpr std::array cdrom_pages{error_recovery, capabilities};

constexpr u8 write_cache_enable = 0x04;  // of the caching page's first byte
constexpr std::size_t caching_bytes = 20, short_header_bytes = 4, long_header_bytes = 8, block_descriptor_bytes = 8;

}  // namespace

Task LogicalUnit::mode_sense_6(const Command& command) { return mode_sense(command, command.cdb[4], false); }

Task LogicalUnit::mode_sense_10(const Command& command) {
  return mode_sense(command, load_be(command.cdb, 7, 2), true);
}

//   header     6: length (8), medium type, device parameter, length of descriptors (8)
//             10: length (16), medium type, device parameter, 0 (16), length of descriptors (16)
Task LogicalUnit::mode_sense(const Command& command, u64 allocation, bool ten) {
  constexpr u8 no_descriptors = 0x08, protected_medium = 0x80, force_unit_access = 0x10, all_subpages = 0xff;
  const auto control = static_cast<PageControl>(command.cdb[2] >> 6);
  const u8 page = command.cdb[2] & 0x3f, subpage = command.cdb[3];
  if (control == PageControl::saved) return check_condition(sense::no_saved_parameters);
  if (subpage != 0 && (subpage != all_subpages || page != all_pages)) return check_condition(sense::invalid_field);

  Fields out;
  const bool descriptor = kind_ == Kind::disk && (command.cdb[1] & no_descriptors) == 0;
  const u8 parameter = kind_ == Kind::disk ? (read_only() ? protected_medium : 0) | force_unit_access : 0;
  const u64 descriptor_bytes = descriptor ? block_descriptor_bytes : 0;
  if (ten) {
    out.be16(0).be8(0).be8(parameter).be16(0).be16(descriptor_bytes);
  } else {
    out.be8(0).be8(0).be8(parameter).be8(descriptor_bytes);
  }
  if (descriptor) out.be32(std::min<u64>(blocks(), 0xffff'ffff)).be32(block_bytes_);
  if (page == all_pages) {
    for (const Page known : kind_ == Kind::disk ? std::span<const Page>(disk_pages) : cdrom_pages)
      add_mode_page(known, control, out);
  } else if (!add_mode_page(page, control, out)) {
    return check_condition(sense::invalid_field);
  }
  if (ten) {
    out.set(0, out.size() - 2, 2);
  } else {
    out.set(0, out.size() - 1, 1);
  }
  return parameter_data(command, out.take(), allocation);
}

// False for a page that this kind of unit does not have.
bool LogicalUnit::add_mode_page(u8 page, PageControl control_field, Fields& out) const {
  const std::span<const Page> pages = kind_ == Kind::disk ? std::span<const Page>(disk_pages) : cdrom_pages;
  if (std::ranges::find(pages, page) == pages.end()) return false;
  switch (page) {
    case error_recovery: out.be8(page).be8(10).zeroes(10); break;
    case caching: {
      const bool on = control_field != PageControl::current || write_cache_;  // also: it can be changed
      out.be8(page).be8(caching_bytes - 2).be8(on ? write_cache_enable : 0).zeroes(caching_bytes - 3);
      break;
    }
    case control: out.be8(page).be8(10).zeroes(10); break;
    case capabilities: {
      // Reads CD-R and DVD-ROM; tray, may be locked, ejects. Speeds in kB/s: nominal, as drivers print them.
      constexpr u8 reads_cd_r = 0x03, reads_dvd = 0x08, tray_locks_ejects = 0x29, locked = 0x02;
      constexpr u16 speed = 5540, buffer_kib = 512;
      if (control_field == PageControl::changeable) {
        out.be8(page).be8(20).zeroes(20);
        break;
      }
      out.be8(page).be8(20).be8(reads_cd_r | reads_dvd).be8(0).be8(0).be8(0);
      out.be8(tray_locks_ejects | (removal_prevented_ ? locked : 0)).be8(0);
      out.be16(speed).be16(0).be16(buffer_kib).be16(speed).zeroes(6);
      break;
    }
    default: return false;
  }
  return true;
}

Task LogicalUnit::mode_select_6(const Command& command) { return mode_select(command, command.cdb[4], false); }

Task LogicalUnit::mode_select_10(const Command& command) {
  return mode_select(command, load_be(command.cdb, 7, 2), true);
}

// The header and descriptors are taken as they are; every page is looked at before any takes effect.
Task LogicalUnit::mode_select(const Command& command, u64 bytes, bool ten) {
  constexpr u8 page_format = 0x10, save = 0x01;
  constexpr u64 most_parameters = 4096;
  if ((command.cdb[1] & page_format) == 0 || (command.cdb[1] & save) != 0 || bytes > most_parameters)
    return check_condition(sense::invalid_field);
  if (bytes == 0) return {};
  if (bytes > command.data_out_bytes) return {.overrun = true};
  const std::vector<u8> list = copy_parameters(command, bytes);
  const std::size_t header = ten ? long_header_bytes : short_header_bytes;
  if (list.size() < header) return check_condition(sense::parameter_list_length);
  std::span<const u8> pages(list);
  const u64 descriptors = ten ? load_be(list, 6, 2) : list[3];
  if (descriptors > pages.size() - header) return check_condition(sense::parameter_list_length);
  pages = pages.subspan(header + descriptors);
  bool write_cache = write_cache_;
  while (!pages.empty()) {
    if (pages.size() < 2 || pages.size() < 2u + pages[1]) return check_condition(sense::parameter_list_length);
    if (!select_page(pages.first(2u + pages[1]), write_cache)) return check_condition(sense::invalid_parameter);
    pages = pages.subspan(2u + pages[1]);
  }
  const bool turned_off = write_cache_ && !write_cache;
  write_cache_ = write_cache;
  Task task;
  task.transferred = bytes;
  if (turned_off) task.steps.push_back({{.kind = ImageOperation::Kind::flush}});
  return task;
}

// Whether the page is as it is now, but for what may be changed.
bool LogicalUnit::select_page(std::span<const u8> page, bool& write_cache) const {
  Fields now;
  if (!add_mode_page(page[0], PageControl::current, now)) return false;
  std::vector<u8> expected = now.take();
  if (page[0] == caching && page.size() == caching_bytes) {
    write_cache = (page[2] & write_cache_enable) != 0;
    expected[2] = static_cast<u8>((expected[2] & ~write_cache_enable) | (page[2] & write_cache_enable));
  }
  return std::ranges::equal(page, expected);
}

}  // namespace doppel::scsi
