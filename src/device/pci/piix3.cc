// The PIIX3's ISA bridge; see piix3.h.
#include "device/pci/piix3.h"

namespace doppel {

namespace {
constexpr u16 routable = 0xdef8;  // IRQ 3–7, 9–12, 14, 15

constexpr ConfigRegister registers[] = {
    // §2.2.3: I/O, memory and bus master are hardwired on.
    {.name = "PCICMD", .offset = 0x04, .bytes = 2, .reset = 0x0007, .writable = 0x0008},
    {.name = "PCISTS", .offset = 0x06, .bytes = 2, .reset = 0x0200, .clears = 0x7800},
    {.name = "IORT", .offset = 0x4c, .bytes = 1, .reset = 0x4d, .writable = 0x7f},
    {.name = "XBCS", .offset = 0x4e, .bytes = 2, .reset = 0x0003, .writable = 0x07ff},
    {.name = "PIRQRCA", .offset = 0x60, .bytes = 1, .reset = 0x80, .writable = 0x8f},
    {.name = "PIRQRCB", .offset = 0x61, .bytes = 1, .reset = 0x80, .writable = 0x8f},
    {.name = "PIRQRCC", .offset = 0x62, .bytes = 1, .reset = 0x80, .writable = 0x8f},
    {.name = "PIRQRCD", .offset = 0x63, .bytes = 1, .reset = 0x80, .writable = 0x8f},
    {.name = "TOM", .offset = 0x69, .bytes = 1, .reset = 0x02, .writable = 0xfe},
    {.name = "MSTAT", .offset = 0x6a, .bytes = 2, .writable = 0x8002},
    {.name = "MBIRQ0", .offset = 0x70, .bytes = 1, .reset = 0x80, .writable = 0xef},
    {.name = "MBDMA0", .offset = 0x76, .bytes = 1, .reset = 0x0c, .writable = 0x8f},
    {.name = "MBDMA1", .offset = 0x77, .bytes = 1, .reset = 0x0c, .writable = 0x8f},
    {.name = "PCSC", .offset = 0x78, .bytes = 2, .reset = 0x0002, .writable = 0xffff},
    {.name = "APICBASE", .offset = 0x80, .bytes = 1, .writable = 0x7f},
    {.name = "DLC", .offset = 0x82, .bytes = 1, .writable = 0x0f},
    {.name = "SMICNTL", .offset = 0xa0, .bytes = 1, .reset = 0x08, .writable = 0x1f},
    {.name = "SMIEN", .offset = 0xa2, .bytes = 2, .writable = 0x01ff},
    {.name = "SEE", .offset = 0xa4, .bytes = 4, .writable = 0xffffffff},
    {.name = "FTMR", .offset = 0xa8, .bytes = 1, .reset = 0x0f, .writable = 0xff},
    {.name = "SMIREQ", .offset = 0xaa, .bytes = 2, .clears = 0x01ff},
    {.name = "CTLTMR", .offset = 0xac, .bytes = 1, .writable = 0xff},
    {.name = "CTHTMR", .offset = 0xae, .bytes = 1, .writable = 0xff},
};
}  // namespace

Piix3IsaBridge::Piix3IsaBridge(std::array<IrqLine, 16> isa)
    : PciFunction("piix3-isa", {.vendor = 0x8086,
                                .device = 0x7000,
                                .class_code = 0x060100,
                                .subsystem_vendor = 0x1af4,
                                .subsystem = 0x1100,
                                .multifunction = true}),
      isa_(std::move(isa)) {
  define(registers);
  routes_.fill(0x80);
}

void Piix3IsaBridge::set_pirq(unsigned pirq, bool level) {
  const std::lock_guard lock(routing_mutex_);
  pirqs_[pirq & 3] = level;
  drive();
}

void Piix3IsaBridge::after_config_write(unsigned offset, unsigned bytes) {
  if (offset < pirqrc_a + 4 && offset + bytes > pirqrc_a) reroute();
}

void Piix3IsaBridge::reroute() {
  const std::lock_guard lock(routing_mutex_);
  for (unsigned i = 0; i < routes_.size(); ++i) routes_[i] = static_cast<u8>(config_get(pirqrc_a + i, 1));
  drive();
}

void Piix3IsaBridge::drive() {
  u16 wanted = 0;
  for (unsigned i = 0; i < pirqs_.size(); ++i) {
    if (pirqs_[i] && (routes_[i] & 0x80) == 0) wanted |= static_cast<u16>(1u << (routes_[i] & 15));
  }
  wanted &= routable;
  const u16 changed = wanted ^ driven_;
  driven_ = wanted;
  for (unsigned irq = 0; irq < isa_.size(); ++irq) {
    if ((changed >> irq & 1) != 0) isa_[irq].set((wanted >> irq & 1) != 0);
  }
}

void Piix3IsaBridge::reset() {
  PciFunction::reset();
  reroute();
}

// The PIRQs' levels come back from the functions that drive them.
void Piix3IsaBridge::state(state::Archive& archive) {
  archive.begin("piix3-isa", 1);
  PciFunction::state(archive);
  archive.end();
  if (archive.loading()) reroute();
}

}  // namespace doppel
