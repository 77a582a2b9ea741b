// The PIIX4's power management function; see piix4_pm.h.
#include "device/pci/piix4_pm.h"

#include "base/log.h"

namespace doppel {

namespace {
constexpr ConfigRegister registers[] = {
    {.name = "PCISTS", .offset = 0x06, .bytes = 2, .reset = 0x0280, .clears = 0x7800},
    {.name = "PMBASE", .offset = 0x40, .bytes = 4, .reset = 1, .writable = 0xffc0},
    {.name = "CNTA", .offset = 0x44, .bytes = 4, .writable = 0xffffffff},
    {.name = "CNTB", .offset = 0x48, .bytes = 4, .writable = 0xffffffff},
    {.name = "GPICTL", .offset = 0x4c, .bytes = 4, .writable = 0xffffffff},
    {.name = "DEVRESD", .offset = 0x50, .bytes = 3 + 1, .writable = 0xffffffff},
    {.name = "DEVACTA", .offset = 0x54, .bytes = 4, .writable = 0xffffffff},
    {.name = "DEVACTB", .offset = 0x58, .bytes = 4, .writable = 0xffffffff},
    {.name = "DEVRESA", .offset = 0x5c, .bytes = 4, .writable = 0xffffffff},
    {.name = "DEVRESB", .offset = 0x60, .bytes = 4, .writable = 0xffffffff},
    {.name = "DEVRESC", .offset = 0x64, .bytes = 4, .writable = 0xffffffff},
    {.name = "DEVRESE", .offset = 0x68, .bytes = 4, .writable = 0xffffffff},
    {.name = "DEVRESF", .offset = 0x6c, .bytes = 4, .writable = 0xffffffff},
    {.name = "DEVRESG", .offset = 0x70, .bytes = 4, .writable = 0xffffffff},
    {.name = "DEVRESH", .offset = 0x74, .bytes = 4, .writable = 0xffffffff},
    {.name = "DEVRESI", .offset = 0x78, .bytes = 4, .writable = 0xffffffff},
    {.name = "DEVRESJ", .offset = 0x7c, .bytes = 4, .writable = 0xffffffff},
    {.name = "PMREGMISC", .offset = 0x80, .bytes = 1, .writable = 0x01},
    {.name = "SMBBA", .offset = 0x90, .bytes = 4, .reset = 1, .writable = 0xfff0},
    {.name = "SMBHSTCFG", .offset = 0xd2, .bytes = 1, .writable = 0x0f},
};
}  // namespace

Piix4Pm::Piix4Pm(Bus& ports, IoHandler& handler)
    : PciFunction("piix4-pm", {.vendor = 0x8086,
                               .device = 0x7113,
                               .revision = 0x03,
                               .class_code = 0x068000,
                               .subsystem_vendor = 0x1af4,
                               .subsystem = 0x1100,
                               .interrupt_pin = 1}),
      ports_(ports),
      registers_(handler) {
  define(registers);
}

Piix4Pm::~Piix4Pm() {
  if (mapped_ != 0) ports_.unmap(mapped_);
}

void Piix4Pm::after_config_write(unsigned offset, unsigned bytes) {
  const bool base = offset < pmbase + 4 && offset + bytes > pmbase;
  const bool enable = offset <= pmregmisc && offset + bytes > pmregmisc;
  if (base || enable) remap();
}

void Piix4Pm::remap() {
  const std::lock_guard lock(mapping_mutex_);
  const bool enabled = (config_get(pmregmisc, 1) & 1) != 0;
  const u64 wanted = enabled ? config_get(pmbase, 4) & 0xffc0 : 0;
  if (wanted == mapped_) return;
  if (mapped_ != 0) ports_.unmap(mapped_);
  mapped_ = 0;
  if (wanted == 0) return;
  const auto result = ports_.map(wanted, register_bytes, registers_, "acpi-pm");
  if (result) {
    mapped_ = wanted;
  } else {
    log::debug("PIIX4: {}", result.error().message);  // a guest may do that: the registers are then nowhere
  }
}

void Piix4Pm::reset() {
  PciFunction::reset();
  remap();
}

void Piix4Pm::state(state::Archive& archive) {
  archive.begin("piix4-pm", 1);
  PciFunction::state(archive);
  archive.end();
  if (archive.loading()) remap();
}

}  // namespace doppel
