// What firmware would have done by the time that it starts a kernel: PCI addresses, interrupt routing, ACPI tables; and then the
// kernel itself. Done again at every reset.
#include "firmware/boot.h"
#include "base/bits.h"
#include "base/check.h"
#include "board/pc/layout.h"
#include "board/pc/pc.h"
#include "device/pci/assign.h"
#include "device/pci/piix4_pm.h"
#include "device/timer/hpet.h"
#include "firmware/acpi/tables.h"
#include "firmware/smbios.h"

namespace doppel::pc {

namespace {

firmware::acpi::Parameters acpi_parameters(const BoardSpec& spec) {
  firmware::acpi::Parameters tables{
      .base = acpi_tables,
      .cpus = spec.cpus,
      .local_apic = local_apic_base,
      .io_apic = io_apic_base,
      .pirq_gsis = {io_apic_first_pirq, io_apic_first_pirq + 1, io_apic_first_pirq + 2, io_apic_first_pirq + 3},
      .hpet = hpet_base,
      .sci = sci_irq,
      .pm1a_event = pm_ports + AcpiPm::pm1_event,
      .pm1a_control = pm_ports + AcpiPm::pm1_control,
      .pm_timer = pm_ports + AcpiPm::pm_timer,
      .gpe0 = pm_ports + AcpiPm::gpe0,
      .gpe0_bytes = AcpiPm::gpe0_bytes,
      .s5_sleep_type = AcpiPm::s5_sleep_type,
      .memory_window = {pci_memory_base, pci_memory_end},
  };
  if (spec.debug_exit) tables.other_ports.push_back({debug_exit_port, 4});
  return tables;
}

// Virtual wire mode (Intel MultiProcessor specification 1.4 §3.6.2.2): the 8259s' interrupts pass through the bootstrap
// processor's local APIC, also for a system that never looks at it.
void enter_virtual_wire_mode(LocalInterrupts& bootstrap) {
  constexpr u32 spurious_vector = 0xf0, lint0 = 0x350, lint1 = 0x360;
  constexpr u32 enabled_with_vector_255 = 0x1ff, external = 0x700, nmi = 0x400;
  bootstrap.write_apic(spurious_vector, enabled_with_vector_255);
  bootstrap.write_apic(lint0, external);
  bootstrap.write_apic(lint1, nmi);
}

// MTRRs as firmware sets them on every processor: memory is write-back, what lies between PCI's window and 4 GiB uncacheable.
// Intel SDM vol. 3 §12.11.
void set_memory_types(x86::X86State& state) {
  constexpr u64 enabled = 1 << 11, write_back = 6, uncacheable = 0;
  state.mtrr_default = enabled | write_back;
  state.mtrr_variable[0] = pci_memory_base | uncacheable;
  state.mtrr_variable[1] = (low_bits(physical_address_bits) & ~(memory_above_4g - pci_memory_base - 1)) | enabled;
}

}  // namespace

Result<> Pc::configure() {
  TRY(assign_pci_resources(
      pci_, {.io_base = pci_io_base, .io_end = pci_io_end, .memory_base = pci_memory_base, .memory_end = pci_memory_end},
      pirq_isa));
  PciFunction& pm = *pci_.find(isa_bridge_slot, power_management_function);
  pm.config_write(Piix4Pm::pmbase, 4, pm_ports | 1);
  pm.config_write(Piix4Pm::pmregmisc, 1, 1);
  // PCI interrupts and the SCI are levels.
  u16 levels = 1 << sci_irq;
  for (const u8 irq : pirq_isa) levels = static_cast<u16>(levels | 1 << irq);
  context_.ports.write(pic_elcr_ports, 1, levels & 0xff);
  context_.ports.write(pic_elcr_ports + 1, 1, levels >> 8);
  enter_virtual_wire_mode(*processors_[0]);
  return {};
}

std::vector<firmware::MemoryMapEntry> Pc::memory_map() const {
  using firmware::MemoryType;
  const u64 below_hole = std::min<u64>(spec_.memory_bytes, pci_memory_base);
  std::vector<firmware::MemoryMapEntry> map{
      {0, extended_bios_data, MemoryType::ram},
      {extended_bios_data, low_memory_end - extended_bios_data, MemoryType::reserved},
      {bios_base, high_memory_base - bios_base, MemoryType::reserved},
      {high_memory_base, below_hole - high_memory_base, MemoryType::ram},
  };
  if (spec_.memory_bytes > below_hole)
    map.push_back({memory_above_4g, spec_.memory_bytes - below_hole, MemoryType::ram});
  return map;
}

Result<> Pc::boot(std::span<Vcpu* const> vcpus) {
  const auto map = memory_map();
  const std::vector<u8> acpi = firmware::acpi::build_tables(acpi_parameters(spec_));
  const std::vector<u8> smbios = firmware::build_smbios({.base = smbios_tables,
                                                         .cpus = spec_.cpus,
                                                         .memory_map = map,
                                                         .memory_bytes = spec_.memory_bytes,
                                                         .version = DOPPEL_VERSION});
  CHECK(acpi.size() <= smbios_tables - acpi_tables && smbios.size() <= high_memory_base - smbios_tables);
  dma_.write(acpi_tables, acpi.data(), acpi.size());
  dma_.write(smbios_tables, smbios.data(), smbios.size());
  x86::X86State state = TRY(
      firmware::boot_kernel(dma_, {.kernel = spec_.kernel, .initrd = spec_.initrd, .command_line = spec_.append},
                            {.layout = boot_layout, .memory_map = map, .acpi_rsdp = acpi_tables}));
  // What the kernel's entry does not define stays as the reset left it.
  const x86::X86State& fresh = vcpus[0]->get_state();
  state.tsc_offset = fresh.tsc_offset;
  state.tsc_adjust = fresh.tsc_adjust;
  state.instruction_count = fresh.instruction_count;
  set_memory_types(state);
  vcpus[0]->set_state(state);
  for (Vcpu* other : vcpus.subspan(1)) {
    x86::X86State waiting = other->get_state();
    set_memory_types(waiting);
    other->set_state(waiting);
  }
  return {};
}

}  // namespace doppel::pc
