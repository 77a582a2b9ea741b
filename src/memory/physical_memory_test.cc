// Regions, code and dirty tracking (also against a storing thread), DMA at the edges, sparse hashing.
#include "memory/physical_memory.h"

#include <gtest/gtest.h>

#include <thread>

#include "base/units.h"

namespace doppel {
namespace {

struct Memory : testing::Test {
  Bus mmio{u64{1} << 52};
  std::unique_ptr<PhysicalMemory> memory;
  // 0..7fff RAM, 8000..8fff ROM (offset 8000), hole, 1_0000_0000.. the last RAM page, also aliased at 20000
  void SetUp() override {
    memory = std::move(*PhysicalMemory::create(0xa000, mmio));
    using Kind = PhysicalMemory::Kind;
    ASSERT_TRUE(memory->map(0x1'0000'0000, 0x9000, 0x1000, Kind::ram, "high"));
    ASSERT_TRUE(memory->map(0, 0, 0x8000, Kind::ram, "low"));
    ASSERT_TRUE(memory->map(0x8000, 0x8000, 0x1000, Kind::rom, "rom"));
    ASSERT_TRUE(memory->map(0x20000, 0x9000, 0x1000, Kind::ram, "alias"));
  }
  u32 generation(u64 page) const { return memory->code_generations()[page]; }
  u8 flags(u64 page) const { return memory->page_flags()[page]; }
};

TEST_F(Memory, Regions) {
  EXPECT_EQ(memory->host_range(0x7ff0).size, 0x10u);
  EXPECT_TRUE(memory->host_range(0x7ff0).writable);
  EXPECT_FALSE(memory->host_range(0x8000).writable);
  EXPECT_EQ(memory->host_range(0x9000).data, nullptr);
  EXPECT_EQ(memory->host_range(0x20004).data, memory->host_range(0x1'0000'0004).data);
  EXPECT_EQ(memory->find(~u64{0}), nullptr);
  const auto overlap = memory->map(0x7000, 0, 0x1000, PhysicalMemory::Kind::ram, "new");
  EXPECT_EQ(overlap.error().message, "memory region 'new' at 0x7000 overlaps 'low' at 0x0");
  EXPECT_FALSE(memory->map(0x1f000, 0, 0x2000, PhysicalMemory::Kind::ram, "new"));
  EXPECT_FALSE(memory->map(0x40000, 0x9000, 0x2000, PhysicalMemory::Kind::ram, "beyond"));
  EXPECT_FALSE(PhysicalMemory::create(u64{9999} << 40, mmio));
}

TEST_F(Memory, CodeIsTrackedByLine) {
  memory->mark_code(1, 0x40, 0x80);  // lines 1 and 2
  EXPECT_EQ(flags(1), page_flag::holds_code | page_flag::code_settled);
  EXPECT_FALSE(memory->note_write(0x1000, 0x40));
  EXPECT_FALSE(memory->note_write(0x10c0, 8));
  EXPECT_EQ(generation(1), 0u);
  EXPECT_TRUE(memory->note_write(0x103c, 8));
  EXPECT_EQ(generation(1), 1u);
  EXPECT_EQ(flags(1), 0);
  EXPECT_FALSE(memory->note_write(0x1040, 8)) << "nothing decoded any more";
  memory->mark_code(1, 0, 0xfff);
  memory->mark_code(2, 0, 0);
  EXPECT_TRUE(memory->note_write(0x1ffc, 8)) << "across two pages";
  EXPECT_EQ(generation(1), 2u);
  EXPECT_EQ(generation(2), 1u);
}

// A page of code is settled when every vCPU but the marking one has passed since it was flagged.
TEST_F(Memory, CodeIsKeptAfterAGracePeriod) {
  unsigned hurried = 0;
  GracePeriods::Member marking(memory->grace_periods(), [] { FAIL() << "it is between two blocks itself"; });
  GracePeriods::Member other(memory->grace_periods(), [&] { ++hurried; });
  marking.pass();
  EXPECT_TRUE(memory->mark_code(1, 0, 0, &marking)) << "the other is outside";
  EXPECT_EQ(hurried, 0u);
  other.pass();
  EXPECT_FALSE(memory->mark_code(2, 0, 0, &marking));
  EXPECT_FALSE(memory->mark_code(2, 0, 0, &marking));
  EXPECT_EQ(flags(2), page_flag::holds_code);
  EXPECT_EQ(hurried, 1u);
  other.pass();
  EXPECT_TRUE(memory->mark_code(2, 0, 0, &marking));
  EXPECT_EQ(flags(2), page_flag::holds_code | page_flag::code_settled);
  EXPECT_TRUE(memory->mark_code(2, 0x100, 0x100, &marking)) << "more of the same page";
  EXPECT_FALSE(memory->mark_code(3, 0, 0, &marking));
  other.leave();
  EXPECT_TRUE(memory->mark_code(3, 0, 0, &marking));
}

// Two that mark at once wait for each other without blocking.
TEST_F(Memory, TwoMarkAtOnce) {
  GracePeriods::Member one(memory->grace_periods(), [] {}), two(memory->grace_periods(), [] {});
  one.pass();
  two.pass();
  EXPECT_FALSE(memory->mark_code(1, 0, 0, &one));
  EXPECT_FALSE(memory->mark_code(2, 0, 0, &two));
  one.pass();
  EXPECT_TRUE(memory->mark_code(2, 0, 0, &two));
  two.pass();
  EXPECT_TRUE(memory->mark_code(1, 0, 0, &one));
}

// Who remembers which pages have no flags hears of those that got some before the grace period ends that this began.
TEST_F(Memory, FlaggedPagesAreToldBeforeTheirPeriodEnds) {
  std::vector<u64> heard;
  u64 seen = 0;
  GracePeriods::Member vcpu(
      memory->grace_periods(), [] {},
      [&] { EXPECT_TRUE(memory->for_each_flagged(seen, [&](u64 page) { heard.push_back(page); })); });
  vcpu.pass();
  EXPECT_FALSE(memory->mark_code(3, 0, 0));
  EXPECT_FALSE(memory->mark_code(3, 0x100, 0x100)) << "told once";
  EXPECT_FALSE(memory->mark_code(1, 0, 0));
  EXPECT_TRUE(heard.empty());
  vcpu.pass();
  EXPECT_EQ(heard, (std::vector<u64>{3, 1}));
  EXPECT_TRUE(memory->mark_code(3, 0, 0));
  EXPECT_TRUE(memory->note_write(0x3000, 1));
  vcpu.pass();
  EXPECT_FALSE(memory->note_write(0x3000, 1)) << "no flag any more";
  memory->mark_code(3, 0, 0);
  vcpu.pass();
  EXPECT_EQ(heard, (std::vector<u64>{3, 1, 3}));
}

// What was not heard of for too long may be any page; so may be what the dirty log flags.
TEST_F(Memory, FlaggedPagesThatAreForgottenMayBeAny) {
  u64 seen = 0, told = 0;
  const auto hear = [&] { return memory->for_each_flagged(seen, [&](u64) { ++told; }); };
  EXPECT_TRUE(hear());
  const auto flag_often = [&](unsigned times) {
    for (unsigned i = 0; i < times; ++i) {
      memory->mark_code(1, 0, 0);
      memory->note_write(0x1000, 1);
    }
  };
  flag_often(100);
  EXPECT_TRUE(hear());
  EXPECT_EQ(told, 100u);
  flag_often(2000);
  EXPECT_FALSE(hear());
  flag_often(1);
  EXPECT_TRUE(hear()) << "all is known from there on";
  memory->start_dirty_log();
  EXPECT_FALSE(hear());
  EXPECT_TRUE(hear());
}

// Stores come to note_write for as long as a vCPU may execute what was overwritten.
TEST_F(Memory, TheFlagOutlivesTheCode) {
  unsigned hurried = 0;
  GracePeriods::Member vcpu(memory->grace_periods(), [&] { ++hurried; });
  vcpu.pass();
  memory->mark_code(1, 0, 0, &vcpu);
  EXPECT_TRUE(memory->note_write(0x1000, 1));
  EXPECT_EQ(hurried, 1u);
  EXPECT_NE(flags(1) & page_flag::holds_code, 0);
  EXPECT_FALSE(memory->note_write(0x1000, 1)) << "bumped already";
  EXPECT_NE(flags(1) & page_flag::holds_code, 0);
  EXPECT_TRUE(memory->mark_code(1, 0, 0, &vcpu)) << "all know it as code still";
  EXPECT_TRUE(memory->note_write(0x1000, 1));
  EXPECT_EQ(generation(1), 2u);
  vcpu.pass();
  EXPECT_FALSE(memory->note_write(0x1800, 1)) << "anywhere in the page";
  EXPECT_EQ(flags(1), 0);
  EXPECT_EQ(generation(1), 2u);
}

TEST_F(Memory, DirtyLog) {
  memory->start_dirty_log();
  memory->mark_code(3, 0, 63);
  memory->note_write(0x2fff, 2);
  EXPECT_EQ(flags(3), 0);
  EXPECT_EQ(generation(3), 1u);
  EXPECT_EQ(memory->take_dirty_pages(), (std::vector<u64>{2, 3}));
  EXPECT_EQ(memory->take_dirty_pages(), std::vector<u64>{});
  memory->note_write(0x9000, 1);
  EXPECT_EQ(memory->take_dirty_pages(), std::vector<u64>{9});
  memory->stop_dirty_log();
  EXPECT_EQ(flags(0), 0);
}

TEST_F(Memory, DmaAtTheEdges) {
  Dma dma(*memory);
  memory->mark_code(7, 0xfc0, 0xfff);
  u64 value = 0x1122'3344'5566'7788;
  EXPECT_FALSE(dma.write(0x7ffc, value)) << "the second half is ROM";
  EXPECT_EQ(generation(7), 1u);
  EXPECT_TRUE(dma.read(0x7ffc, value));
  EXPECT_EQ(value, 0x5566'7788u);
  EXPECT_FALSE(dma.read(0x8ffe, value));
  EXPECT_EQ(value, 0xffff'ffff'ffff'0000u);
  EXPECT_TRUE(dma.write(0x20010, u32{7}));
  u32 word = 0;
  EXPECT_TRUE(dma.read(0x1'0000'0010, word));
  EXPECT_EQ(word, 7u);
  EXPECT_FALSE(dma.read(~u64{3}, value)) << "wraps";
  EXPECT_EQ(value, ~u64{0});

  std::vector<std::span<u8>> ranges;
  EXPECT_TRUE(dma.ranges(0x7800, 0x1000, false, ranges));
  EXPECT_EQ(ranges.size(), 2u);
  EXPECT_FALSE(dma.ranges(0x7800, 0x1000, true, ranges));
  EXPECT_FALSE(dma.ranges(0, ~u64{0}, false, ranges));
  EXPECT_EQ(ranges.size(), 2u);
}

TEST_F(Memory, HashIgnoresWhetherZerosAreAllocated) {
  const u64 empty = memory->hash();
  EXPECT_TRUE(memory->populated().empty());
  memory->ram()[0x3000] = 1;
  const u64 one = memory->hash();
  EXPECT_NE(one, empty);
  ASSERT_EQ(memory->populated().size(), 1u);
  EXPECT_LE(memory->populated()[0].offset, 0x3000u);  // the host may give it a huge page
  EXPECT_GE(memory->populated()[0].offset + memory->populated()[0].size, 0x4000u);
  memory->ram()[0x3000] = 0;
  EXPECT_EQ(memory->hash(), empty);
  memory->ram()[0x4000] = 1;
  EXPECT_NE(memory->hash(), one) << "the place counts";
}

TEST(PhysicalMemory, LargerThanFourGiB) {
  Bus mmio(u64{1} << 52);
  auto memory = std::move(*PhysicalMemory::create(6 * GiB, mmio));
  ASSERT_TRUE(memory->map(4 * GiB, 0, 6 * GiB, PhysicalMemory::Kind::ram, "ram"));
  Dma dma(*memory);
  EXPECT_TRUE(dma.write(10 * GiB - 8, ~u64{0}));
  EXPECT_FALSE(dma.write(10 * GiB - 4, ~u64{0}));
  ASSERT_EQ(memory->populated().size(), 1u);
  EXPECT_GE(memory->populated()[0].offset, 6 * GiB - (u64{2} << 20));
  EXPECT_EQ(memory->populated()[0].offset + memory->populated()[0].size, 6 * GiB);
}

// One thread rewrites a word and obeys the store protocol; the other decodes it and obeys the decoding protocol. What was
// decoded under a generation that still stands must be the word as it is.
TEST_F(Memory, StoresRaceWithDecoding) {
  std::atomic<u32>& word = *reinterpret_cast<std::atomic<u32>*>(memory->ram());
  constexpr u32 rounds = 20'000;
  std::thread storing([&] {
    for (u32 i = 1; i <= rounds; ++i) {
      word.store(i, std::memory_order_relaxed);
      if (memory->page_flags()[0].load(std::memory_order_relaxed) != 0) memory->note_write(0, 4);
    }
  });
  u32 decoded = 0, at = ~0u;
  do {
    at = generation(0);
    memory->mark_code(0, 0, 3);
    decoded = word.load(std::memory_order_relaxed);
  } while (decoded != rounds);
  storing.join();
  EXPECT_TRUE(generation(0) != at || decoded == word.load());

  // The same once more with blocks that are kept: after the last store, a kept block is current or known to be stale.
  for (unsigned round = 0; round < 200; ++round) {
    std::thread one([&] {
      word.store(round, std::memory_order_relaxed);
      if (memory->page_flags()[0].load(std::memory_order_relaxed) != 0) memory->note_write(0, 4);
    });
    at = generation(0);
    memory->mark_code(0, 0, 3);
    decoded = word.load(std::memory_order_relaxed);
    one.join();
    EXPECT_TRUE(generation(0) != at || decoded == round);
  }
}

}  // namespace
}  // namespace doppel
