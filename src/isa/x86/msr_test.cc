#include "isa/x86/msr.h"

#include <gtest/gtest.h>

namespace doppel::x86 {
namespace {

TEST(Msr, EveryFieldHasAPlace) {
  unsigned found = 0;
  for (u64 index = 0; index <= 0xc000'0200; index = index == 0x1000 ? 0xc000'0000 : index + 1) {
    const Msr* reg = find_msr(static_cast<u32>(index));
    if (!reg) continue;
    ++found;
    EXPECT_EQ(reg->index, index);
    EXPECT_EQ(reg->field != nullptr, reg->kind == MsrKind::field || reg->kind == MsrKind::canonical) << reg->name;
  }
  EXPECT_GE(found, 50u);
  for (u32 absent : {0x9eu, 0xc000'0104u, 0x6e0u, 0x800u, 0x1bu, 0xffff'ffffu})
    EXPECT_EQ(find_msr(absent), nullptr) << absent;
}

TEST(Msr, FixedRangesHaveElevenSlots) {
  unsigned expected = 0;
  for (u32 index = 0x250; index <= 0x26f; ++index) {
    const Msr* reg = find_msr(index);
    if (!reg) continue;
    EXPECT_EQ(mtrr_fixed_slot(index), expected++) << reg->name;
  }
  EXPECT_EQ(expected, 11u);
}

TEST(Msr, MemoryTypes) {
  EXPECT_TRUE(valid_pat(0x0007'0406'0007'0406));
  EXPECT_FALSE(valid_pat(0x0200'0000'0000'0000));
  EXPECT_FALSE(valid_pat(0x08));
  EXPECT_TRUE(valid_mtrr_fixed(0x0606'0606'0606'0606));
  EXPECT_FALSE(valid_mtrr_fixed(0x07));
  EXPECT_TRUE(valid_mtrr_base(0xff'ffff'f006));
  EXPECT_FALSE(valid_mtrr_base(0x100'0000'0006));
  EXPECT_FALSE(valid_mtrr_base(0x106));
  EXPECT_TRUE(valid_mtrr_mask(0xff'ffff'f800));
  EXPECT_FALSE(valid_mtrr_mask(0x400));
  EXPECT_TRUE(valid_mtrr_default(0xc06));
  EXPECT_FALSE(valid_mtrr_default(0x1c06));
}

}  // namespace
}  // namespace doppel::x86
