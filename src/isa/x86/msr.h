// Model-specific registers: one table of what exists, which bits may be written, and where the value lives.
// Intel SDM vol. 4 (edition 085). The local APIC's registers are not here: engines ask LocalInterrupts first.
#pragma once

#include <string_view>

#include "isa/x86/registers.h"

namespace doppel::x86 {

enum class MsrKind : u8 {
  field,      // `field` of X86State
  canonical,  // the same; a value that is not canonical is refused
  constant,   // `constant`; writable bits may be written and are forgotten
  read_only,  // `constant`; any write is refused
  command,    // write-only: reading is refused, writing has no visible effect
  // What needs more than a field:
  efer,
  tsc,
  tsc_adjust,
  tsc_aux,
  fs_base,
  gs_base,
  pat,
  mtrr_variable,
  mtrr_fixed,
  mtrr_default,
};

struct Msr {
  u32 index;
  std::string_view name;
  MsrKind kind;
  u64 X86State::* field = nullptr;
  u64 constant = 0;        // or, for a field, bits that always read as one
  u64 writable = ~u64{0};  // changing any other bit is refused
};

const Msr* find_msr(u32 index);  // nullptr: no such register

namespace msr {
constexpr u32 tsc = 0x10, tsc_adjust = 0x3b, apic_base = 0x1b, tsc_deadline = 0x6e0, x2apic_first = 0x800,
              x2apic_last = 0x8ff, efer = 0xc000'0080, fs_base = 0xc000'0100, gs_base = 0xc000'0101,
              kernel_gs_base = 0xc000'0102, tsc_aux = 0xc000'0103, mtrr_variable_first = 0x200,
              mtrr_variable_last = 0x20f;
}

// IA32_ARCH_CAPABILITIES: what this processor is not vulnerable to (an interpreter does not speculate).
namespace arch_capabilities {
constexpr u64 rdcl_no = 1 << 0, ibrs_all = 1 << 1, skip_l1dfl = 1 << 3, ssb_no = 1 << 4, mds_no = 1 << 5,
              pschange_mc_no = 1 << 6, taa_no = 1 << 8, sbdr_ssdp_no = 1 << 13, fbsdp_no = 1 << 14, psdp_no = 1 << 15,
              bhi_no = 1 << 20, pbrsb_no = 1 << 24, gds_no = 1 << 26, rfds_no = 1 << 27, its_no = u64{1} << 62;
constexpr u64 all = rdcl_no | ibrs_all | skip_l1dfl | ssb_no | mds_no | pschange_mc_no | taa_no | sbdr_ssdp_no |
                    fbsdp_no | psdp_no | bhi_no | pbrsb_no | gds_no | rfds_no | its_no;
}  // namespace arch_capabilities

// Values that the processor refuses beyond reserved bits.
bool valid_pat(u64 value);         // eight memory types
bool valid_memory_type(u8 type);   // of an MTRR: UC, WC, WT, WP, WB
bool valid_mtrr_fixed(u64 value);  // eight of them
bool valid_mtrr_base(u64 value);
bool valid_mtrr_mask(u64 value);
bool valid_mtrr_default(u64 value);
// Index into X86State::mtrr_fixed.
unsigned mtrr_fixed_slot(u32 index);

}  // namespace doppel::x86
