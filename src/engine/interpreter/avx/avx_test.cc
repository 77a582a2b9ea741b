// When VEX instructions are available, what they do to the upper halves, and masked accesses at the edge of a segment. Their results
// are the oracle's (tests/tools/oracle).
#include <gtest/gtest.h>

#include <bit>

#include "engine/interpreter/avx/stubs.h"
#include "engine/interpreter/x87/testing/host_unit.h"
#include "isa/x86/cpuid.h"

namespace doppel::interpreter {
namespace {

using testing::GuestUnit;
using testing::State;
using x86::X86State;
namespace cr0 = x86::cr0;
namespace cr4 = x86::cr4;

constexpr u64 ymm_state = x86::xcr0::x87 | x86::xcr0::sse | x86::xcr0::avx;

class Avx : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!x86::host_features().has(x86::Feature::avx2)) GTEST_SKIP() << "this host has no AVX2";
    guest_.change([](X86State& s) { s.xcr0 = ymm_state; });
  }
  static State filled() {
    State state;
    for (u64 i = 0; i < 16; ++i) state.vectors[i].words = {i, 16 + i, 32 + i, 48 + i};
    for (unsigned i = 0; i < testing::memory_bytes; ++i) state.memory[i] = static_cast<u8>(i);
    return state;
  }
  void in_32_bit_code() {
    guest_.change([](X86State& s) {
      s.efer = 0;
      s.segments[x86::cs].attributes = 0xc09b;
    });
  }
  int vector_of(const std::vector<u8>& code, const State& state = filled()) {
    const State after = guest_.run(state, code);
    return after.fault ? *after.fault : -1;
  }

  GuestUnit guest_;
};

const std::vector<u8> vpxor{0xc5, 0xf5, 0xef, 0xc2};  // vpxor ymm0, ymm1, ymm2
const std::vector<u8> vzeroupper{0xc5, 0xf8, 0x77};
const std::vector<u8> vzeroall{0xc5, 0xfc, 0x77};
const std::vector<u8> vmovaps_load{0xc5, 0xfc, 0x28, 0x43, 0x10};  // vmovaps ymm0, [rbx+16]
const std::vector<u8> vmovups_load{0xc5, 0xfc, 0x10, 0x43, 0x10};  // vmovups ymm0, [rbx+16]
const std::vector<u8> vpmaskmov{0xc4, 0xe2, 0x75, 0x8c, 0x03};     // vpmaskmovd ymm0, ymm1, [rbx]
const std::vector<u8> andn{0xc4, 0xe2, 0x70, 0xf2, 0xc2};          // andn eax, ecx, edx

TEST_F(Avx, NeedsTheSystemsConsent) {
  EXPECT_EQ(vector_of(vpxor), -1);
  guest_.change([](X86State& s) { s.cr4 &= ~cr4::osxsave; });
  for (const auto& code : {vpxor, vzeroupper, vmovups_load, vpmaskmov}) EXPECT_EQ(vector_of(code), 6);
  EXPECT_EQ(vector_of(andn), -1);  // no vector register
  guest_.change([](X86State& s) { s.cr4 |= cr4::osxsave, s.xcr0 = x86::xcr0::x87 | x86::xcr0::sse; });
  EXPECT_EQ(vector_of(vpxor), 6);
  guest_.change([](X86State& s) { s.xcr0 = ymm_state, s.cr0 |= cr0::ts; });
  EXPECT_EQ(vector_of(vpxor), 7);
  EXPECT_EQ(vector_of(andn), -1);
  guest_.change([](X86State& s) { s.cr0 &= ~cr0::ts, s.cr0 |= cr0::em, s.cr4 &= ~cr4::osfxsr; });
  EXPECT_EQ(vector_of(vpxor), -1);  // those are for the older instructions
}

TEST_F(Avx, VexMeansNothingInRealMode) {
  guest_.change([](X86State& s) {
    s.efer = 0;
    s.cr0 &= ~cr0::pe;
    s.segments[x86::cs].attributes = 0x9b;
  });
  for (const auto& code : {vpxor, vzeroupper, andn}) EXPECT_FALSE(guest_.decodes(code));
}

// Outside of 64-bit code VEX.W does not widen a general register, or what stands for it in memory.
TEST_F(Avx, Only64BitCodeHas64BitOperands) {
  in_32_bit_code();
  State state = filled();
  state.vectors[1].words = {0x1111'2222'3333'4444, 0, 0, 0};
  const State moved = guest_.run(state, std::vector<u8>{0xc4, 0xe1, 0xf9, 0x7e, 0xc8});  // vmovd eax, xmm1
  EXPECT_EQ(moved.rax, 0x3333'4444u);
  const State stored = guest_.run(state, std::vector<u8>{0xc4, 0xe1, 0xf9, 0x7e, 0x0b});  // vmovd [ebx], xmm1
  EXPECT_EQ(stored.memory[3], 0x33);
  EXPECT_EQ(stored.memory[4], 4);
  const State converted = guest_.run(state,
                                     std::vector<u8>{0xc4, 0xe1, 0xf3, 0x2a, 0x03});  // vcvtsi2sd xmm0, xmm1, [ebx]
  EXPECT_EQ(std::bit_cast<double>(converted.vectors[0].words[0]), 0x0302'0100);
  EXPECT_FALSE(guest_.decodes(std::vector<u8>{0xc4, 0xe3, 0xf9, 0x16, 0xc8, 0}));  // vpextrd eax, xmm1, 0
  EXPECT_FALSE(guest_.decodes(std::vector<u8>{0xc4, 0xe3, 0xf1, 0x22, 0xc0, 0}));  // vpinsrd xmm0, xmm1, eax, 0
}

TEST_F(Avx, ZeroingReachesTheModesRegisters) {
  State after = guest_.run(filled(), vzeroupper);
  EXPECT_EQ(after.vectors[9].words, (std::array<u64, 4>{9, 25, 0, 0}));
  after = guest_.run(filled(), vzeroall);
  EXPECT_EQ(after.vectors[9].words, (std::array<u64, 4>{}));
  in_32_bit_code();
  after = guest_.run(filled(), vzeroupper);
  EXPECT_EQ(after.vectors[7].words, (std::array<u64, 4>{7, 23, 0, 0}));
  EXPECT_EQ(after.vectors[8].words, (std::array<u64, 4>{8, 24, 40, 56}));
  after = guest_.run(filled(), vzeroall);
  EXPECT_EQ(after.vectors[8].words, (std::array<u64, 4>{8, 24, 40, 56}));
}

TEST_F(Avx, OnlyVexClearsTheUpperHalf) {
  const State legacy = guest_.run(filled(), std::vector<u8>{0x66, 0x0f, 0xef, 0xc2});  // pxor xmm0, xmm2
  EXPECT_EQ(legacy.vectors[0].words, (std::array<u64, 4>{2, 2, 32, 48}));
  const State vex = guest_.run(filled(), std::vector<u8>{0xc5, 0xf9, 0xef, 0xc2});  // vpxor xmm0, xmm0, xmm2
  EXPECT_EQ(vex.vectors[0].words, (std::array<u64, 4>{2, 2, 0, 0}));
}

TEST_F(Avx, OnlyAlignedMovesAskForAlignment) {
  EXPECT_EQ(vector_of(vmovaps_load), 13);
  EXPECT_EQ(vector_of(vmovups_load), -1);
  EXPECT_EQ(vector_of({0xc5, 0xf5, 0xef, 0x43, 0x01}), -1);  // vpxor ymm0, ymm1, [rbx+1]
}

TEST_F(Avx, WhatIsMaskedOffCannotFault) {
  State state = filled();
  constexpr u64 selected = u64{1} << 31;
  state.vectors[1].words = {selected, 0, 0, 0};
  in_32_bit_code();
  guest_.change([](X86State& s) { s.segments[x86::ds].limit = GuestUnit::memory_address + 3; });
  const State after = guest_.run(state, vpmaskmov);
  ASSERT_FALSE(after.fault);
  EXPECT_EQ(after.vectors[0].words, (std::array<u64, 4>{0x03020100, 0, 0, 0}));
  state.vectors[1].words = {0, selected, 0, 0};
  EXPECT_EQ(vector_of(vpmaskmov, state), 13);
}

// vpgatherdd ymm0, [rbx + ymm2 * 4], ymm1
TEST_F(Avx, AGatherThatFaultsHasDoneWhatWasBefore) {
  State state = filled();
  constexpr u64 two_selected = u64{1} << 63 | u64{1} << 31;
  state.vectors[1].words = {two_selected, two_selected, 0, 0};
  state.vectors[2].words = {1, 0x1000'0000, 0, 0};  // indices 1, 0, 0x10000000, 0
  in_32_bit_code();
  guest_.change([](X86State& s) { s.segments[x86::ds].limit = 0xffff; });
  const State faulted = guest_.run(state, std::vector<u8>{0xc4, 0xe2, 0x75, 0x90, 0x04, 0x93});
  ASSERT_TRUE(faulted.fault);
  EXPECT_EQ(*faulted.fault, 13);
  EXPECT_EQ(faulted.vectors[0].words[0], 0x0302'0100'0706'0504u);
  EXPECT_EQ(faulted.vectors[1].words[0], 0u);
  EXPECT_EQ(faulted.vectors[1].words[1], two_selected);
}

// The guest chooses shapes; there is room for all, and a full store still serves.
TEST_F(Avx, AFullStoreOfStubsServes) {
  x86::Decoder decoder;
  x86::Instruction instruction;
  ASSERT_EQ(decoder.decode(x86::CodeMode::long64, std::vector<u8>{0xc5, 0xf9, 0x70, 0xc1, 0x1b, 0, 0, 0}, instruction),
            x86::DecodeStatus::ok);  // vpshufd xmm0, xmm1, 0x1b
  VectorStubs stubs;
  StubShape shape = stub_shape(instruction);
  bool lasting = true;
  unsigned made = 0;
  for (; lasting && made < 1u << 20; ++made) {
    shape.unused = made & 0x7ff;
    shape.immediate = made >> 11 & 0xff;
    lasting = stubs.find(shape).lasting;
  }
  EXPECT_FALSE(lasting);
  shape.immediate = 0x1b;
  x86::VectorRegister to{}, from{.words = {1, 2, 3, 4}};
  stubs.find(shape).stub(&to, &from, nullptr, nullptr);
  EXPECT_EQ(to.words, (std::array<u64, 4>{u64{2} << 32, u64{1} << 32, 0, 0}));
}

}  // namespace
}  // namespace doppel::interpreter
