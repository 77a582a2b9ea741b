// x86 registers, and the one canonical state of a processor that every engine shares.
// Intel SDM vol. 1 §3.4, vol. 3 §2 (system registers), edition 085.
#pragma once

#include <array>

#include "base/bits.h"
#include "base/types.h"

namespace doppel::x86 {

enum Gpr : u8 { rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15 };
enum Segment : u8 { es, cs, ss, ds, fs, gs };  // encoding order

namespace rflags {
constexpr u64 cf = 1 << 0, pf = 1 << 2, af = 1 << 4, zf = 1 << 6, sf = 1 << 7, tf = 1 << 8, if_ = 1 << 9, df = 1 << 10,
              of = 1 << 11, iopl = 3 << 12, nt = 1 << 14, rf = 1 << 16, vm = 1 << 17, ac = 1 << 18, vif = 1 << 19,
              vip = 1 << 20, id = 1 << 21;
constexpr u64 fixed = 1 << 1;                        // always reads as one
constexpr u64 status = cf | pf | af | zf | sf | of;  // what arithmetic writes
using Iopl = Bits<12, 2>;
}  // namespace rflags

namespace cr0 {
constexpr u64 pe = 1 << 0, mp = 1 << 1, em = 1 << 2, ts = 1 << 3, et = 1 << 4, ne = 1 << 5, wp = 1 << 16, am = 1 << 18,
              nw = 1 << 29, cd = 1 << 30, pg = u64{1} << 31;
}
namespace cr4 {
constexpr u64 vme = 1 << 0, pvi = 1 << 1, tsd = 1 << 2, de = 1 << 3, pse = 1 << 4, pae = 1 << 5, mce = 1 << 6,
              pge = 1 << 7, pce = 1 << 8, osfxsr = 1 << 9, osxmmexcpt = 1 << 10, umip = 1 << 11, la57 = 1 << 12,
              vmxe = 1 << 13, fsgsbase = 1 << 16, pcide = 1 << 17, osxsave = 1 << 18, smep = 1 << 20, smap = 1 << 21,
              pke = 1 << 22;
}
namespace efer {
constexpr u64 sce = 1 << 0, lme = 1 << 8, lma = 1 << 10, nxe = 1 << 11;
}

// Exception vectors, Intel SDM vol. 3 §6.15.
enum Vector : u8 {
  divide_error = 0,
  debug = 1,
  nmi = 2,
  breakpoint = 3,
  overflow = 4,
  bound_range = 5,
  invalid_opcode = 6,
  device_not_available = 7,
  double_fault = 8,
  invalid_tss = 10,
  segment_not_present = 11,
  stack_fault = 12,
  general_protection = 13,
  page_fault = 14,
  x87_error = 16,
  alignment_check = 17,
  machine_check = 18,
  simd_error = 19,
};

// A segment register with its hidden part. `attributes` holds descriptor bits 40–47 in bits 0–7 (type, S, DPL, P) and
// bits 52–55 in bits 12–15 (AVL, L, D/B, G), as VMX's access rights do; `limit` is in bytes, expanded by G.
struct SegmentRegister {
  u64 base = 0;
  u32 limit = 0xffff;
  u16 selector = 0;
  u16 attributes = 0;

  using Type = Bits<0, 4>;
  using CodeOrData = Bits<4>;  // S
  using Dpl = Bits<5, 2>;
  using Present = Bits<7>;
  using Available = Bits<12>;
  using Long = Bits<13>;  // L
  using Big = Bits<14>;   // D/B
  using Granular = Bits<15>;
};

struct DescriptorTable {
  u64 base = 0;
  u16 limit = 0xffff;
};

// An x87 register: explicit-integer-bit significand, sign and exponent. Stored by physical register number (R0–R7).
struct Float80 {
  u64 significand = 0;
  u16 sign_exponent = 0;
};

struct FpuState {
  std::array<Float80, 8> registers;  // R0–R7: ST(i) is registers[(top + i) & 7]; MMi aliases the significand of Ri
  u16 control = 0x037f;              // FCW
  u16 status = 0;                    // FSW, TOP in bits 11–13
  u8 valid = 0;                      // abridged tag word as FXSAVE has it: bit i set = Ri not empty
  u16 opcode = 0;                    // FOP, 11 bits
  u64 instruction_pointer = 0;       // FIP (with FCS in instruction_selector when not REX.W)
  u64 data_pointer = 0;
  u16 instruction_selector = 0;
  u16 data_selector = 0;
};

struct alignas(32) VectorRegister {
  std::array<u64, 4> words{};  // XMM = words 0–1, YMM = 0–3
};

enum class Activity : u8 { running, halted, wait_for_sipi, shutdown };

// Between two instructions this is the whole processor. Engines may keep parts elsewhere while they run; get_state()
// makes it whole. Reset values: Intel SDM vol. 3 table 10-1 (after RESET).
struct X86State {
  std::array<u64, 16> gpr{};
  u64 rip = 0xfff0;
  u64 rflags = rflags::fixed;

  std::array<SegmentRegister, 6> segments{};
  SegmentRegister ldtr{}, tr{};
  DescriptorTable gdtr{}, idtr{};

  u64 cr0 = 0x6000'0010, cr2 = 0, cr3 = 0, cr4 = 0;
  u64 efer = 0, xcr0 = 1;
  std::array<u64, 4> pdptrs{};  // PAE: loaded at MOV CR3 and kept (SDM vol. 3 §4.4.1)
  std::array<u64, 8> dr{0, 0, 0, 0, 0, 0, 0xffff'0ff0, 0x400};

  FpuState fpu{};
  std::array<VectorRegister, 16> vectors{};
  u32 mxcsr = 0x1f80;

  u64 star = 0, lstar = 0, cstar = 0, fmask = 0, kernel_gs_base = 0;
  u64 sysenter_cs = 0, sysenter_esp = 0, sysenter_eip = 0;
  u64 pat = 0x0007'0406'0007'0406, misc_enable = 1, spec_ctrl = 0, debugctl = 0, xss = 0;
  u64 tsc_adjust = 0, tsc_offset = 0;  // guest TSC = Clock ticks + tsc_offset; WRMSR TSC moves both
  u32 tsc_aux = 0;
  std::array<u64, 11> mtrr_fixed{};
  std::array<u64, 16> mtrr_variable{};  // base, mask pairs
  u64 mtrr_default = 0;

  Activity activity = Activity::running;
  bool sti_shadow = false;     // maskable interrupts held off for one instruction
  bool mov_ss_shadow = false;  // and debug traps too
  bool nmi_blocked = false;    // until IRET
  u64 instruction_count = 0;   // retired; a REP instruction counts once, a faulting instruction not at all

  unsigned cpl() const { return SegmentRegister::Dpl::get(segments[ss].attributes); }
  bool long_mode() const { return efer & efer::lma; }
};

// RESET: real mode at 0xfffffff0 (CS base 0xffff0000). INIT keeps x87/SSE, XCR0, MTRRs, most MSRs, TSC and the count.
void reset(X86State& state);
void init(X86State& state, bool bootstrap_processor);

}  // namespace doppel::x86
