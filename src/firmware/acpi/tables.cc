// Field by field in the order of the specification's tables; sizes are checked against its lengths. See tables.h.
#include "firmware/acpi/tables.h"

#include <algorithm>

#include "base/check.h"
#include "firmware/bytes.h"

namespace doppel::firmware::acpi {

namespace {

constexpr u64 header_bytes = 36, rsdp_bytes = 36, facs_bytes = 64, fadt_bytes = 276;
constexpr u64 table_alignment = 16, facs_alignment = 64;

// §5.2.6. Length and checksum are put in by finish().
ByteWriter begin_table(std::string_view signature, u8 revision) {
  ByteWriter out;
  out.text(signature, 4)
      .dword(0)
      .byte(revision)
      .byte(0)
      .text("DOPPEL", 6)
      .text("DOPPELPC", 8)
      .dword(1)
      .text("DPPL", 4)
      .dword(1);
  CHECK(out.size() == header_bytes);
  return out;
}

std::vector<u8> finish(ByteWriter& table) {
  store<u32>(table.bytes(), 4, static_cast<u32>(table.size()));
  store<u8>(table.bytes(), 9, checksum(table.bytes()));
  return table.take();
}

// Generic Address Structure, §5.2.3.2.
enum class AccessSize : u8 { undefined = 0, byte = 1, word = 2, dword = 3 };
void put_port(ByteWriter& out, u64 port, unsigned bits, AccessSize access) {
  constexpr u8 system_io = 1;
  out.byte(system_io).byte(bits).byte(0).byte(static_cast<u8>(access)).qword(port);
}
void put_no_address(ByteWriter& out) { out.zeros(12); }

std::vector<u8> make_facs() {
  ByteWriter out;
  out.text("FACS", 4).dword(facs_bytes).zeros(24).byte(2).zeros(31);  // version 2, §5.2.10
  CHECK(out.size() == facs_bytes);
  return out.take();
}

// §5.2.9. Fixed feature flags and IA-PC boot flags: tables 5.10 and 5.11.
u32 fadt_flags() {
  constexpr u32 wbinvd = 1 << 0, c1_works = 1 << 2, no_sleep_button = 1 << 5, no_rtc_wake_status = 1 << 6,
                timer_has_32_bits = 1 << 8, reset_register = 1 << 10;
  return wbinvd | c1_works | no_sleep_button | no_rtc_wake_status | timer_has_32_bits |
         reset_register;  // power button: fixed
}

u16 boot_flags(const Parameters& parameters) {
  constexpr u16 legacy_devices = 1 << 0, has_8042 = 1 << 1, vga_absent = 1 << 2;
  return static_cast<u16>(legacy_devices | (parameters.keyboard ? has_8042 : 0) | (parameters.vga ? 0 : vga_absent));
}

std::vector<u8> make_fadt(const Parameters& parameters, GuestPhysical facs, GuestPhysical dsdt) {
  constexpr u8 profile_desktop = 1, pm1_event_bytes = 4, pm1_control_bytes = 2, pm_timer_bytes = 4;
  constexpr u16 no_c2 = 101, no_c3 = 1001;  // latencies that say "not supported"
  constexpr u16 reset_port = 0xcf9;
  constexpr u8 reset_value = 6;
  ByteWriter out = begin_table("FACP", 6);
  out.dword(facs)                                  // FIRMWARE_CTRL
      .dword(dsdt)                                 // DSDT
      .byte(0)                                     // reserved
      .byte(profile_desktop)                       // Preferred_PM_Profile
      .word(parameters.sci)                        // SCI_INT
      .dword(0)                                    // SMI_CMD: no system management mode
      .byte(0)                                     // ACPI_ENABLE
      .byte(0)                                     // ACPI_DISABLE
      .byte(0)                                     // S4BIOS_REQ
      .byte(0)                                     // PSTATE_CNT
      .dword(parameters.pm1a_event)                // PM1a_EVT_BLK
      .dword(0)                                    // PM1b_EVT_BLK
      .dword(parameters.pm1a_control)              // PM1a_CNT_BLK
      .dword(0)                                    // PM1b_CNT_BLK
      .dword(0)                                    // PM2_CNT_BLK
      .dword(parameters.pm_timer)                  // PM_TMR_BLK
      .dword(parameters.gpe0)                      // GPE0_BLK
      .dword(0)                                    // GPE1_BLK
      .byte(pm1_event_bytes)                       // PM1_EVT_LEN
      .byte(pm1_control_bytes)                     // PM1_CNT_LEN
      .byte(0)                                     // PM2_CNT_LEN
      .byte(pm_timer_bytes)                        // PM_TMR_LEN
      .byte(parameters.gpe0_bytes)                 // GPE0_BLK_LEN
      .byte(0)                                     // GPE1_BLK_LEN
      .byte(0)                                     // GPE1_BASE
      .byte(0)                                     // CST_CNT
      .word(no_c2)                                 // P_LVL2_LAT
      .word(no_c3)                                 // P_LVL3_LAT
      .word(0)                                     // FLUSH_SIZE: not used, WBINVD works
      .word(0)                                     // FLUSH_STRIDE
      .byte(0)                                     // DUTY_OFFSET
      .byte(0)                                     // DUTY_WIDTH
      .byte(0)                                     // DAY_ALRM
      .byte(0)                                     // MON_ALRM
      .byte(parameters.rtc_century)                // CENTURY
      .word(boot_flags(parameters))                // IAPC_BOOT_ARCH
      .byte(0)                                     // reserved
      .dword(fadt_flags());                        // Flags
  put_port(out, reset_port, 8, AccessSize::byte);  // RESET_REG
  out.byte(reset_value)                            // RESET_VALUE
      .word(0)                                     // ARM_BOOT_ARCH
      .byte(5)                                     // FADT minor version: 6.5
      .qword(0)                                    // X_FIRMWARE_CTRL: the FACS is in its 32-bit field
      .qword(dsdt);                                // X_DSDT
  put_port(out, parameters.pm1a_event, 8 * pm1_event_bytes, AccessSize::word);
  put_no_address(out);  // X_PM1b_EVT_BLK
  put_port(out, parameters.pm1a_control, 8 * pm1_control_bytes, AccessSize::word);
  put_no_address(out);  // X_PM1b_CNT_BLK
  put_no_address(out);  // X_PM2_CNT_BLK
  put_port(out, parameters.pm_timer, 8 * pm_timer_bytes, AccessSize::dword);
  put_port(out, parameters.gpe0, 8u * parameters.gpe0_bytes, AccessSize::byte);
  put_no_address(out);          // X_GPE1_BLK
  put_no_address(out);          // SLEEP_CONTROL_REG: hardware-reduced ACPI only
  put_no_address(out);          // SLEEP_STATUS_REG
  out.text("DOPPEL", 8, '\0');  // Hypervisor Vendor Identity
  CHECK(out.size() == fadt_bytes);
  return finish(out);
}

// §5.2.12.
std::vector<u8> make_madt(const Parameters& parameters) {
  constexpr u8 type_local_apic = 0, type_io_apic = 1, type_source_override = 2, type_local_apic_nmi = 4;
  constexpr u32 has_8259s = 1, enabled = 1;
  constexpr u16 conforms_to_bus = 0, active_high_level = 1 | 3 << 2;
  constexpr u8 isa_bus = 0, all_processors = 0xff, lint1 = 1;
  constexpr u32 timer_gsi = 2;
  ByteWriter out = begin_table("APIC", 5);
  out.dword(parameters.local_apic).dword(has_8259s);
  for (unsigned cpu = 0; cpu < parameters.cpus; ++cpu)
    out.byte(type_local_apic).byte(8).byte(cpu).byte(cpu).dword(enabled);
  out.byte(type_io_apic).byte(12).byte(parameters.io_apic_id).byte(0).dword(parameters.io_apic).dword(0);
  out.byte(type_source_override).byte(10).byte(isa_bus).byte(0).dword(timer_gsi).word(conforms_to_bus);
  out.byte(type_source_override).byte(10).byte(isa_bus).byte(parameters.sci).dword(parameters.sci).word(active_high_level);
  out.byte(type_local_apic_nmi).byte(6).byte(all_processors).word(conforms_to_bus).byte(lint1);
  return finish(out);
}

std::vector<u8> make_hpet(const Parameters& parameters) {
  constexpr u16 minimum_tick = 0x80;
  ByteWriter out = begin_table("HPET", 1);
  out.dword(parameters.hpet_id);
  out.byte(0).byte(64).byte(0).byte(0).qword(parameters.hpet);  // memory space
  out.byte(0).word(minimum_tick).byte(0);
  return finish(out);
}

std::vector<u8> make_dsdt(const Parameters& parameters) {
  ByteWriter out = begin_table("DSDT", 2);  // 2: integers have 64 bits
  out.raw(build_dsdt_body(parameters));
  return finish(out);
}

// RSDT and XSDT, §5.2.7 and §5.2.8: the same list with addresses of 4 or 8 bytes.
std::vector<u8> make_list(std::string_view signature, const std::vector<GuestPhysical>& tables, bool wide) {
  ByteWriter out = begin_table(signature, 1);
  for (const GuestPhysical table : tables) wide ? out.qword(table) : out.dword(table);
  return finish(out);
}

// §5.2.5.3. The first checksum covers what ACPI 1.0 knew.
std::vector<u8> make_rsdp(GuestPhysical rsdt, GuestPhysical xsdt) {
  constexpr u64 acpi_1_bytes = 20;
  ByteWriter out;
  out.text("RSD PTR ", 8).byte(0).text("DOPPEL", 6).byte(2).dword(rsdt).dword(rsdp_bytes).qword(xsdt).zeros(4);
  CHECK(out.size() == rsdp_bytes);
  store<u8>(out.bytes(), 8, checksum(out.bytes().first(acpi_1_bytes)));
  store<u8>(out.bytes(), 32, checksum(out.bytes()));
  return out.take();
}

}  // namespace

std::vector<u8> build_tables(const Parameters& parameters) {
  CHECK(parameters.base % table_alignment == 0 && parameters.cpus >= 1);
  ByteWriter block;
  block.zeros(rsdp_bytes);
  const auto append = [&](const std::vector<u8>& table, u64 alignment) {
    const u64 misplaced = (parameters.base + block.size()) % alignment;
    if (misplaced != 0) block.zeros(alignment - misplaced);
    const GuestPhysical address = parameters.base + block.size();
    block.raw(table);
    return address;
  };
  const GuestPhysical facs = append(make_facs(), facs_alignment);
  const GuestPhysical dsdt = append(make_dsdt(parameters), table_alignment);
  std::vector<GuestPhysical> tables{append(make_fadt(parameters, facs, dsdt), table_alignment),
                                    append(make_madt(parameters), table_alignment)};
  if (parameters.hpet != 0) tables.push_back(append(make_hpet(parameters), table_alignment));
  const GuestPhysical rsdt = append(make_list("RSDT", tables, false), table_alignment);
  const GuestPhysical xsdt = append(make_list("XSDT", tables, true), table_alignment);
  CHECK(parameters.base + block.size() <= u64{1} << 32);
  std::vector<u8> bytes = block.take();
  std::ranges::copy(make_rsdp(rsdt, xsdt), bytes.begin());
  return bytes;
}

}  // namespace doppel::firmware::acpi
