// Saved machines: what was written comes back; truncated and damaged files are refused.
#include "machine/saved_machine.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>

#include "base/units.h"

namespace doppel {
namespace {

struct SavedMachineTest : testing::Test {
  Bus mmio{u64{1} << 52};
  std::string path = "/tmp/doppel-saved-test-" + std::to_string(::getpid());
  ~SavedMachineTest() override { ::unlink(path.c_str()); }

  std::unique_ptr<PhysicalMemory> memory(u64 bytes = 8 * MiB) {
    return std::move(*PhysicalMemory::create(bytes, mmio));
  }
  void write(const std::string& contents) {
    const Fd fd = std::move(*open_file(path, O_WRONLY | O_CREAT | O_TRUNC));
    ASSERT_TRUE(write_all(fd.get(), {reinterpret_cast<const u8*>(contents.data()), contents.size()}));
  }
  Result<> load(PhysicalMemory& to) {
    auto file = SavedMachine::open(path);
    if (!file) return std::unexpected(file.error());
    return file->load_ram(to);
  }
  std::string saved() {
    const auto original = memory();
    original->ram()[0] = 1;
    std::memset(original->ram() + 3 * MiB - 5000, 0x5a, 2 * MiB + 1);  // several chunks
    original->ram()[8 * MiB - 1] = 2;
    original->ram()[6 * MiB] = 0;  // allocated, and zero
    EXPECT_TRUE(write_saved_machine(path, {1, 2, 3}, *original));
    hash = original->hash();
    return *read_file(path, GiB);
  }
  u64 hash = 0;
};

TEST_F(SavedMachineTest, ComesBack) {
  saved();
  auto file = SavedMachine::open(path);
  ASSERT_TRUE(file);
  EXPECT_EQ(file->state(), (std::vector<u8>{1, 2, 3}));
  const auto copy = memory();
  ASSERT_TRUE(file->load_ram(*copy));
  EXPECT_EQ(copy->hash(), hash);
  EXPECT_EQ(copy->ram()[8 * MiB - 1], 2);
  const auto smaller = memory(4 * MiB);
  EXPECT_EQ(load(*smaller).error().message, "'" + path + "' holds 8 MiB of memory, this machine has 4 MiB");
}

TEST_F(SavedMachineTest, TruncationsAndFlippedBitsAreRefused) {
  const std::string whole = saved();
  ASSERT_LT(whole.size(), 4096u);
  for (std::size_t size = 0; size < whole.size(); ++size) {
    write(whole.substr(0, size));
    EXPECT_FALSE(load(*memory())) << size;
  }
  for (std::size_t i = 24 + 3; i < whole.size(); i += 3) {
    std::string damaged = whole;
    damaged[i] = static_cast<char>(damaged[i] ^ 0x10);
    write(damaged);
    const auto target = memory();
    // Some bits of a compressed frame's header mean nothing; then the memory is what was saved.
    EXPECT_TRUE(!load(*target) || target->hash() == hash) << i;
  }
  write("#!/bin/sh\n");
  EXPECT_EQ(load(*memory()).error().message, "'" + path + "' is not a saved machine");
}

TEST_F(SavedMachineTest, AFailedSaveLeavesNothingBehind) {
  const auto result = write_saved_machine("/nonexistent/file", {}, *memory());
  EXPECT_EQ(result.error().message, "cannot create '/nonexistent/file': No such file or directory");
}

}  // namespace
}  // namespace doppel
