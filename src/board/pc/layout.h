// Where everything is in a PC: an i440FX/PIIX3 machine, as firmware and operating systems expect it.
//
//   guest-physical addresses
//   0000'0000–0009'fbff  RAM. Without firmware: what the kernel is handed lies here (boot_layout)
//   0009'fc00–0009'ffff  extended BIOS data area (reserved)
//   000a'0000–000d'ffff  VGA memory and option ROMs: nothing there
//   000e'0000–000f'ffff  RAM in place of firmware; reserved, holds the ACPI and SMBIOS tables
//   0010'0000–…          RAM, at most up to 3 GiB
//   c000'0000–febf'ffff  PCI memory window
//   fec0'0000            I/O APIC
//   fed0'0000            HPET
//   fee0'0000            local APICs (each processor sees its own) and message-signalled interrupts
//   1'0000'0000–…        the rest of RAM
//
//   ISA interrupts = I/O APIC inputs 0–15 (the 8254 arrives at input 2); PIRQ A–D = inputs 16–19
#pragma once

#include <array>

#include "base/units.h"
#include "firmware/boot.h"
#include "isa/x86/paging.h"
#include "memory/physical_memory.h"

namespace doppel::pc {

// ---- memory ----
constexpr GuestPhysical low_memory_end = 0xa'0000;
constexpr GuestPhysical extended_bios_data = 0x9'fc00;
constexpr GuestPhysical bios_base = 0xe'0000;
constexpr GuestPhysical high_memory_base = 0x10'0000;
constexpr GuestPhysical pci_memory_base = 0xc000'0000, pci_memory_end = 0xfec0'0000;
constexpr GuestPhysical io_apic_base = 0xfec0'0000;
constexpr GuestPhysical hpet_base = 0xfed0'0000;
constexpr GuestPhysical local_apic_base = 0xfee0'0000;
constexpr GuestPhysical memory_above_4g = 4 * GiB;
using x86::physical_address_bits;

constexpr GuestPhysical acpi_tables = bios_base;  // the first 64 KiB
constexpr GuestPhysical smbios_tables = 0xf'0000;

constexpr firmware::BootLayout boot_layout{
    .gdt = 0x1000,
    .boot_info = 0x2000,
    .page_tables = 0x4000,
    .stack_end = 0x1'0000,
    .command_line = 0x2'0000,
    .command_line_bytes = 4096,
};

// ---- ports ----
constexpr u64 pic_master_ports = 0x20, pic_slave_ports = 0xa0, pic_elcr_ports = 0x4d0;
constexpr u64 pit_ports = 0x40;
constexpr u64 keyboard_data_port = 0x60, keyboard_command_port = 0x64;
constexpr u64 system_control_b_port = 0x61, system_control_a_port = 0x92;
constexpr u64 rtc_ports = 0x70;
constexpr u64 debug_console_port = 0xe9;
constexpr u64 debug_exit_port = 0xf4;
constexpr u64 com1_ports = 0x3f8, com2_ports = 0x2f8;
constexpr u64 pm_ports = 0x600;  // PMBASE, as firmware sets it
constexpr u64 pci_io_base = 0xc000, pci_io_end = 0x1'0000;

// ---- interrupts ----
constexpr unsigned pit_irq = 0, keyboard_irq = 1, com2_irq = 3, com1_irq = 4, rtc_irq = 8, sci_irq = 9, mouse_irq = 12;
constexpr unsigned io_apic_pit_input = 2, io_apic_first_pirq = 16;
constexpr unsigned hpet_first_input = 20;  // to the last: its own
constexpr std::array<u8, 4> pirq_isa{10, 10, 11, 11};

// ---- PCI slots ----
constexpr unsigned isa_bridge_slot = 1, power_management_function = 3, first_virtio_slot = 2;

}  // namespace doppel::pc
