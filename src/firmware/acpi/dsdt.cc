// The DSDT: what an operating system cannot find out by itself about the board. Reads like the ASL that iasl -d makes of it.
// ACPI 6.5 §5 and §6; ISA device identifiers from the PNP list; 82371SB (PIIX3) §2.2.6 for the PIRQ routing registers.
#include <string>

#include "device/pci/pci_bus.h"
#include "firmware/acpi/aml.h"
#include "firmware/acpi/tables.h"

namespace doppel::firmware::acpi {

namespace {

using namespace aml;

constexpr u8 isa_bridge_slot = 1;  // PIIX3
constexpr unsigned slots = PciBus::slots, pirqs = PciBus::pirqs;
constexpr u64 pirq_unrouted = 0x80;

std::string link_name(unsigned pirq) { return std::string("LNK") + static_cast<char>('A' + pirq); }
std::string register_name(unsigned pirq) { return std::string("PRQ") + static_cast<char>('A' + pirq); }

Term isa_device(std::string_view where, std::string_view id, const std::vector<Term>& resources) {
  return device(where, name("_HID", eisa_id(id)), name("_CRS", resource_template(resources)));
}

Term serial_port(unsigned number, u16 base, unsigned irq) {
  return device("COM" + std::to_string(number), name("_HID", eisa_id("PNP0501")), name("_UID", integer(number)),
                name("_CRS", resource_template({io(base, 8), irq_no_flags(irq)})));
}

Term isa_bridge(const Parameters& parameters) {
  Term devices = terms(isa_device("PIC", "PNP0000", {io(0x20, 2), io(0xa0, 2), io(0x4d0, 2), irq_no_flags(2)}),
                       isa_device("TIMR", "PNP0100", {io(0x40, 4), irq_no_flags(0)}),
                       isa_device("RTC", "PNP0B00", {io(0x70, 2), irq_no_flags(8)}));
  if (parameters.keyboard)
    devices = terms(devices, isa_device("KBD", "PNP0303", {io(0x60, 1), io(0x64, 1), irq_no_flags(1)}));
  if (parameters.mouse) devices = terms(devices, isa_device("MOU", "PNP0F13", {irq_no_flags(12)}));
  if (parameters.serial_ports >= 1) devices = terms(devices, serial_port(1, 0x3f8, 4));
  if (parameters.serial_ports >= 2) devices = terms(devices, serial_port(2, 0x2f8, 3));
  if (parameters.fw_cfg) {
    devices = terms(devices, device("FWCF", name("_HID", string("QEMU0002")), name("_STA", integer(0xb)),
                                    name("_CRS", resource_template({io(0x510, 0xc)}))));
  }
  return device("ISA", name("_ADR", integer(u64{isa_bridge_slot} << 16)),
                operation_region("PIRQ", Space::pci_config, 0x60, pirqs),
                byte_field("PIRQ", {{"PRQA", 8}, {"PRQB", 8}, {"PRQC", 8}, {"PRQD", 8}}), devices);
}

// Entries {slot and all functions, pin, source, index}. With the I/O APIC the source is a GSI, without it a link device.
Term routing(const Parameters& parameters, bool apic) {
  std::vector<Term> entries;
  for (unsigned slot = 1; slot < slots; ++slot) {
    for (unsigned pin = 0; pin < pirqs; ++pin) {
      const unsigned pirq = PciBus::pirq_of(slot, pin + 1);
      const Term source = apic ? integer(0) : path(link_name(pirq));
      const Term index = integer(apic ? parameters.pirq_gsis[pirq] : 0);
      entries.push_back(package({integer(u64{slot} << 16 | 0xffff), integer(pin), source, index}));
    }
  }
  return package(entries);
}

Term host_bridge(const Parameters& parameters) {
  std::vector<Term> windows{
      word_bus_number(0, 0xff),
      io(0xcf8, 8),
      word_io(0, 0xcf7),
      word_io(0xd00, 0xffff),
      dword_memory(true, 0xa0000, 0xbffff),
  };
  const Window low = parameters.memory_window, high = parameters.high_memory_window;
  if (low.base != low.end)
    windows.push_back(dword_memory(false, static_cast<u32>(low.base), static_cast<u32>(low.end - 1)));
  if (high.base != high.end) windows.push_back(qword_memory(true, high.base, high.end - 1));
  return device("PCI0", name("_HID", eisa_id("PNP0A03")), name("_UID", integer(0)), name("_BBN", integer(0)),
                name("_CRS", resource_template(windows)), name("PRTA", routing(parameters, true)),
                name("PRTP", routing(parameters, false)),
                method("_PRT", 0, if_(path("\\PICF"), return_(path("PRTA"))), return_(path("PRTP"))),
                isa_bridge(parameters));
}

// Where the interrupt number lies in a resource template that holds one extended interrupt descriptor.
constexpr u64 interrupt_number_offset = 5;

Term link_resource(const std::vector<u32>& irqs) {
  return resource_template({interrupts(irqs, Trigger::level, Polarity::active_low, Sharing::shared)});
}

// A PIRQ's routing register as a device that can be set, so that the PIC mode has interrupts too.
Term link_device(const Parameters& parameters, unsigned pirq) {
  const Term routed = path("\\_SB.PCI0.ISA." + register_name(pirq));
  return device(
      link_name(pirq), name("_HID", eisa_id("PNP0C0F")), name("_UID", integer(pirq + 1)),
      name("_PRS", link_resource(parameters.pirq_choices)),
      method("_STA", 0, if_(and_(routed, integer(pirq_unrouted)), return_(integer(0x9))), return_(integer(0xb))),
      method("_DIS", 0, or_(routed, integer(pirq_unrouted), routed)),
      serialized_method("_CRS", 0, store(link_resource(std::vector<u32>{0}), local(0)),
                        create_dword_field(local(0), interrupt_number_offset, "IRQN"),
                        if_(logical_not(and_(routed, integer(pirq_unrouted))), and_(routed, integer(0xf), path("IRQN"))),
                        return_(local(0))),
      serialized_method("_SRS", 1, create_dword_field(arg(0), interrupt_number_offset, "IRQN"),
                        store(path("IRQN"), routed)));
}

// Resources that no other device describes, so that nothing else is put there.
Term motherboard(const Parameters& parameters) {
  std::vector<Term> resources;
  for (const PortRange range : parameters.other_ports) resources.push_back(io(range.base, range.bytes));
  resources.push_back(memory32_fixed(true, parameters.io_apic, 0x1000));
  resources.push_back(memory32_fixed(true, parameters.local_apic, 0x1000));
  return isa_device("MBRD", "PNP0C02", resources);
}

}  // namespace

std::vector<u8> build_dsdt_body(const Parameters& parameters) {
  Term system;
  for (unsigned cpu = 0; cpu < parameters.cpus; ++cpu) {
    system = terms(system,
                   device("CPU" + std::to_string(cpu), name("_HID", string("ACPI0007")), name("_UID", integer(cpu))));
  }
  for (unsigned pirq = 0; pirq < pirqs; ++pirq) system = terms(system, link_device(parameters, pirq));
  if (parameters.hpet != 0) {
    system = terms(system, isa_device("HPET", "PNP0103", {memory32_fixed(false, parameters.hpet, 0x400)}));
  }
  return terms(
      // The operating system says which interrupt model it uses: 0 the PIC, 1 the I/O APIC.
      name("PICF", integer(0)), method("_PIC", 1, store(arg(0), path("PICF"))),
      name("_S5",
           package({integer(parameters.s5_sleep_type), integer(parameters.s5_sleep_type), integer(0), integer(0)})),
      scope("\\_SB", host_bridge(parameters), system, motherboard(parameters)));
}

}  // namespace doppel::firmware::acpi
