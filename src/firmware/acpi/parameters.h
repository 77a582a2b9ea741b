// What the ACPI tables say about a board. Plain data; the board's layout is where the numbers come from.
#pragma once

#include <array>
#include <vector>

#include "base/types.h"
#include "memory/physical_memory.h"

namespace doppel::firmware::acpi {

struct PortRange {
  u16 base;
  u8 bytes;
};
struct Window {
  u64 base;
  u64 end;
};  // [base, end); empty: base == end

struct Parameters {
  GuestPhysical base;  // of everything; the RSDP comes first: 16-byte aligned and within 0xe0000–0xfffff to be found there
  unsigned cpus = 1;  // their local APIC IDs and processor UIDs are 0, 1, …

  // Interrupts. ISA interrupt 0 arrives at GSI 2, the SCI at its own GSI, level and active high; the others are identical.
  u32 local_apic = 0xfee0'0000;
  u32 io_apic = 0xfec0'0000;
  u8 io_apic_id = 0;
  std::array<u32, 4> pirq_gsis{16, 17, 18, 19};  // where PIRQ A–D arrive at the I/O APIC
  std::vector<u32> pirq_choices{10, 11};         // ISA interrupts that the PIIX3 may route a PIRQ to (without I/O APIC)
  u32 hpet = 0xfed0'0000;                        // 0: none
  u32 hpet_id = 0x8086'a201;                     // low half of its General Capabilities register

  // Fixed hardware. A system control interrupt and no SMI: the machine is always in ACPI mode.
  u16 sci = 9;
  u16 pm1a_event, pm1a_control, pm_timer, gpe0;  // ports; PIIX4: PMBASE + 0, 4, 8, 0xc
  u8 gpe0_bytes = 4;                             // status and enable halves together
  u8 s5_sleep_type = 0;                          // SLP_TYP that powers off; PIIX4: 0
  u8 rtc_century = 0x32;                         // index in CMOS RAM

  // PCI 00. The I/O window is all ports but the configuration ports.
  Window memory_window;  // below 4 GiB
  Window high_memory_window{};

  // Devices on the ISA bus.
  unsigned serial_ports = 2;  // COM1, COM2
  bool keyboard = true, mouse = true, vga = false;
  bool fw_cfg = false;                   // 0x510–0x51b
  std::vector<PortRange> other_ports{};  // decoded by the board and described nowhere else
};

}  // namespace doppel::firmware::acpi
