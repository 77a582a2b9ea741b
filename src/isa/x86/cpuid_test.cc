#include "isa/x86/cpuid.h"

#include <gtest/gtest.h>

#include <cstring>
#include <string>

namespace doppel::x86 {
namespace {

constexpr CpuidInput second_of_four{.index = 1, .count = 4};

std::string text_of(std::initializer_list<u32> words) {
  std::string text;
  for (u32 word : words) text.append(reinterpret_cast<const char*>(&word), 4);
  return text.c_str();
}

TEST(Cpuid, Names) {
  const CpuidResult basic = cpuid({}, 0, 0);
  EXPECT_EQ(text_of({basic.ebx, basic.edx, basic.ecx}), "GenuineIntel");
  const CpuidResult hypervisor = cpuid({}, 0x4000'0000, 0);
  EXPECT_EQ(text_of({hypervisor.ebx, hypervisor.ecx, hypervisor.edx}), "DoppelDoppel");
  std::string brand;
  for (u32 leaf = 0x8000'0002; leaf <= 0x8000'0004; ++leaf) {
    const CpuidResult part = cpuid({}, leaf, 0);
    for (u32 word : {part.eax, part.ebx, part.ecx, part.edx}) brand.append(reinterpret_cast<const char*>(&word), 4);
  }
  EXPECT_STREQ(brand.c_str(), "Doppel max virtual processor");
}

TEST(Cpuid, BaselineHasNoOptionalFeature) {
  const CpuidInput baseline{.xcr0 = 3, .model = {"x86-64-v2", {}}};
  EXPECT_EQ(cpuid(baseline, 1, 0).ecx, 0x85ba'2201u);
  EXPECT_EQ(cpuid(baseline, 7, 0).ebx, 0x0090'06c3u);
  EXPECT_EQ(cpuid(baseline, 7, 0).ecx, 4u);
  EXPECT_EQ(cpuid(baseline, 0x8000'0001, 0).ecx, 1u);
  EXPECT_EQ(cpuid(baseline, 0xd, 0).eax, 3u);
  EXPECT_EQ(cpuid(baseline, 0xd, 0).ecx, 576u);
  EXPECT_EQ(cpuid(baseline, 0xd, 2).eax, 0u);
}

TEST(Cpuid, ExtendedStateFollowsXcr0) {
  const CpuidResult off = cpuid({.xcr0 = 3}, 0xd, 0), on = cpuid({.xcr0 = 7}, 0xd, 0);
  EXPECT_EQ(off.eax, 7u);
  EXPECT_EQ(off.ebx, 576u);
  EXPECT_EQ(on.ebx, 832u);
  EXPECT_EQ(off.ecx, 832u);
  EXPECT_EQ(cpuid({.xcr0 = 7}, 0xd, 1).ebx, 832u);
  EXPECT_EQ(cpuid({}, 0xd, 2).eax, 256u);
  EXPECT_EQ(cpuid({}, 0xd, 2).ebx, 576u);
}

TEST(Cpuid, SignatureNamesFamily6Model6a) {
  const u32 eax = cpuid({}, 1, 0).eax;
  EXPECT_EQ((eax >> 8) & 0xf, 6u);
  EXPECT_EQ((eax >> 4 & 0xf) | (eax >> 12 & 0xf0), 0x6au);
}

TEST(Cpuid, FeatureWords) {
  const CpuidResult one = cpuid({}, 1, 0);
  EXPECT_EQ(one.ecx, 0xf7fa'3203u);  // no OSXSAVE yet
  EXPECT_EQ(one.edx, 0x0f8b'fbfdu | 1u << 12 | 1u << 14);
  EXPECT_EQ(cpuid({.osxsave = true}, 1, 0).ecx, one.ecx | 1u << 27);
  const CpuidResult seven = cpuid({}, 7, 0);
  EXPECT_EQ(seven.ebx, 0x209c'07ebu);
  EXPECT_EQ(seven.ecx, 0x704u);
  EXPECT_EQ(seven.edx, 0xac00'0000u);
  EXPECT_EQ(cpuid({}, 7, 1).ebx, 0u);
  EXPECT_EQ(cpuid({}, 7, 2).edx, 1u << 4);
  EXPECT_EQ(cpuid({}, 0x8000'0001, 0).ecx, 0x21u);
  EXPECT_EQ(cpuid({}, 0x8000'0001, 0).edx, 0x2c10'0800u);
  EXPECT_EQ(cpuid({}, 0x8000'0007, 0).edx, 0x100u);
  EXPECT_EQ(cpuid({}, 0x8000'0008, 0).eax, 0x3028u);
}

TEST(Cpuid, TopologyCountsCoresOfOnePackage) {
  EXPECT_EQ(cpuid(second_of_four, 1, 0).ebx, 0x0104'0800u);
  EXPECT_NE(cpuid(second_of_four, 1, 0).edx & 1u << 28, 0u);
  const CpuidResult thread = cpuid(second_of_four, 0xb, 0), core = cpuid(second_of_four, 0xb, 1),
                    none = cpuid(second_of_four, 0xb, 2);
  EXPECT_EQ((std::array{thread.eax, thread.ebx, thread.ecx, thread.edx}), (std::array{0u, 1u, 0x100u, 1u}));
  EXPECT_EQ((std::array{core.eax, core.ebx, core.ecx, core.edx}), (std::array{2u, 4u, 0x201u, 1u}));
  EXPECT_EQ((std::array{none.eax, none.ebx, none.ecx, none.edx}), (std::array{0u, 0u, 2u, 1u}));
  EXPECT_EQ(cpuid(second_of_four, 4, 0).eax >> 26, 3u);
  EXPECT_EQ(cpuid({.index = 2, .count = 3}, 0xb, 1).eax, 2u);
  EXPECT_EQ(cpuid({}, 0xb, 1).eax, 0u);
}

TEST(Cpuid, TimeLeavesAgree) {
  const CpuidResult crystal = cpuid({}, 0x15, 0);
  EXPECT_EQ(u64{crystal.ecx} * crystal.ebx / crystal.eax, tsc_hertz);
  EXPECT_EQ(u64{cpuid({}, 0x16, 0).eax} * 1'000'000, tsc_hertz);
  EXPECT_EQ(u64{cpuid({}, 0x4000'0010, 0).eax} * 1000, tsc_hertz);
}

TEST(Cpuid, LeavesOutOfRangeAnswerAsTheLastBasicOne) {
  const CpuidResult last = cpuid({}, cpuid({}, 0, 0).eax, 0);
  for (u32 leaf : {0x17u, 0x3fff'ffffu, 0x4000'0011u, 0x8000'0009u, 0xffff'ffffu})
    EXPECT_EQ(cpuid({}, leaf, 0).eax, last.eax) << leaf;
  for (u32 leaf : {3u, 5u, 9u, 0xau, 0x14u, 0x4000'0001u, 0x8000'0005u}) EXPECT_EQ(cpuid({}, leaf, 0).eax, 0u) << leaf;
}

}  // namespace
}  // namespace doppel::x86
