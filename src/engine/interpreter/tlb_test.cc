#include "engine/interpreter/tlb.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <initializer_list>

#include "engine/interpreter/memory_access.h"

namespace doppel::interpreter {
namespace {

class TlbTest : public testing::Test {
 protected:
  static constexpr u64 pages = 16;

  u8* host_of(u64 page) { return ram_ + page * 4096; }

  void fill(u64 linear, u64 page, bool watched = false, TlbTable which = TlbTable::user) {
    tlb.fill(which, linear,
             {.host_page = host_of(page),
              .page = page,
              .watched = watched,
              .readable = true,
              .writable = true,
              .executable = false,
              .global = false});
  }
  const u8* readable(u64 linear) { return readable_at(*tlb.table(TlbTable::user), linear, 1); }
  const u8* storable(u64 linear) { return storable_at(*tlb.table(TlbTable::user), linear, 1); }
  const u8* writable(u64 linear) { return writable_at(*tlb.table(TlbTable::user), linear, 1); }

  alignas(4096) u8 ram_[pages * 4096];
  Tlb tlb{pages};
};

constexpr u64 table_bytes = TlbEntries::slots * 4096;  // of linear addresses that have a slot each

TEST_F(TlbTest, EmptySlotsHitNothing) {
  for (u64 slot = 0; slot < TlbEntries::slots; ++slot)
    for (const u64 linear : {slot << 12, ~u64{0} << 26 | slot << 12, u64{1} << 47 | slot << 12}) {
      EXPECT_EQ(readable(linear), nullptr);
      EXPECT_EQ(writable(linear), nullptr) << std::hex << linear;
    }
}

TEST_F(TlbTest, AWatchedPageIsWritableButNotStorable) {
  for (const u64 linear : {u64{0}, u64{0x1000}, u64{0x2000}, u64{0xffff'ffff'ffff'f000}, u64{0x7fff'ffff'f000}}) {
    fill(linear, 3, true);
    EXPECT_EQ(storable(linear + 5), nullptr);
    EXPECT_EQ(writable(linear + 5), host_of(3) + 5);
    EXPECT_EQ(readable(linear + 5), host_of(3) + 5);
    for (const u64 other : {linear ^ 0x1000, linear ^ 0x2000, linear ^ u64{1} << 62, linear + table_bytes}) {
      EXPECT_EQ(storable(other), nullptr) << std::hex << other;
      EXPECT_EQ(writable(other), nullptr) << std::hex << other;
    }
    fill(linear, 3);
    EXPECT_EQ(storable(linear + 5), host_of(3) + 5);
    tlb.flush_page(linear);
    EXPECT_EQ(writable(linear), nullptr);
  }
}

// Wherever it is mapped, in whatever table, and nothing else.
TEST_F(TlbTest, WatchFindsAllMappingsOfAPage) {
  fill(0x40'0000, 5);
  fill(0x80'1000, 5);
  fill(0x80'2000, 6);
  fill(0xffff'8880'0000'3000, 5, false, TlbTable::supervisor_smap);
  tlb.switch_address_space(7, false);
  fill(0x40'0000, 5);
  fill(0x80'1000, 9);
  tlb.watch(5, host_of(5));
  EXPECT_EQ(storable(0x40'0000), nullptr);
  EXPECT_EQ(writable(0x40'0000), host_of(5));
  EXPECT_EQ(storable(0x80'1000), host_of(9)) << "the slot of an address that has another page in this space";
  EXPECT_EQ(storable_at(*tlb.table(TlbTable::supervisor_smap), 0xffff'8880'0000'3000, 1), nullptr);
  tlb.switch_address_space(0, true);
  EXPECT_EQ(storable(0x40'0000), nullptr);
  EXPECT_EQ(storable(0x80'1000), nullptr);
  EXPECT_EQ(storable(0x80'2000), host_of(6));
}

// A page is storable in so many slots as can be known; where it no longer is, it still is writable.
TEST_F(TlbTest, APageOfManyMappingsIsStorableInSome) {
  constexpr u64 mappings = 20;
  for (u64 i = 0; i < mappings; ++i) fill(i << 12, 2);
  u64 hits = 0;
  for (u64 i = 0; i < mappings; ++i) {
    hits += storable(i << 12) != nullptr;
    EXPECT_EQ(writable(i << 12), host_of(2));
  }
  EXPECT_EQ(hits, 4u);
  EXPECT_NE(storable((mappings - 1) << 12), nullptr) << "the latest";
  tlb.watch(2, host_of(2));
  for (u64 i = 0; i < mappings; ++i) EXPECT_EQ(storable(i << 12), nullptr);
}

// INVLPG takes all fragments of a larger page, in all spaces, and nothing beside it; a 4 KiB page that follows there is one page again.
TEST_F(TlbTest, FlushPageTakesWholePages) {
  constexpr u64 large = 0x4020'0000, half = u64{2} << 20;
  const auto fill_all = [&] {
    for (const u64 offset : {u64{0}, u64{0x5000}, half - 0x1000}) fill(large + offset, 4);
    fill(large - 0x1000, 1);
    fill(large + half, 1);
  };
  const auto hits = [&](std::initializer_list<u64> at) {
    return std::count_if(at.begin(), at.end(), [&](u64 linear) { return readable(linear) != nullptr; });
  };
  tlb.note_large_page(large, half);
  fill_all();
  tlb.switch_address_space(3, false);
  fill_all();
  const Tlb::Range range = tlb.flush_page(large + 0x7123);
  EXPECT_EQ(range.linear, large);
  EXPECT_EQ(range.pages, 512u);
  for (const u16 pcid : {3, 0}) {
    tlb.switch_address_space(pcid, true);
    EXPECT_EQ(hits({large, large + 0x5000, large + half - 0x1000}), 0);
    EXPECT_EQ(hits({large - 0x1000, large + half}), 2);
  }
  fill_all();
  EXPECT_EQ(tlb.flush_page(large + 0x5000).pages, 1u);
  EXPECT_EQ(hits({large, large + half - 0x1000}), 2);
  EXPECT_EQ(hits({large + 0x5000}), 0);
  tlb.note_large_page(large - half, 2 * half);  // 4 MiB
  fill_all();
  EXPECT_EQ(tlb.flush_page(large - half).pages, 1024u);
  EXPECT_EQ(hits({large - 0x1000, large, large + 0x5000, large + half - 0x1000}), 0);
  EXPECT_EQ(hits({large + half}), 1);
  tlb.note_large_page(0x8000'0000, u64{1} << 30);
  EXPECT_EQ(tlb.flush_page(0x8123'4000).pages, 0u) << "everything";
  EXPECT_EQ(hits({large + half}), 0);
}

TEST_F(TlbTest, WatchAllLeavesNothingStorable) {
  fill(0x1000, 1);
  fill(0x40'0000, 2);
  tlb.watch_all();
  tlb.watch_all();
  for (const u64 linear : {0x1000, 0x40'0000}) {
    EXPECT_EQ(storable(linear), nullptr);
    EXPECT_NE(writable(linear), nullptr);
  }
}

}  // namespace
}  // namespace doppel::interpreter
