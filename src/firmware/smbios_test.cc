// Both entry points lead to the same whole table, and dmidecode reads in it what was put there.
#include "firmware/smbios.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "base/units.h"
#include "firmware/bytes.h"

namespace doppel::firmware {
namespace {

using ::testing::HasSubstr;

std::vector<u8> build(u64 memory_bytes) {
  static const std::vector<MemoryMapEntry> map{{0, 0x9fc00, MemoryType::ram}, {MiB, 511 * MiB, MemoryType::ram}};
  SmbiosParameters parameters{
      .base = 0xf0000, .cpus = 2, .memory_map = map, .memory_bytes = memory_bytes, .version = "1.2.3"};
  for (u8 i = 0; i < 16; ++i) parameters.uuid[i] = static_cast<u8>(i * 0x11);
  return build_smbios(parameters);
}

TEST(Smbios, EntryPoints) {
  const auto block = build(512 * MiB);
  const std::span<const u8> bytes = block;
  EXPECT_EQ(std::string(block.begin(), block.begin() + 5), "_SM3_");
  EXPECT_EQ(checksum(bytes.first(24)), 0);
  EXPECT_EQ(checksum(bytes.subspan(32, 31)), 0);
  EXPECT_EQ(checksum(bytes.subspan(48, 15)), 0);
  EXPECT_EQ(load<u64>(bytes, 16), 0xf0040u);
  EXPECT_EQ(load<u32>(bytes, 32 + 24), 0xf0040u);
  EXPECT_EQ(load<u32>(bytes, 12), block.size() - 64);
  EXPECT_EQ(load<u16>(bytes, 32 + 22), block.size() - 64);

  // Walks the structures: each ends with two zeros after its strings; the last one is type 127.
  u64 at = 64, count = 0, largest = 0;
  u8 type = 0;
  while (at < block.size()) {
    const u64 begin = at;
    type = bytes[at];
    at += bytes[at + 1];
    while (bytes[at] != 0 || bytes[at + 1] != 0) ++at;
    at += 2;
    largest = std::max(largest, at - begin);
    ++count;
  }
  EXPECT_EQ(at, block.size());
  EXPECT_EQ(type, 127);
  EXPECT_EQ(count, load<u16>(bytes, 32 + 28));
  EXPECT_EQ(largest, load<u16>(bytes, 32 + 8));
}

// dmidecode reads a dump in which the table follows the entry point at 32.
std::string dmidecode(u64 memory_bytes) {
  const auto block = build(memory_bytes);
  std::vector<u8> dump(block.begin(), block.begin() + 24);
  dump.resize(32);
  store<u64>(dump, 16, 32);
  dump[5] = 0;
  dump[5] = checksum(std::span(dump).first(24));
  dump.insert(dump.end(), block.begin() + 64, block.end());
  const std::string file = ::testing::TempDir() + "doppel-smbios-test";
  std::ofstream(file, std::ios::binary)
      .write(reinterpret_cast<const char*>(dump.data()), static_cast<std::streamsize>(dump.size()));
  std::string output;
  FILE* pipe = ::popen(("PATH=$PATH:/usr/sbin:/sbin dmidecode --from-dump " + file + " 2>&1").c_str(), "r");
  for (int c; pipe != nullptr && (c = std::fgetc(pipe)) != EOF;) output.push_back(static_cast<char>(c));
  ::pclose(pipe);
  std::filesystem::remove(file);
  return output;
}

TEST(Smbios, Dmidecode) {
  if (std::system("PATH=$PATH:/usr/sbin:/sbin command -v dmidecode >/dev/null 2>&1") != 0)
    GTEST_SKIP() << "dmidecode is not installed";
  const std::string output = dmidecode(512 * MiB);
  for (const char* expected : {"SMBIOS 3.0.0 present", "Vendor: Doppel", "Product Name: Doppel PC", "Version: 1.2.3",
                               "System is a virtual machine", "UUID: 00112233-4455-6677-8899-aabbccddeeff",
                               "Socket Designation: CPU 1", "Size: 512 MB", "Maximum Capacity: 512 MB",
                               "Range Size: 511 MB", "Status: No errors detected", "End Of Table"}) {
    EXPECT_THAT(output, HasSubstr(expected));
  }
  EXPECT_EQ(output.find("OUT OF SPEC"), std::string::npos);
  EXPECT_THAT(dmidecode(64 * GiB), HasSubstr("Size: 64 GB"));
}

}  // namespace
}  // namespace doppel::firmware
