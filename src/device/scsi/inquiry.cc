// INQUIRY and its pages of vital product data (SPC-4 §6.4, §7.8; SBC-3 §6.5).
#include <algorithm>
#include <array>
#include <bit>

#include "device/scsi/logical_unit.h"

namespace doppel::scsi {

namespace {

constexpr std::string_view vendor = "DOPPEL", revision = "1";
constexpr u8 type_disk = 0x00, type_cdrom = 0x05;

enum Page : u8 {
  supported_pages = 0x00,
  unit_serial_number = 0x80,
  device_identification_page = 0x83,
  block_limits_page = 0xb0,
  block_characteristics = 0xb1,
  provisioning = 0xb2,
};
constexpr std::array disk_pages{supported_pages,   unit_serial_number,    device_identification_page,
                                block_limits_page, block_characteristics, provisioning};
constexpr std::array cdrom_pages{supported_pages, unit_serial_number, device_identification_page};

}  // namespace

Task LogicalUnit::inquiry(const Command& command) {
  if ((command.cdb[1] & 1) != 0) return vital_product_data(command);
  if (command.cdb[2] != 0) return check_condition(sense::invalid_field);
  constexpr u8 removable = 0x80, spc_4 = 6, response_format = 2, command_queueing = 0x02;
  Fields out;
  out.be8(kind_ == Kind::disk ? type_disk : type_cdrom).be8(kind_ == Kind::disk ? 0 : removable);
  out.be8(spc_4).be8(response_format).be8(0);
  out.be8(0).be8(0).be8(command_queueing);
  out.text(vendor, 8).text(kind_ == Kind::disk ? "DISK" : "CD-ROM", 16).text(revision, 4);
  out.zeroes(22);
  // Version descriptors: SAM-5, SPC-4, and SBC-3 or MMC-6, no version claimed.
  out.be16(0x00a0).be16(0x0460).be16(kind_ == Kind::disk ? 0x04c0 : 0x04e0).zeroes(32);
  out.set(4, out.size() - 5, 1);
  return parameter_data(command, out.take(), load_be(command.cdb, 3, 2));
}

Task LogicalUnit::vital_product_data(const Command& command) const {
  const u8 page = command.cdb[2];
  const std::span<const Page> pages = kind_ == Kind::disk ? std::span<const Page>(disk_pages) : cdrom_pages;
  if (std::ranges::find(pages, page) == pages.end()) return check_condition(sense::invalid_field);
  Fields out;
  out.be8(kind_ == Kind::disk ? type_disk : type_cdrom).be8(page).be16(0);
  switch (page) {
    case supported_pages:
      for (const Page known : pages) out.be8(known);
      break;
    case unit_serial_number: out.text(serial_, serial_.size()); break;
    case device_identification_page: out.append(device_identification()); break;
    case block_limits_page: out.append(block_limits()); break;
    case block_characteristics: {
      constexpr u16 not_rotating = 1;
      out.be16(not_rotating).zeroes(58);
      break;
    }
    case provisioning: {
      // UNMAP, and WRITE SAME (16) and (10) with the UNMAP bit; what is unmapped need not read as zeroes.
      constexpr u8 how = 0xe0, thin = 2;
      out.be8(0).be8(read_only() ? 0 : how).be8(read_only() ? 0 : thin).be8(0);
      break;
    }
    default: break;
  }
  out.set(2, out.size() - 4, 2);
  return parameter_data(command, out.take(), load_be(command.cdb, 3, 2));
}

// One designator: the vendor's name and our serial number, of the unit (SPC-4 §7.8.6.4).
std::vector<u8> LogicalUnit::device_identification() const {
  constexpr u8 ascii = 2, of_unit_by_vendor = 1;
  return Fields()
      .be8(ascii)
      .be8(of_unit_by_vendor)
      .be8(0)
      .be8(8 + serial_.size())
      .text(vendor, 8)
      .text(serial_, serial_.size())
      .take();
}

std::vector<u8> LogicalUnit::block_limits() const {
  const u32 preferred = std::max(image_->preferred_bytes() / block_bytes_, 1u);
  const bool writable = !read_only();
  return Fields()
      .be8(1)                                  // WRITE SAME names how many blocks
      .be8(0)                                  // no COMPARE AND WRITE
      .be16(std::min(preferred, 0xffffu))      // optimal transfer length granularity
      .be32(0)                                 // no limit to a transfer but its buffers
      .be32(0)                                 // no optimum
      .be32(0)                                 // no prefetching
      .be32(writable ? most_unmap_blocks : 0)  // of one UNMAP command
      .be32(writable ? most_unmap_ranges : 0)  //
      .be32(preferred)                         // optimal granularity of unmapping
      .be32(0)                                 // its alignment: as blocks are
      .be64(writable ? most_unmap_blocks : 0)  // of one WRITE SAME
      .zeroes(20)
      .take();
}

}  // namespace doppel::scsi
