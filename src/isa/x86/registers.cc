// Register values after RESET and INIT: Intel SDM vol. 3 table 10-1, edition 085.
// EDX holds the processor signature afterwards; the engine, which knows its CPUID table, puts it there.
#include "isa/x86/registers.h"

namespace doppel::x86 {

namespace {

SegmentRegister segment(u16 attributes) {
  return {.base = 0, .limit = 0xffff, .selector = 0, .attributes = attributes};
}

// What RESET and INIT do alike.
void restart(X86State& state) {
  const X86State fresh;
  state.gpr = {};
  state.rip = fresh.rip;
  state.rflags = fresh.rflags;
  state.segments.fill(segment(0x93));  // present, writable, accessed data; CS too (table 10-1)
  state.segments[cs].selector = 0xf000;
  state.segments[cs].base = 0xffff'0000;
  state.ldtr = segment(0x82);
  state.tr = segment(0x8b);
  state.gdtr = {};
  state.idtr = {};
  state.cr2 = state.cr3 = state.cr4 = 0;
  state.efer = 0;
  state.pdptrs = {};
  state.dr = fresh.dr;
  state.debugctl = 0;
  state.sti_shadow = state.mov_ss_shadow = state.nmi_blocked = false;
}

}  // namespace

void reset(X86State& state) {
  state = {};
  restart(state);
}

void init(X86State& state, bool bootstrap_processor) {
  constexpr u64 kept = cr0::cd | cr0::nw;
  const u64 caching = state.cr0 & kept;
  restart(state);
  state.cr0 = caching | cr0::et;
  state.activity = bootstrap_processor ? Activity::running : Activity::wait_for_sipi;
}

}  // namespace doppel::x86
