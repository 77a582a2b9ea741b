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
    out_.byte(type).byte(4 + fields.size()).word(handle).raw(fields.bytes());
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
  out.byte(1)                                                        // vendor
      .byte(2)                                                       // version
      .word(0xf000)                                                  // starting segment
      .byte(3)                                                       // release date
      .byte(0)                                                       // ROM size: 64 KiB
      .qword(characteristics_pci | characteristics_selectable_boot)  // characteristics
      .byte(extension_acpi)                                          // characteristics, byte 1
      .byte(extension_virtual_machine)                               // characteristics, byte 2
      .word(0)                                                       // release
      .word(0xffff);  // release of the embedded controller: there is none
  table.add(0, 0x000, out, {"Doppel", parameters.version, "01/01/2025"});
}

void add_system(StructureTable& table, const SmbiosParameters& parameters) {
  constexpr u8 woken_by_power_switch = 6;
  ByteWriter out;
  out.byte(1).byte(2).byte(3).byte(0);  // manufacturer, product, version; no serial number
  // §7.2.1: the first three fields of the UUID are little endian.
  for (const unsigned i : {3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15}) out.byte(parameters.uuid[i]);
  out.byte(woken_by_power_switch).byte(0).byte(4);
  table.add(1, 0x100, out, {"Doppel", "Doppel PC", parameters.version, "Virtual Machine"});
}

void add_chassis(StructureTable& table) {
  constexpr u8 type_other = 1, state_safe = 3, security_none = 3;
  ByteWriter out;
  out.byte(1)               // manufacturer
      .byte(type_other)     // type
      .byte(0)              // version
      .byte(0)              // serial number
      .byte(0)              // asset tag
      .byte(state_safe)     // boot-up state
      .byte(state_safe)     // power supply state
      .byte(state_safe)     // thermal state
      .byte(security_none)  // security status
      .dword(0)             // OEM-defined
      .byte(0)              // height
      .byte(0)              // power cords
      .byte(0)              // contained elements
      .byte(0)              // length of each
      .byte(0);             // SKU number
  table.add(3, 0x300, out, {"Doppel"});
}

void add_processor(StructureTable& table, unsigned index) {
  constexpr u8 central_processor = 3, family_other = 1, populated_and_enabled = 0x41, upgrade_other = 1;
  constexpr u16 capable_of_64_bits = 1 << 2, no_cache = 0xffff;
  ByteWriter out;
  out.byte(1)                       // socket
      .byte(central_processor)      // type
      .byte(family_other)           // family
      .byte(2)                      // manufacturer
      .qword(0)                     // ID
      .byte(0)                      // version
      .byte(0)                      // voltage
      .word(0)                      // external clock
      .word(0)                      // maximum speed
      .word(0)                      // current speed
      .byte(populated_and_enabled)  // status
      .byte(upgrade_other)          // upgrade
      .word(no_cache)               // L1 cache
      .word(no_cache)               // L2 cache
      .word(no_cache)               // L3 cache
      .byte(0)                      // serial number
      .byte(0)                      // asset tag
      .byte(0)                      // part number
      .byte(1)                      // cores
      .byte(1)                      // cores enabled
      .byte(1)                      // threads
      .word(capable_of_64_bits)     // characteristics
      .word(family_other)           // family 2
      .word(1)                      // cores 2
      .word(1)                      // cores enabled 2
      .word(1);                     // threads 2
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
  out.byte(on_system_board)                       // location
      .byte(system_memory)                        // use
      .byte(no_correction)                        // error correction
      .dword(few ? kib : largest_in_kib)          // maximum capacity
      .word(no_error_information)                 // error information
      .word(1)                                    // devices
      .qword(few ? 0 : parameters.memory_bytes);  // extended maximum capacity
  table.add(16, array, out);

  const bool small = mib < largest_in_mib;
  ByteWriter device;
  device
      .word(array)                         // array
      .word(no_error_information)          // error information
      .word(0xffff)                        // total width: unknown
      .word(0xffff)                        // data width: unknown
      .word(small ? mib : largest_in_mib)  // size
      .byte(form_dimm)                     // form factor
      .byte(0)                             // device set
      .byte(1)                             // locator
      .byte(0)                             // bank locator
      .byte(memory_ram)                    // type
      .word(1 << unknown)                  // type detail
      .word(0)                             // speed
      .byte(2)                             // manufacturer
      .byte(0)                             // serial number
      .byte(0)                             // asset tag
      .byte(0)                             // part number
      .byte(0)                             // attributes
      .dword(small ? 0 : mib)              // extended size
      .word(0)                             // configured speed
      .word(0)                             // minimum voltage
      .word(0)                             // maximum voltage
      .word(0);                            // configured voltage
  table.add(17, 0x1100, device, {"DIMM 0", "Doppel"});

  u16 handle = 0x1300;
  for (const MemoryMapEntry& entry : parameters.memory_map) {
    if (entry.type != MemoryType::ram || entry.size < KiB) continue;
    const u64 first = entry.base / KiB, last = (entry.base + entry.size) / KiB - 1;
    const bool fits = last < 0xffff'ffff;
    ByteWriter range;
    range
        .dword(fits ? first : 0xffff'ffff)               // starting address, KiB
        .dword(fits ? last : 0xffff'ffff)                // ending address
        .word(array)                                     // array
        .byte(1)                                         // partition width
        .qword(fits ? 0 : entry.base)                    // extended starting address
        .qword(fits ? 0 : entry.base + entry.size - 1);  // extended ending address
    table.add(19, handle++, range);
  }
}

std::vector<u8> make_entry_3(GuestPhysical structures, u64 bytes) {
  ByteWriter out;
  out.text("_SM3_", 5)  // anchor
      .byte(0)          // checksum
      .byte(entry_3_bytes)
      .byte(3)             // major version
      .byte(0)             // minor version
      .byte(0)             // docrev
      .byte(1)             // entry point revision
      .byte(0)             // reserved
      .dword(bytes)        // structure table maximum size
      .qword(structures);  // structure table address
  CHECK(out.size() == entry_3_bytes);
  store<u8>(out.bytes(), 5, checksum(out.bytes()));
  return out.take();
}

// Two nested structures with a checksum each.
std::vector<u8> make_entry_2(GuestPhysical structures, const StructureTable& table, u64 bytes) {
  constexpr u64 intermediate = 16;
  ByteWriter out;
  out.text("_SM_", 4)  // anchor
      .byte(0)         // checksum
      .byte(entry_2_bytes)
      .byte(2)                // major version
      .byte(8)                // minor version
      .word(table.largest())  // largest structure
      .byte(0)                // entry point revision
      .zeros(5)               // formatted area
      .text("_DMI_", 5)       // intermediate anchor
      .byte(0)                // intermediate checksum
      .word(bytes)            // structure table length
      .dword(structures)      // structure table address
      .word(table.count())    // structures
      .byte(0x28);            // BCD revision
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
  boot_status.zeros(6).byte(0);  // reserved; no errors detected
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
