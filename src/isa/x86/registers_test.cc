// RESET and INIT against Intel SDM vol. 3 table 10-1.
#include "isa/x86/registers.h"

#include <gtest/gtest.h>

namespace doppel::x86 {
namespace {

X86State used() {
  X86State state;
  state.gpr.fill(1);
  state.rip = 0x1234;
  state.rflags = rflags::fixed | rflags::if_;
  for (auto& segment : state.segments) segment = {.base = 5, .limit = 6, .selector = 7, .attributes = 0xf3};
  state.cr0 = cr0::pg | cr0::pe | cr0::wp | cr0::et;
  state.cr3 = 0x1000;
  state.cr4 = cr4::pae;
  state.efer = efer::lme | efer::lma;
  state.fpu.control = 0x27f;
  state.vectors[3].words[0] = 9;
  state.mxcsr = 0x1fa0;
  state.lstar = 0x8888;
  state.tsc_offset = 77;
  state.dr[7] = 0x401;
  state.instruction_count = 1000;
  state.nmi_blocked = true;
  return state;
}

void check_restarted(const X86State& state) {
  EXPECT_EQ(state.segments[cs].base + state.rip, 0xffff'fff0u);
  EXPECT_EQ(state.segments[cs].selector, 0xf000);
  for (const auto& segment : state.segments) {
    EXPECT_EQ(segment.attributes, 0x93);
    EXPECT_EQ(segment.limit, 0xffffu);
  }
  EXPECT_EQ(state.segments[ds].base, 0u);
  EXPECT_EQ(state.ldtr.attributes, 0x82);
  EXPECT_EQ(state.tr.attributes, 0x8b);
  EXPECT_EQ(state.rflags, 2u);
  EXPECT_EQ(state.gpr[rsp], 0u);
  EXPECT_EQ(state.cr3 | state.cr4 | state.efer, 0u);
  EXPECT_EQ(state.dr[6], 0xffff'0ff0u);
  EXPECT_EQ(state.dr[7], 0x400u);
  EXPECT_FALSE(state.nmi_blocked);
  EXPECT_EQ(state.cpl(), 0u);
}

TEST(Registers, Reset) {
  X86State state = used();
  reset(state);
  check_restarted(state);
  EXPECT_EQ(state.cr0, 0x6000'0010u);
  EXPECT_EQ(state.mxcsr, 0x1f80u);
  EXPECT_EQ(state.fpu.control, 0x37f);
  EXPECT_EQ(state.lstar, 0u);
  EXPECT_EQ(state.instruction_count, 0u);
  EXPECT_EQ(state.activity, Activity::running);
}

TEST(Registers, Init) {
  X86State state = used();
  init(state, false);
  check_restarted(state);
  EXPECT_EQ(state.cr0, cr0::et) << "CD and NW as they were";
  EXPECT_EQ(state.mxcsr, 0x1fa0u);
  EXPECT_EQ(state.fpu.control, 0x27f);
  EXPECT_EQ(state.vectors[3].words[0], 9u);
  EXPECT_EQ(state.lstar, 0x8888u);
  EXPECT_EQ(state.tsc_offset, 77u);
  EXPECT_EQ(state.instruction_count, 1000u);
  EXPECT_EQ(state.activity, Activity::wait_for_sipi);
  init(state, true);
  EXPECT_EQ(state.activity, Activity::running);
}

}  // namespace
}  // namespace doppel::x86
