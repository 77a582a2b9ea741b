// Entry points (§5.2) first, then the structures (§7), each a formatted part and its strings. See smbios.h.
#include "firmware/smbios.h"

#include <algorithm>

#include "base/bits.h"
#include "base/check.h"
#include "base/units.h"
#include "firmware/bytes.h"

namespace doppel::firmware {

namespace {

constexpr u64 entry_3_bytes = 24, entry_2_bytes = 31;
constexpr u64 entry_2_offset = 32, table_offset = 64;
constexpr u16 no_error_information = 0xfffe;
constexpr u8 unknown = 2;  // in most of the enumerations

// Appends structures. Handles are chosen by the callers: the type, and an index where there are several.
class StructureTable {
 public:
  // `fields`: what follows type, length and handle. Strings are numbered from 1.
  void add(u8 type, u16 handle, ByteWriter& fields, const std::vector<std::string>& strings = {}) {
    const u64 before = out_.size();
    out_.u8_(type).u8_(4 + fields.size()).u16_(handle).raw(fields.bytes());
    for (const std::string& string : strings) out_.text(string, string.size() + 1, '\0');
    out_.zeros(strings.empty() ? 2 : 1);
    largest_ = std::max(largest_, out_.size() - before);
    ++count_;
  }
  ByteWriter& bytes() { return out_; }
  u64 largest() const { return largest_; }
  u64 count() const { return count_; }

 private:
  ByteWriter out_;
  u64 largest_ = 0, count_ = 0;
};

void add_bios(StructureTable& table, const SmbiosParameters& parameters) {
  constexpr u64 characteristics_pci = 1 << 7, characteristics_selectable_boot = 1 << 16;
  constexpr u8 extension_acpi = 1 << 0, extension_virtual_machine = 1 << 4;
  ByteWriter out;
  out.u8_(1).u8_(2).u16_(0xf000).u8_(3).u8_(0)  // vendor, version, segment, date, 64 KiB of ROM
      .u64_(characteristics_pci | characteristics_selectable_boot).u8_(extension_acpi).u8_(extension_virtual_machine)
      .u8_(0).u8_(0).u8_(0xff).u8_(0xff);       // release; embedded controller: none
  table.add(0, 0x000, out, {"Doppel", parameters.version, "01/01/2025"});
}

void add_system(StructureTable& table, const SmbiosParameters& parameters) {
  constexpr u8 woken_by_power_switch = 6;
  ByteWriter out;
  out.u8_(1).u8_(2).u8_(3).u8_(0);  // manufacturer, product, version; no serial number
  // §7.2.1: the first three fields of the UUID are little endian.
  for (const unsigned i : {3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15}) out.u8_(parameters.uuid[i]);
  out.u8_(woken_by_power_switch).u8_(0).u8_(4);
  table.add(1, 0x100, out, {"Doppel", "Doppel PC", parameters.version, "Virtual Machine"});
}

void add_chassis(StructureTable& table) {
  constexpr u8 type_other = 1, state_safe = 3, security_none = 3;
  ByteWriter out;
  out.u8_(1).u8_(type_other).u8_(0).u8_(0).u8_(0).u8_(state_safe).u8_(state_safe).u8_(state_safe).u8_(security_none)
      .u32_(0).u8_(0).u8_(0).u8_(0).u8_(0).u8_(0);  // height, cords, contained elements, SKU
  table.add(3, 0x300, out, {"Doppel"});
}

void add_processor(StructureTable& table, unsigned index) {
  constexpr u8 central_processor = 3, family_other = 1, populated_and_enabled = 0x41, upgrade_other = 1;
  constexpr u16 capable_of_64_bits = 1 << 2, no_cache = 0xffff;
  ByteWriter out;
  out.u8_(1).u8_(central_processor).u8_(family_other).u8_(2).u64_(0).u8_(0)  // socket, …, manufacturer, ID, version
      .u8_(0).u16_(0).u16_(0).u16_(0).u8_(populated_and_enabled).u8_(upgrade_other)  // voltage, clock, speeds
      .u16_(no_cache).u16_(no_cache).u16_(no_cache).u8_(0).u8_(0).u8_(0)
      .u8_(1).u8_(1).u8_(1).u16_(capable_of_64_bits).u16_(family_other)  // cores, enabled, threads
      .u16_(1).u16_(1).u16_(1);
  table.add(4, static_cast<u16>(0x400 + index), out, {"CPU " + std::to_string(index), "Doppel"});
}

// One memory array with one device, and the address ranges where it appears.
void add_memory(StructureTable& table, const SmbiosParameters& parameters) {
  constexpr u8 on_system_board = 3, system_memory = 3, no_correction = 3, form_dimm = 9, memory_ram = 7;
  constexpr u16 array = 0x1000;
  constexpr u64 largest_in_kib = 0x8000'0000, largest_in_mib = 0x7fff;
  const u64 kib = parameters.memory_bytes / KiB, mib = parameters.memory_bytes / MiB;
  const bool few = kib < largest_in_kib;
  ByteWriter out;
  out.u8_(on_system_board).u8_(system_memory).u8_(no_correction).u32_(few ? kib : largest_in_kib).u16_(no_error_information)
      .u16_(1).u64_(few ? 0 : parameters.memory_bytes);
  table.add(16, array, out);

  const bool small = mib < largest_in_mib;
  ByteWriter device;
  device.u16_(array).u16_(no_error_information).u16_(0xffff).u16_(0xffff).u16_(small ? mib : largest_in_mib)
      .u8_(form_dimm).u8_(0).u8_(1).u8_(0).u8_(memory_ram).u16_(1 << unknown).u16_(0)  // set, locators, type, detail, speed
      .u8_(2).u8_(0).u8_(0).u8_(0).u8_(0)                            // manufacturer; no serial, tag, part number, rank
      .u32_(small ? 0 : mib).u16_(0).u16_(0).u16_(0).u16_(0);
  table.add(17, 0x1100, device, {"DIMM 0", "Doppel"});

  u16 handle = 0x1300;
  for (const MemoryMapEntry& entry : parameters.memory_map) {
    if (entry.type != MemoryType::ram || entry.size < KiB) continue;
    const u64 first = entry.base / KiB, last = (entry.base + entry.size) / KiB - 1;
    const bool fits = last < 0xffff'ffff;
    ByteWriter range;
    range.u32_(fits ? first : 0xffff'ffff).u32_(fits ? last : 0xffff'ffff).u16_(array).u8_(1)
        .u64_(fits ? 0 : entry.base).u64_(fits ? 0 : entry.base + entry.size - 1);
    table.add(19, handle++, range);
  }
}

std::vector<u8> make_entry_3(GuestPhysical structures, u64 bytes) {
  ByteWriter out;
  out.text("_SM3_", 5).u8_(0).u8_(entry_3_bytes).u8_(3).u8_(0).u8_(0).u8_(1).u8_(0).u32_(bytes).u64_(structures);
  CHECK(out.size() == entry_3_bytes);
  store<u8>(out.bytes(), 5, checksum(out.bytes()));
  return out.take();
}

// Two nested structures with a checksum each.
std::vector<u8> make_entry_2(GuestPhysical structures, const StructureTable& table, u64 bytes) {
  constexpr u64 intermediate = 16;
  ByteWriter out;
  out.text("_SM_", 4).u8_(0).u8_(entry_2_bytes).u8_(2).u8_(8).u16_(table.largest()).u8_(0).zeros(5)
      .text("_DMI_", 5).u8_(0).u16_(bytes).u32_(structures).u16_(table.count()).u8_(0x28);
  CHECK(out.size() == entry_2_bytes);
  store<u8>(out.bytes(), intermediate + 5, checksum(out.bytes().subspan(intermediate)));
  store<u8>(out.bytes(), 4, checksum(out.bytes()));
  return out.take();
}

}  // namespace

std::vector<u8> build_smbios(const SmbiosParameters& parameters) {
  CHECK(parameters.base % 16 == 0);
  StructureTable table;
  add_bios(table, parameters);
  add_system(table, parameters);
  add_chassis(table);
  for (unsigned cpu = 0; cpu < parameters.cpus; ++cpu) add_processor(table, cpu);
  add_memory(table, parameters);
  ByteWriter boot_status;
  boot_status.zeros(6).u8_(0);  // reserved; no errors detected
  table.add(32, 0x2000, boot_status);
  ByteWriter nothing;
  table.add(127, 0x7f00, nothing);

  const u64 bytes = table.bytes().size();
  CHECK(bytes <= 0xffff);
  ByteWriter out;
  out.raw(make_entry_3(parameters.base + table_offset, bytes)).align(entry_2_offset);
  out.raw(make_entry_2(parameters.base + table_offset, table, bytes)).align(table_offset);
  out.raw(table.bytes().bytes());
  return out.take();
}

}  // namespace doppel::firmware
