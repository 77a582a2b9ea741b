// Walks through page tables written down as address=entry.
#include "isa/x86/page_walk.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <map>

namespace doppel::x86 {
namespace {

using Tables = std::map<u64, u64>;
enum class Mode { none, legacy, pae, long4 };

void check(Mode mode, const Tables& tables, u64 linear, const std::string& expected) {
  X86State state;
  if (mode != Mode::none) state.cr0 |= cr0::pg;
  if (mode == Mode::legacy) state.cr4 = cr4::pse;
  if (mode == Mode::pae) state.cr4 = cr4::pae;
  if (mode == Mode::long4) state.efer = efer::lma | efer::lme;
  state.cr3 = 0x1018;
  state.pdptrs = {0, 0x2001, 0, 0};
  const auto found = page_walk(state, linear, [&](u64 physical, unsigned) -> std::optional<u64> {
    const auto entry = tables.find(physical);
    return entry == tables.end() ? std::nullopt : std::optional(entry->second);
  });
  EXPECT_EQ(found ? fmt::format("{:x}", *found) : "none", expected) << std::hex << linear;
}

TEST(PageWalk, EveryMode) {
  check(Mode::none, {}, 0x1'1234'5678, "12345678");
  const Tables legacy{{0x1004, 0x2003}, {0x2008, 0x7'7001}, {0x1008, 0x0080'2083}, {0x100c, 0x0080'0082}};
  check(Mode::legacy, legacy, 0x40'2abc, "77abc");
  check(Mode::legacy, legacy, 0x81'2345, "100812345");  // 4 MiB, above 4 GiB
  check(Mode::legacy, legacy, 0xc0'0000, "none");       // not present
  const Tables pae{{0x2008, 0x3001}, {0x3010, 0x80'0000'0007'7001}, {0x2010, 0x1'4000'0083}};
  check(Mode::pae, pae, 0x4020'2abc, "77abc");
  check(Mode::pae, pae, 0x4041'2345, "140012345");
  check(Mode::pae, pae, 0x1000, "none");
  const Tables long4{
      {0x1ff8, 0x2003},        {0x2ff0, 0x3003},        {0x3008, 0x4003}, {0x4018, 0x8000'0000'0007'7003},
      {0x3010, 0x1'4000'00e3}, {0x2008, 0x2'0000'0083}, {0x1008, 0x2003}, {0x3018, 0x5003}};
  check(Mode::long4, long4, 0xffff'ffff'8020'3abc, "77abc");
  check(Mode::long4, long4, 0xffff'ffff'8041'2345, "140012345");  // 2 MiB
  check(Mode::long4, long4, 0x80'4abc'def0, "20abcdef0");         // 1 GiB
  check(Mode::long4, long4, 0xffff'ffff'8060'0000, "none");       // a table outside of memory
}

}  // namespace
}  // namespace doppel::x86
