// The local APIC's register names, fields and access rights. Intel SDM vol. 3 table 11-1 (xAPIC), table 11-6 (x2APIC),
// edition 085. Offsets are those of the xAPIC page; the x2APIC MSR is 0x800 + offset / 16.
#pragma once

#include <array>

#include "base/bits.h"
#include "base/types.h"

namespace doppel::apic {

namespace reg {
constexpr u32 id = 0x020, version = 0x030, tpr = 0x080, apr = 0x090, ppr = 0x0a0, eoi = 0x0b0, rrd = 0x0c0, ldr = 0x0d0,
              dfr = 0x0e0, svr = 0x0f0, isr = 0x100, tmr = 0x180, irr = 0x200, esr = 0x280, icr_low = 0x300,
              icr_high = 0x310, lvt_timer = 0x320, lvt_thermal = 0x330, lvt_performance = 0x340, lvt_lint0 = 0x350,
              lvt_lint1 = 0x360, lvt_error = 0x370, initial_count = 0x380, current_count = 0x390, divide = 0x3e0,
              self_ipi = 0x3f0;
}  // namespace reg

namespace lvt {
using VectorField = Bits<0, 8>;
using Mode = Bits<8, 3>;
using RemoteIrr = Bits<14>;
using LevelTriggered = Bits<15>;
using Masked = Bits<16>;
using TimerMode = Bits<17, 2>;
constexpr u32 reset = Masked::mask;
}  // namespace lvt

namespace icr {
using VectorField = Bits<0, 8>;
using Mode = Bits<8, 3>;
using Logical = Bits<11>;
using Assert = Bits<14>;
using LevelTriggered = Bits<15>;
using Shorthand = Bits<18, 2>;
enum : u8 { no_shorthand, self, all_including_self, all_excluding_self };
}  // namespace icr

namespace svr {
using VectorField = Bits<0, 8>;
using Enabled = Bits<8>;
using SuppressEoiBroadcast = Bits<12>;
constexpr u32 reset = 0xff;
}  // namespace svr

namespace esr {
constexpr u32 send_illegal_vector = 1 << 5, receive_illegal_vector = 1 << 6, illegal_register_address = 1 << 7;
}

// IA32_APIC_BASE
namespace base {
using Bootstrap = Bits<8>;
using Extended = Bits<10>;  // x2APIC mode
using Enabled = Bits<11>;
constexpr u64 reset_address = 0xfee0'0000;
}  // namespace base

constexpr u32 msr_apic_base = 0x1b;
constexpr u32 msr_tsc_deadline = 0x6e0;
constexpr u32 msr_x2apic_first = 0x800;
constexpr u32 msr_x2apic_last = 0x8ff;

// Six LVT entries (no CMCI), suppression of EOI broadcasts, an integrated APIC.
constexpr u32 version_value = 1 << 24 | 5 << 16 | 0x14;

struct Register {
  u32 offset;
  unsigned count;  // consecutive registers, 16 bytes apart
  bool xapic, x2apic;
  bool readable, writable;
  u64 settable;     // bits that a write may set
  u64 ignored = 0;  // bits that are read-only or historic and may be written without #GP in x2APIC mode
};

constexpr u64 icr_settable = 0xc'cfff;
constexpr u64 delivery_status = 1 << 12;

constexpr std::array registers{
    Register{reg::id, 1, true, true, true, false, 0},
    Register{reg::version, 1, true, true, true, false, 0},
    Register{reg::tpr, 1, true, true, true, true, 0xff},
    Register{reg::apr, 1, true, false, true, false, 0},  // reads 0: arbitration is the bus's affair since the Pentium 4
    Register{reg::ppr, 1, true, true, true, false, 0},
    Register{reg::eoi, 1, true, true, false, true, 0},
    Register{reg::rrd, 1, true, false, true, false, 0},  // reads 0: remote read went with the Pentium 4
    Register{reg::ldr, 1, true, false, true, true, 0xff00'0000},
    Register{reg::ldr, 1, false, true, true, false, 0},
    Register{reg::dfr, 1, true, false, true, true, 0xf000'0000},
    Register{reg::svr, 1, true, true, true, true, 0x13ff},
    Register{reg::isr, 8, true, true, true, false, 0},
    Register{reg::tmr, 8, true, true, true, false, 0},
    Register{reg::irr, 8, true, true, true, false, 0},
    Register{reg::esr, 1, true, true, true, true, 0},
    Register{reg::icr_low, 1, true, false, true, true, icr_settable},
    Register{reg::icr_low, 1, false, true, true, true, 0xffff'ffff'0000'0000 | icr_settable, delivery_status},
    Register{reg::icr_high, 1, true, false, true, true, 0xff00'0000},
    Register{reg::lvt_timer, 1, true, true, true, true, 0x7'00ff, delivery_status},
    Register{reg::lvt_thermal, 2, true, true, true, true, 0x1'07ff, delivery_status},  // and lvt_performance
    Register{reg::lvt_lint0, 2, true, true, true, true, 0x1'a7ff, delivery_status | lvt::RemoteIrr::mask},
    Register{reg::lvt_error, 1, true, true, true, true, 0x1'00ff, delivery_status},
    Register{reg::initial_count, 1, true, true, true, true, 0xffff'ffff},
    Register{reg::current_count, 1, true, true, true, false, 0},
    Register{reg::divide, 1, true, true, true, true, 0xb},
    Register{reg::self_ipi, 1, false, true, false, true, 0xff},
};

// Index into `registers` by offset / 16, one table per mode.
constexpr u8 reserved_register = 0xff;
constexpr auto register_indices = [] {
  std::array<std::array<u8, 64>, 2> table{};
  for (auto& mode : table) mode.fill(reserved_register);
  u8 index = 0;
  for (const Register& entry : registers) {
    for (unsigned i = 0; i < entry.count; ++i) {
      if (entry.xapic) table[0][entry.offset / 16 + i] = index;
      if (entry.x2apic) table[1][entry.offset / 16 + i] = index;
    }
    ++index;
  }
  return table;
}();

// The register at a multiple of 16 in that mode; nullptr for reserved ones.
constexpr const Register* find_register(u32 offset, bool x2apic) {
  if (offset / 16 >= 64) return nullptr;
  const u8 index = register_indices[x2apic][offset / 16];
  return index == reserved_register ? nullptr : &registers[index];
}

}  // namespace doppel::apic
