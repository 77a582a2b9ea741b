// A disk in memory: whole sectors, nothing beyond the end, nothing written.
#include "disk/contents.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <string>

namespace doppel::disk {
namespace {

TEST(Contents, ReadsAndRefusesTheRest) {
  const auto loop = std::move(*EventLoop::create());
  const auto engine = std::move(*IoEngine::create(*loop, IoEngine::Kind::immediate));
  Contents disk("seed", std::string(1000, 'a'), *engine);
  EXPECT_EQ(disk.size_bytes(), 1024u);
  std::string data(512, 'x');
  const iovec buffer{.iov_base = data.data(), .iov_len = data.size()};
  int error = -1;
  const auto note = [&](int result) { error = result; };
  const auto check = [&](int expected) {
    disk.drain();
    EXPECT_EQ(error, expected);
  };
  disk.read(512, {&buffer, 1}, note);
  check(0);
  EXPECT_EQ(data, std::string(488, 'a') + std::string(24, '\0'));
  for (const u64 offset : {u64{1024}, u64{1}, ~u64{0} - 511}) {
    disk.read(offset, {&buffer, 1}, note);
    check(EINVAL);
  }
  disk.write(0, {&buffer, 1}, note);
  check(EROFS);
  disk.write_zeroes(0, 512, true, note);
  check(EROFS);
  auto saved = state::Archive::for_saving();
  disk.state(saved);
  auto same = state::Archive::for_loading(saved.take());
  disk.state(same);
  EXPECT_TRUE(same.ok());
}

}  // namespace
}  // namespace doppel::disk
