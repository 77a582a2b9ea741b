// Fragments in any order, and what is not put together.
#include "network/user/reassembly.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <random>

#include "network/checksum.h"

namespace doppel::network {
namespace {

using Bytes = std::vector<u8>;

// A UDP fragment; its payload's bytes say where they belong.
Bytes fragment(std::size_t offset, std::size_t bytes, bool more, u16 id = 7, std::size_t header = 20) {
  Bytes frame(14 + header + bytes);
  frame[12] = 8;
  u8* ip = &frame[14];
  const std::size_t total = header + bytes;
  ip[0] = static_cast<u8>(0x40 | header / 4);
  ip[2] = static_cast<u8>(total >> 8), ip[3] = static_cast<u8>(total);
  ip[4] = static_cast<u8>(id >> 8), ip[5] = static_cast<u8>(id);
  const std::size_t place = offset / 8 | (more ? 0x2000 : 0);
  ip[6] = static_cast<u8>(place >> 8), ip[7] = static_cast<u8>(place);
  ip[9] = 17;
  ip[12] = 10, ip[15] = 15, ip[16] = 10, ip[19] = 2;
  const u16 sum = static_cast<u16>(~internet_sum({ip, header}));
  std::memcpy(ip + 10, &sum, sizeof sum);
  for (std::size_t i = 0; i < bytes; ++i) frame[14 + header + i] = static_cast<u8>((offset + i) * 7 >> 3);
  return frame;
}

struct ReassemblyTest : ::testing::Test {
  Reassembly reassembly;
  // The size of what came out; 0: nothing.
  std::size_t pass(const Bytes& frame) {
    const auto out = reassembly.pass(frame);
    if (!out) return 0;
    last.assign(out->begin(), out->end());
    return last.size();
  }
  Bytes last;
};

TEST_F(ReassemblyTest, OthersPass) {
  const Bytes whole = fragment(0, 100, false);
  EXPECT_EQ(pass(whole), whole.size());
  EXPECT_EQ(last, whole);
  EXPECT_EQ(pass(Bytes(14)), 14u);
  Bytes six = fragment(800, 100, false);
  six[14] = 0x65;
  EXPECT_EQ(pass(six), six.size());
}

TEST_F(ReassemblyTest, AnyOrder) {
  std::mt19937 random(1);
  std::vector<Bytes> pieces;
  for (std::size_t at = 0; at < 4000; at += 800) pieces.push_back(fragment(at, at == 3200 ? 333 : 800, at != 3200));
  for (int i = 0; i < 50; ++i) {
    std::ranges::shuffle(pieces, random);
    for (std::size_t piece = 0; piece + 1 < pieces.size(); ++piece) EXPECT_EQ(pass(pieces[piece]), 0u);
    EXPECT_EQ(pass(pieces.back()), 34u + 3533);
    EXPECT_EQ(last, fragment(0, 3533, false));
  }
}

TEST_F(ReassemblyTest, TheFirstFragmentsHeaderStays) {
  EXPECT_EQ(pass(fragment(800, 8, false)), 0u);
  EXPECT_EQ(pass(fragment(0, 800, true, 7, 24)), 38u + 808);
  EXPECT_EQ(last, fragment(0, 808, false, 7, 24));
}

TEST_F(ReassemblyTest, WhatDoesNotFitIsDropped) {
  const auto check_dropped = [&](const std::vector<Bytes>& pieces) {
    for (const Bytes& piece : pieces) EXPECT_EQ(pass(piece), 0u);
    reassembly = Reassembly();
  };
  check_dropped({fragment(0, 801, true), fragment(800, 8, false)});                          // no whole units
  check_dropped({fragment(0, 800, true), fragment(792, 8, false)});                          // overlap
  check_dropped({fragment(0, 800, true), fragment(0, 800, true), fragment(800, 8, false)});  // twice
  check_dropped({fragment(0, 800, true), fragment(1600, 8, true), fragment(800, 8, false)});
  check_dropped({fragment(800, 8, false), fragment(800, 8, false, 7), fragment(0, 800, true)});
  check_dropped({fragment(800, 8, false), fragment(808, 8, true), fragment(0, 800, true)});
  check_dropped({fragment(65'528, 8, false)});  // beyond any datagram
  check_dropped({fragment(0, 0, true), fragment(0, 8, true)});
  Bytes bad_sum = fragment(0, 800, true), longer = fragment(0, 800, true), short_header = fragment(0, 800, true);
  bad_sum[24] ^= 1;
  longer[16] = 0xff;
  short_header[14] = 0x44;
  for (const Bytes& bad : {bad_sum, longer, short_header}) check_dropped({bad, fragment(800, 8, false)});
  const Bytes whole = fragment(0, 800, true);
  for (std::size_t bytes = 34; bytes < whole.size(); bytes += 50)
    check_dropped({Bytes(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(bytes)), fragment(800, 8, false)});
  // Options make it too long.
  EXPECT_EQ(pass(fragment(0, 65'504, true, 9, 60)), 0u);
  EXPECT_EQ(pass(fragment(65'504, 8, false, 9)), 0u);
}

TEST_F(ReassemblyTest, IsBounded) {
  for (u16 id = 0; id < 1000; ++id) EXPECT_EQ(pass(fragment(0, 800, true, id)), 0u);
  EXPECT_EQ(pass(fragment(800, 8, false, 983)), 0u);  // its first fragment is gone
  EXPECT_NE(pass(fragment(800, 8, false, 999)), 0u);
}

}  // namespace
}  // namespace doppel::network
