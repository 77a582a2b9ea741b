#include "isa/x86/descriptor.h"

#include <gtest/gtest.h>

namespace doppel::x86 {
namespace {

// What assemblers and kernels write into their tables.
TEST(Descriptor, LinuxKernelSegments) {
  const Descriptor code64{0x00af'9b00'0000'ffff}, data{0x00cf'9300'0000'ffff};
  EXPECT_EQ(code64.base(), 0u);
  EXPECT_EQ(code64.limit(), 0xffff'ffffu);
  EXPECT_EQ(code64.rights(), access_rights::flat_code | access_rights::granular | access_rights::long_mode);
  EXPECT_TRUE(access_rights::is_code(code64.rights()));
  EXPECT_FALSE(access_rights::is_conforming_code(code64.rights()));
  EXPECT_TRUE(access_rights::is_writable_data(data.rights()));
  EXPECT_EQ(Descriptor::make(0, 0xfffff, code64.rights()).raw, code64.raw);
}

TEST(Descriptor, BaseAndByteLimit) {
  const Descriptor tss = Descriptor::make(0x1234'5678, 0x9abcd, access_rights::present | 0x9 | access_rights::of_dpl(3));
  EXPECT_EQ(tss.base(), 0x1234'5678u);
  EXPECT_EQ(tss.limit(), 0x9abcdu);
  EXPECT_EQ(tss.dpl(), 3u);
  EXPECT_TRUE(tss.is_system(SystemType::tss_available));
  const SegmentRegister reg = tss.to_register(0x43);
  EXPECT_EQ(reg.selector, 0x43);
  EXPECT_EQ(SegmentRegister::Dpl::get(reg.attributes), 3u);
}

TEST(Descriptor, Gates) {
  const Gate interrupt{0x8234'8e01'0010'5678, 0xffff'ffff};
  EXPECT_EQ(interrupt.offset(), 0xffff'ffff'8234'5678u);
  EXPECT_EQ(interrupt.target_selector(), 0x10);
  EXPECT_EQ(interrupt.stack_table_index(), 1u);
  EXPECT_EQ(interrupt.type(), SystemType::interrupt_gate);
  EXPECT_TRUE(interrupt.present());
  EXPECT_TRUE(interrupt.wide());
  EXPECT_EQ(interrupt.dpl(), 0u);
  EXPECT_EQ((Gate{0x0000'e405'0008'0000}.parameter_count()), 5u);
}

TEST(Selector, Parts) {
  EXPECT_TRUE(selector::is_null(3));
  EXPECT_FALSE(selector::is_null(4));
  EXPECT_EQ(selector::offset(0x2f), 0x28u);
  EXPECT_EQ(selector::error_code(0x2f), 0x2cu);
  EXPECT_EQ(selector::rpl(0x2f), 3u);
}

}  // namespace
}  // namespace doppel::x86
