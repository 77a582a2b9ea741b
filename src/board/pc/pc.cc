// The parts list. See pc.h, and layout.h for where everything is.
#include "board/pc/pc.h"

#include <fmt/format.h>

#include <filesystem>

#include "base/log.h"
#include "board/pc/layout.h"
#include "device/debug/debug_port.h"
#include "device/input/i8042.h"
#include "device/pci/i440fx.h"
#include "device/pci/piix4_pm.h"
#include "device/serial/uart16550.h"
#include "device/timer/hpet.h"
#include "device/timer/i8254.h"
#include "device/timer/mc146818.h"
#include "device/timer/system_control.h"
#include "device/virtio/block.h"
#include "device/virtio/console.h"
#include "device/virtio/entropy.h"
#include "device/virtio/net.h"
#include "device/virtio/scsi.h"
#include "device/virtio/share.h"
#include "device/virtio/virtio_pci.h"
#include "disk/contents.h"
#include "disk/open.h"
#include "network/open.h"

namespace doppel::pc {

namespace {

// With the instruction clock a request completes so long after it was made: a fast disk.
constexpr Nanoseconds virtio_delay = 20'000;
constexpr u64 entropy_seed = 0x646f'7070'656c;

// Locally administered.
network::MacAddress mac_address(std::size_t nic) { return {0x52, 0x54, 0x00, 0x44, 0x50, static_cast<u8>(nic + 1)}; }

CompletionPolicy completion_policy(const BoardContext& context) {
  return context.deterministic ? CompletionPolicy::fixed_delay(context.clock, virtio_delay)
                               : CompletionPolicy::immediate(context.loop);
}

Result<std::unique_ptr<disk::BlockImage>> open_image(const DiskSpec& disk, disk::IoEngine& engine) {
  if (!disk.contents.empty()) return std::make_unique<disk::Contents>(disk.path, disk.contents, engine);
  std::error_code error;
  if (disk.cdrom && std::filesystem::status(disk.path, error).type() == std::filesystem::file_type::not_found)
    return fail(fmt::format("the CD-ROM image '{}' does not exist", disk.path));
  return disk::open_disk({.path = disk.path,
                          .format = disk.cdrom ? disk::Format::raw : disk.format,
                          .read_only = disk.read_only,
                          .snapshot = disk.snapshot,
                          .cache = disk.cache,
                          .base = disk.base},
                         engine);
}

}  // namespace

Result<std::unique_ptr<Board>> Pc::create(const BoardSpec& spec, const BoardContext& context) {
  std::unique_ptr<Pc> pc(new Pc(spec, context));
  TRY(pc->build());
  return pc;
}

Pc::Pc(const BoardSpec& spec, const BoardContext& context)
    : spec_(spec),
      context_(context),
      dma_(context.memory),
      pci_(context.ports, context.memory.mmio()),
      next_slot_(first_virtio_slot) {}

Pc::~Pc() {
  while (!owned_.empty()) owned_.pop_back();
}

Result<> Pc::build() {
  TRY(map_memory());
  add_interrupt_controllers();
  TRY(context_.memory.mmio().map(io_apic_base, page_size, *io_apic_, "I/O APIC"));
  TRY(map_ports(pic_master_ports, 2, pic_->master_ports(), "8259 master"));
  TRY(map_ports(pic_slave_ports, 2, pic_->slave_ports(), "8259 slave"));
  TRY(map_ports(pic_elcr_ports, 2, pic_->elcr_ports(), "8259 edge/level control"));
  TRY(add_timers());
  TRY(add_ports());
  TRY(add_pci());
  return add_virtio();
}

Result<> Pc::map_memory() {
  using Kind = PhysicalMemory::Kind;
  PhysicalMemory& memory = context_.memory;
  const u64 below_hole = std::min<u64>(spec_.memory_bytes, pci_memory_base);
  TRY(memory.map(0, 0, low_memory_end, Kind::ram, "low memory"));
  TRY(memory.map(bios_base, bios_base, high_memory_base - bios_base, Kind::ram, "in place of firmware"));
  TRY(memory.map(high_memory_base, high_memory_base, below_hole - high_memory_base, Kind::ram, "memory"));
  if (spec_.memory_bytes > below_hole) {
    TRY(memory.map(memory_above_4g, below_hole, spec_.memory_bytes - below_hole, Kind::ram, "memory above 4 GiB"));
  }
  return {};
}

void Pc::add_interrupt_controllers() {
  // The 8259s' output reaches every processor's LINT0 and input 0 of the I/O APIC, which passes it on as ExtINT if asked to.
  auto to_processors = std::make_shared<IrqLine>(fabric_.lint(0));
  pic_ = &add<I8259>(IrqLine([this, to_processors](bool level) {
    to_processors->set(level);
    io_apic_->set_input(0, level);
  }));
  io_apic_ = &add<IoApic>(fabric_);
  fabric_.attach(*io_apic_);
  for (unsigned i = 0; i < spec_.cpus; ++i) {
    processors_.push_back(std::make_unique<Processor>(i, *context_.cpus[i], context_.clock, fabric_, *pic_));
    fabric_.attach(processors_.back()->apic());
    devices_.push_back(&processors_.back()->apic());
  }
}

Result<> Pc::add_timers() {
  Clock& clock = context_.clock;
  Hpet::Wires wires{.irq0 = isa(pit_irq, "8254, HPET 0"),
                    .irq8 = isa(rtc_irq, "RTC, HPET 1"),
                    .ioapic = {},
                    .routable = 0,
                    .msi = fabric_.msi_sink()};
  for (unsigned input = hpet_first_input; input < IoApic::inputs; ++input) {
    wires.ioapic[input] = io_apic_->line(input);
    wires.routable |= 1u << input;
  }
  auto& hpet = add<Hpet>(clock, std::move(wires));
  TRY(context_.memory.mmio().map(hpet_base, Hpet::region_bytes, hpet, "HPET"));

  auto& pit = add<I8254>(clock, hpet.pit_input());
  TRY(map_ports(pit_ports, I8254::port_count, pit, "8254"));

  auto& rtc = add<Mc146818>(clock, hpet.rtc_input(), context_.epoch_seconds);
  const u64 below_hole = std::min<u64>(spec_.memory_bytes, pci_memory_base);
  rtc.set_memory_size(below_hole, spec_.memory_bytes - below_hole);
  TRY(map_ports(rtc_ports, Mc146818::port_count, rtc, "RTC and CMOS"));

  auto& control = add<SystemControl>(clock, pit, [this] { context_.control.request_reset(); });
  TRY(map_ports(system_control_b_port, 1, control.port_61(), "system control B"));
  TRY(map_ports(system_control_a_port, 1, control.port_92(), "system control A"));

  pm_ = &add<AcpiPm>(clock, isa(sci_irq, "ACPI SCI"), AcpiPm::TimerWidth::bits32,
                     [this] { context_.control.request_power_off(); });
  return map_ports(AcpiPm::smi_command_port, 2, pm_->apm_ports(), "APM control");
}

Result<> Pc::add_ports() {
  auto& keyboard = add<I8042>(isa(keyboard_irq, "keyboard"), isa(mouse_irq, "mouse"),
                              [this] { context_.control.request_reset(); });
  TRY(map_ports(keyboard_data_port, 1, keyboard.data_port(), "8042 data"));
  TRY(map_ports(keyboard_command_port, 1, keyboard.command_port(), "8042 command"));

  auto& com1 = add<Uart16550>("com1", context_.clock, isa(com1_irq, "COM1"));
  TRY(map_ports(com1_ports, Uart16550::port_count, com1, "COM1"));
  auto& com2 = add<Uart16550>("com2", context_.clock, isa(com2_irq, "COM2"));
  TRY(map_ports(com2_ports, Uart16550::port_count, com2, "COM2"));
  if (spec_.console == ConsoleKind::serial) console_ = &com1;

  auto& debug = add<DebugConsole>([](std::span<const u8> line) {
    log::info("port 0xe9: {}", std::string_view(reinterpret_cast<const char*>(line.data()), line.size()));
  });
  TRY(map_ports(debug_console_port, 1, debug, "debug console"));
  if (spec_.debug_exit) {
    // As QEMU's isa-debug-exit, so that odd statuses tell guests' from hosts'.
    auto& exit = add<DebugExit>([this](u32 value) { context_.control.request_exit(static_cast<int>(value << 1 | 1)); });
    TRY(map_ports(debug_exit_port, 4, exit, "debug exit"));
  }
  return {};
}

Result<> Pc::add_pci() {
  auto& ports = add<PciConfigPorts>(pci_, [this] { context_.control.request_reset(); });
  TRY(map_ports(PciConfigPorts::base, PciConfigPorts::size, ports, "PCI configuration, reset control"));
  TRY(plug(0, 0, add<I440fxHostBridge>()));

  std::array<IrqLine, 16> pic_inputs;
  for (const unsigned irq : pirq_isa) pic_inputs[irq] = pic_->line(irq);
  isa_bridge_ = &add<Piix3IsaBridge>(std::move(pic_inputs));
  TRY(plug(isa_bridge_slot, 0, *isa_bridge_));
  TRY(plug(isa_bridge_slot, power_management_function, add<Piix4Pm>(context_.ports, *pm_)));

  for (unsigned pirq = 0; pirq < PciBus::pirqs; ++pirq) {
    const unsigned input = io_apic_first_pirq + pirq;
    pci_.connect(pirq, IrqLine([this, pirq, input](bool level) {
                   isa_bridge_->set_pirq(pirq, level);
                   io_apic_->set_input(input, level);
                 }));
    wires_.push_back({input, fmt::format("PCI PIRQ {}", static_cast<char>('A' + pirq))});
  }
  return {};
}

Result<> Pc::add_virtio() {
  const CompletionPolicy policy = completion_policy(context_);
  if (context_.deterministic) {
    entropy_ = std::make_unique<SeededEntropy>(entropy_seed);
  } else {
    entropy_ = std::make_unique<HostEntropy>();
  }
  io_ = TRY(disk::IoEngine::create(
      context_.loop, context_.deterministic ? disk::IoEngine::Kind::immediate : disk::IoEngine::Kind::automatic));

  TRY(add_disks(policy));
  for (const ShareSpec& share : spec_.shares) {
    auto server = TRY(p9::Server::create(share.path, share.read_only));
    TRY(plug_virtio(std::make_unique<VirtioShare>("share " + share.tag, dma_, policy, std::move(server), share.tag)));
  }
  for (std::size_t i = 0; i < spec_.nics.size(); ++i) {
    const network::NicSpec& nic = spec_.nics[i];
    ports_.push_back(TRY(network::open_port(context_.loop, nic)));
    TRY(plug_virtio(std::make_unique<VirtioNet>(fmt::format("net{}", i), dma_, policy, *ports_.back(),
                                                nic.mac.value_or(mac_address(i)), spec_.cpus, nic.mtu)));
  }
  TRY(plug_virtio(std::make_unique<VirtioEntropy>("entropy", dma_, policy, *entropy_)));
  auto console = std::make_unique<VirtioConsole>("console", dma_, policy);
  if (spec_.console == ConsoleKind::virtio) console_ = console.get();
  return plug_virtio(std::move(console));
}

// Each virtio disk in a slot of its own; one SCSI host behind them, if any disk wants it.
Result<> Pc::add_disks(const CompletionPolicy& policy) {
  std::vector<std::unique_ptr<scsi::LogicalUnit>> units;
  for (std::size_t i = 0; i < spec_.disks.size(); ++i) {
    const DiskSpec& disk = spec_.disks[i];
    auto image = TRY(open_image(disk, *io_));
    const std::string serial = disk.serial.empty() ? fmt::format("doppel-{}", i) : disk.serial;
    if (disk.bus == DiskBus::scsi) {
      const auto kind = disk.cdrom ? scsi::LogicalUnit::Kind::cdrom : scsi::LogicalUnit::Kind::disk;
      units.push_back(std::make_unique<scsi::LogicalUnit>(kind, std::move(image), serial));
    } else {
      TRY(plug_virtio(std::make_unique<VirtioBlock>(fmt::format("disk{}", i), dma_, policy, std::move(image),
                                                    VirtioBlock::Options{.serial = serial, .queues = spec_.cpus})));
    }
  }
  if (units.empty()) return {};
  return plug_virtio(
      std::make_unique<VirtioScsi>("scsi", dma_, policy, std::move(units), VirtioScsi::Options{.queues = spec_.cpus}));
}

Result<> Pc::map_ports(u64 base, u64 size, IoHandler& handler, std::string_view name) {
  return context_.ports.map(base, size, handler, std::string(name));
}

Result<> Pc::plug(unsigned slot, unsigned function, PciFunction& device) { return pci_.attach(slot, function, device); }

Result<> Pc::plug_virtio(std::unique_ptr<VirtioDevice> device) {
  if (next_slot_ == PciBus::slots) return fail(fmt::format("no PCI slot is left for '{}'", device->name()));
  return plug(next_slot_++, 0, add<VirtioPci>(std::move(device), fabric_.msi_sink()));
}

IrqLine Pc::isa(unsigned irq, std::string_view name) {
  wires_.push_back({irq, fmt::format("{} (I/O APIC input {})", name, irq == pit_irq ? io_apic_pit_input : irq)});
  return IrqLine([this, irq](bool level) {
    pic_->set_irq(irq, level);
    io_apic_->set_input(irq == pit_irq ? io_apic_pit_input : irq, level);
  });
}

std::vector<Device*> Pc::devices() { return devices_; }

}  // namespace doppel::pc
