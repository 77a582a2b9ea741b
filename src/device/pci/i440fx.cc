// The i440FX host bridge; see i440fx.h.
#include "device/pci/i440fx.h"

namespace doppel {

namespace {
constexpr ConfigRegister registers[] = {
    // §3.2.3: memory decode and bus master are hardwired on.
    {.name = "PCICMD", .offset = 0x04, .bytes = 2, .reset = 0x0006, .writable = 0x0100},
    {.name = "PCISTS", .offset = 0x06, .bytes = 2, .reset = 0x0280, .clears = 0x7000},
    {.name = "PMCCFG", .offset = 0x50, .bytes = 2, .writable = 0xcc70},
    {.name = "DETURBO", .offset = 0x52, .bytes = 1, .writable = 0xff},
    {.name = "DBC", .offset = 0x53, .bytes = 1, .reset = 0x80, .writable = 0x65},
    {.name = "AXC", .offset = 0x54, .bytes = 1, .writable = 0xff},
    {.name = "DRT", .offset = 0x55, .bytes = 2, .writable = 0xffff},
    {.name = "DRAMC", .offset = 0x57, .bytes = 1, .reset = 0x01, .writable = 0xdf},
    {.name = "DRAMT", .offset = 0x58, .bytes = 1, .reset = 0x10, .writable = 0x7f},
    {.name = "PAM0", .offset = 0x59, .bytes = 1, .writable = 0x33},
    {.name = "PAM1-2", .offset = 0x5a, .bytes = 2, .writable = 0x3333},
    {.name = "PAM3-6", .offset = 0x5c, .bytes = 4, .writable = 0x33333333},
    {.name = "DRB0-3", .offset = 0x60, .bytes = 4, .reset = 0x01010101, .writable = 0xffffffff},
    {.name = "DRB4-7", .offset = 0x64, .bytes = 4, .reset = 0x01010101, .writable = 0xffffffff},
    {.name = "FDHC", .offset = 0x68, .bytes = 1, .writable = 0x80},
    {.name = "MTT", .offset = 0x70, .bytes = 1, .writable = 0xf8},
    {.name = "CLT", .offset = 0x71, .bytes = 1, .reset = 0x10, .writable = 0xff},
    {.name = "SMRAM", .offset = 0x72, .bytes = 1, .reset = 0x02, .writable = 0x78},
    {.name = "ERRCMD", .offset = 0x90, .bytes = 1, .writable = 0x1b},
    {.name = "ERRSTS", .offset = 0x91, .bytes = 1, .clears = 0x11},
    {.name = "TRC", .offset = 0x93, .bytes = 1, .writable = 0x06},
};
}  // namespace

I440fxHostBridge::I440fxHostBridge()
    : PciFunction("i440fx", {.vendor = 0x8086,
                             .device = 0x1237,
                             .revision = 0x02,
                             .class_code = 0x060000,
                             .subsystem_vendor = 0x1af4,
                             .subsystem = 0x1100}) {
  define(registers);
}

}  // namespace doppel
