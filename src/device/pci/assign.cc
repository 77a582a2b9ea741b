// PCI resources without firmware; see assign.h.
#include "device/pci/assign.h"

#include <fmt/format.h>

#include "base/bits.h"
#include "device/pci/piix3.h"

namespace doppel {

namespace {

Result<u64> take(u64& next, u64 end, u64 size, const PciFunction& function) {
  const u64 base = align_up(next, size);
  if (base < next || base > end || size > end - base) {
    return fail(fmt::format("the PCI address window is too small for '{}'", function.name()));
  }
  next = base + size;
  return base;
}

Result<> assign_bars(PciFunction& function, u64& next_io, u64& next_memory, const PciWindows& windows) {
  u16 decode = 0;
  for (unsigned i = 0; i < PciFunction::bar_count; ++i) {
    const auto& bar = function.bars()[i];
    if (bar.size == 0) continue;
    const bool io = bar.kind == PciFunction::BarKind::io;
    const u64 base = io ? TRY(take(next_io, windows.io_end, bar.size, function))
                        : TRY(take(next_memory, windows.memory_end, bar.size, function));
    function.config_write(pci::bar0 + 4 * i, 4, static_cast<u32>(base));
    if (bar.kind == PciFunction::BarKind::memory64)
      function.config_write(pci::bar0 + 4 * i + 4, 4, static_cast<u32>(base >> 32));
    decode |= io ? pci::command_io : pci::command_memory;
  }
  if (decode != 0) {
    const u32 command = function.config_read(pci::command, 2);
    function.config_write(pci::command, 2, command | decode | pci::command_bus_master);
  }
  return {};
}

}  // namespace

Result<> assign_pci_resources(PciBus& bus, const PciWindows& windows, const std::array<u8, PciBus::pirqs>& pirq_isa) {
  u64 next_io = windows.io_base;
  u64 next_memory = windows.memory_base;
  bool routed = false;
  for (unsigned slot = 0; slot < PciBus::slots; ++slot) {
    for (unsigned number = 0; number < PciBus::functions_per_slot; ++number) {
      PciFunction* function = bus.find(slot, number);
      if (function == nullptr) continue;
      TRY(assign_bars(*function, next_io, next_memory, windows));
      if (const u32 pin = function->config_read(pci::interrupt_pin, 1); pin != 0) {
        function->config_write(pci::interrupt_line, 1, pirq_isa[PciBus::pirq_of(slot, pin)]);
      }
      if (routed || dynamic_cast<Piix3IsaBridge*>(function) == nullptr) continue;
      for (unsigned i = 0; i < pirq_isa.size(); ++i)
        function->config_write(Piix3IsaBridge::pirqrc_a + i, 1, pirq_isa[i]);
      routed = true;
    }
  }
  return {};
}

}  // namespace doppel
