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
  out.text(signature, 4).u32_(0).u8_(revision).u8_(0).text("DOPPEL", 6).text("DOPPELPC", 8).u32_(1).text("DPPL", 4).u32_(1);
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
  out.u8_(system_io).u8_(bits).u8_(0).u8_(static_cast<u8>(access)).u64_(port);
}
void put_no_address(ByteWriter& out) { out.zeros(12); }

std::vector<u8> make_facs() {
  ByteWriter out;
  out.text("FACS", 4).u32_(facs_bytes).zeros(24).u8_(2).zeros(31);  // version 2, §5.2.10
  CHECK(out.size() == facs_bytes);
  return out.take();
}

// §5.2.9. Fixed feature flags and IA-PC boot flags: tables 5.10 and 5.11.
u32 fadt_flags() {
  constexpr u32 wbinvd = 1 << 0, c1_works = 1 << 2, no_sleep_button = 1 << 5, no_rtc_wake_status = 1 << 6,
                timer_has_32_bits = 1 << 8, reset_register = 1 << 10;
  return wbinvd | c1_works | no_sleep_button | no_rtc_wake_status | timer_has_32_bits | reset_register;  // power button: fixed
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
  out.u32_(facs).u32_(dsdt).u8_(0).u8_(profile_desktop).u16_(parameters.sci)
      .u32_(0).u8_(0).u8_(0).u8_(0).u8_(0)  // SMI_CMD and its values: none
      .u32_(parameters.pm1a_event).u32_(0).u32_(parameters.pm1a_control).u32_(0).u32_(0).u32_(parameters.pm_timer)
      .u32_(parameters.gpe0).u32_(0)
      .u8_(pm1_event_bytes).u8_(pm1_control_bytes).u8_(0).u8_(pm_timer_bytes).u8_(parameters.gpe0_bytes).u8_(0).u8_(0).u8_(0)
      .u16_(no_c2).u16_(no_c3).u16_(0).u16_(0)  // FLUSH_SIZE, FLUSH_STRIDE: WBINVD works
      .u8_(0).u8_(0).u8_(0).u8_(0).u8_(parameters.rtc_century)  // DUTY_*, DAY_ALRM, MON_ALRM
      .u16_(boot_flags(parameters)).u8_(0).u32_(fadt_flags());
  put_port(out, reset_port, 8, AccessSize::byte);
  out.u8_(reset_value).u16_(0).u8_(5);   // ARM boot flags; minor version: 6.5
  out.u64_(0).u64_(dsdt);                // the FACS is in its 32-bit field; only one of the two may be set
  put_port(out, parameters.pm1a_event, 8 * pm1_event_bytes, AccessSize::word);
  put_no_address(out);
  put_port(out, parameters.pm1a_control, 8 * pm1_control_bytes, AccessSize::word);
  put_no_address(out);
  put_no_address(out);
  put_port(out, parameters.pm_timer, 8 * pm_timer_bytes, AccessSize::dword);
  put_port(out, parameters.gpe0, 8u * parameters.gpe0_bytes, AccessSize::byte);
  put_no_address(out);
  put_no_address(out);                   // sleep control and status: hardware-reduced ACPI only
  put_no_address(out);
  out.text("DOPPEL", 8, '\0');
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
  out.u32_(parameters.local_apic).u32_(has_8259s);
  for (unsigned cpu = 0; cpu < parameters.cpus; ++cpu) out.u8_(type_local_apic).u8_(8).u8_(cpu).u8_(cpu).u32_(enabled);
  out.u8_(type_io_apic).u8_(12).u8_(parameters.io_apic_id).u8_(0).u32_(parameters.io_apic).u32_(0);
  out.u8_(type_source_override).u8_(10).u8_(isa_bus).u8_(0).u32_(timer_gsi).u16_(conforms_to_bus);
  out.u8_(type_source_override).u8_(10).u8_(isa_bus).u8_(parameters.sci).u32_(parameters.sci).u16_(active_high_level);
  out.u8_(type_local_apic_nmi).u8_(6).u8_(all_processors).u16_(conforms_to_bus).u8_(lint1);
  return finish(out);
}

std::vector<u8> make_hpet(const Parameters& parameters) {
  constexpr u16 minimum_tick = 0x80;
  ByteWriter out = begin_table("HPET", 1);
  out.u32_(parameters.hpet_id);
  out.u8_(0).u8_(64).u8_(0).u8_(0).u64_(parameters.hpet);  // memory space
  out.u8_(0).u16_(minimum_tick).u8_(0);
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
  for (const GuestPhysical table : tables) wide ? out.u64_(table) : out.u32_(table);
  return finish(out);
}

// §5.2.5.3. The first checksum covers what ACPI 1.0 knew.
std::vector<u8> make_rsdp(GuestPhysical rsdt, GuestPhysical xsdt) {
  constexpr u64 acpi_1_bytes = 20;
  ByteWriter out;
  out.text("RSD PTR ", 8).u8_(0).text("DOPPEL", 6).u8_(2).u32_(rsdt).u32_(rsdp_bytes).u64_(xsdt).zeros(4);
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
