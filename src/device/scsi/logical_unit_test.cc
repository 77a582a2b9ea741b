// What units make of commands: data, sense, and what the image has to do. Commands are in hexadecimal, as standards print them.
#include "device/scsi/logical_unit.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "base/units.h"
#include "device/testing/memory_image.h"

namespace doppel::scsi {
namespace {

using testing::MemoryImage;

std::vector<u8> from_hex(std::string text) {
  std::erase(text, ' ');
  std::vector<u8> bytes;
  for (std::size_t i = 0; i + 1 < text.size(); i += 2)
    bytes.push_back(static_cast<u8>(std::stoul(text.substr(i, 2), nullptr, 16)));
  return bytes;
}

std::string to_hex(std::span<const u8> bytes) {
  std::string text;
  for (const u8 byte : bytes) text += fmt::format("{:02x}", byte);
  return text;
}

struct UnitTest : ::testing::Test {
  std::unique_ptr<LogicalUnit> unit;
  std::vector<u8> out, in = std::vector<u8>(64 * KiB);
  std::vector<u8> data;  // what the last command returned
  Task task;

  void make(LogicalUnit::Kind kind, u64 bytes = 64 * KiB, bool read_only = false) {
    unit = std::make_unique<LogicalUnit>(kind, std::make_unique<MemoryImage>(bytes, read_only), "S-1");
    run("00");  // the reset that every unit reports first
  }
  // "ok", "overrun" or sense as K/CC/QQ; then the steps.
  std::string run(const std::string& cdb_text, const std::string& out_text = {}) {
    std::array<u8, largest_cdb_bytes> cdb{};
    std::ranges::copy(from_hex(cdb_text), cdb.begin());
    out = from_hex(out_text);
    const std::vector<std::span<u8>> outs{out}, ins{in};
    task = unit->execute({.cdb = cdb,
                          .data_out = out.empty() ? std::span<const std::span<u8>>{} : outs,
                          .data_in = ins,
                          .data_out_bytes = out.size(),
                          .data_in_bytes = in.size()});
    data = task.data;
    std::string text = task.overrun ? "overrun" : "ok";
    if (task.sense != sense::none)
      text = fmt::format("{:x}/{:02x}/{:02x}", task.sense.key, task.sense.code, task.sense.qualifier);
    for (const Step& step : task.steps) {
      static constexpr std::array names{"read", "write", "flush", "discard", "zero"};
      text += fmt::format(" {}", names[static_cast<std::size_t>(step.operation.kind)]);
      if (step.operation.kind != ImageOperation::Kind::flush)
        text += fmt::format(" {}+{}", step.operation.offset, step.operation.bytes);
      if (step.operation.may_unmap) text += "u";
      if (step.times != 1) text += fmt::format("*{}", step.times);
    }
    return text;
  }
  void check(const std::string& cdb, const std::string& expected, const std::string& parameters = {}) {
    EXPECT_EQ(run(cdb, parameters), expected) << cdb;
  }
  void check_data(const std::string& cdb, const std::string& expected) {
    EXPECT_EQ(run(cdb), "ok") << cdb;
    EXPECT_EQ(to_hex(data), to_hex(from_hex(expected))) << cdb;
  }
  std::string text(std::size_t at, std::size_t bytes) const {
    return std::string(data.begin() + static_cast<std::ptrdiff_t>(at),
                       data.begin() + static_cast<std::ptrdiff_t>(at + bytes));
  }
};

struct DiskUnit : UnitTest {
  void SetUp() override { make(LogicalUnit::Kind::disk); }
};
struct CdUnit : UnitTest {
  void SetUp() override { make(LogicalUnit::Kind::cdrom); }
};

TEST_F(DiskUnit, Inquiry) {
  check("12 00 00 00 60", "ok");
  EXPECT_EQ(data.size(), 96u);
  EXPECT_EQ(to_hex(std::span(data).first(8)), "000006025b000002");
  EXPECT_EQ(text(8, 28), "DOPPEL  DISK            1   ");
  check_data("12 00 00 00 05", "00 00 06 02 5b");
  check_data("12 01 00 00 ff", "00 00 00 06 00 80 83 b0 b1 b2");
  check_data("12 01 80 00 ff", "00 80 00 03 53 2d 31");
  check_data("12 01 83 00 ff", "00 83 00 0f 02 01 00 0b 44 4f 50 50 45 4c 20 20 53 2d 31");
  check_data("12 01 b0 00 ff",
             "00 b0 00 3c 01 00 0008 00000000 00000000 00000000 00400000 00000040 00000008 00000000 0000000000400000"
             "0000000000000000000000000000000000000000");
  check_data("12 01 b2 00 ff", "00 b2 00 04 00 e0 02 00");
  check("12 01 b1 00 ff", "ok");
  EXPECT_EQ(data.size(), 64u);
  check("12 01 84 00 ff", "5/24/00");
  check("12 00 80 00 ff", "5/24/00");
}

TEST_F(DiskUnit, Capacity) {
  check_data("25", "0000007f 00000200");
  check_data("9e 10 0000000000000000 00000020",
             "000000000000007f 00000200 00 03 80 0000000000000000000000000000000000");
  check_data("9e 10 0000000000000000 00000004", "00000000");
  check("9e 11", "5/24/00");
}

TEST_F(DiskUnit, Transfers) {
  const std::string block(1024, 'a');  // 512 bytes of 0xaa
  check("08 000001 02 00", "ok read 512+1024");
  check("08 e0007f 01 00", "ok read 65024+512");  // the upper bits once were a LUN
  check("08 000000 00 00", "5/21/00");            // 256 blocks
  check("0a 000001 01 00", "ok write 512+512", block);
  check("28 00 00000001 00 0002 00", "ok read 512+1024");
  check("2a 00 0000007f 00 0001 00", "ok write 65024+512", block);
  check("2a 08 00000000 00 0001 00", "ok write 0+512 flush", block);
  check("a8 00 00000002 00000003 00 00", "ok read 1024+1536");
  check("aa 08 00000002 00000001 00 00", "ok write 1024+512 flush", block);
  check("88 00 0000000000000003 00000001 00 00", "ok read 1536+512");
  check("8a 00 0000000000000003 00000001 00 00", "ok write 1536+512", block);
  check("28 00 00000080 00 0001 00", "5/21/00");
  check("28 00 ffffffff 00 ffff 00", "5/21/00");
  check("88 00 ffffffffffffffff ffffffff 00 00", "5/21/00");
  check("28 00 00000080 00 0000 00", "ok");  // nothing, at the end
  check("28 20 00000000 00 0001 00", "5/24/00");
  check("2a 00 00000000 00 0002 00", "overrun", block);
  in.resize(511);
  check("28 00 00000000 00 0001 00", "overrun");
}

TEST_F(DiskUnit, FlushAndVerify) {
  check("35 00 00000000 00 0000 00", "ok flush");
  check("91 00 0000000000000000 00000000 00 00", "ok flush");
  check("35 00 00000081 00 0000 00", "5/21/00");
  check("2f 00 00000000 00 0080 00", "ok");
  check("2f 00 00000001 00 0080 00", "5/21/00");
  check("2f 02 00000000 00 0001 00", "5/24/00");
}

TEST_F(DiskUnit, Unmap) {
  check("42 00 00000000 00 0000 00", "ok");
  check("42 00 00000000 00 0018 00", "ok discard 4096+8192", "0016 0010 00000000 0000000000000008 00000010 00000000");
  check("42 00 00000000 00 0018 00", "5/21/00", "0016 0010 00000000 0000000000000078 00000010 00000000");
  check("42 00 00000000 00 0018 00", "5/21/00", "0016 0010 00000000 ffffffffffffffff ffffffff 00000000");
  // Descriptors that were announced, and are not there.
  check("42 00 00000000 00 0018 00", "ok discard 0+512", "ffff ffff 00000000 0000000000000000 00000001 00000000");
  check("42 00 00000000 00 0018 00", "overrun", "0016 0010");
  check("42 00 00000000 00 0004 00", "5/1a/00", "0016 0010");
  check("42 01 00000000 00 0018 00", "5/24/00");
  const std::string many = fmt::format("{:04x}{:04x}00000000", 65 * 16 + 6, 65 * 16) +
                           std::string(std::size_t{65} * 32, '0');
  check("42 00 00000000 00 0418 00", "5/26/00", many);
}

TEST_F(DiskUnit, WriteSame) {
  const std::string zero(1024, '0'), block(1024, 'b');
  check("41 00 00000000 00 0010 00", "ok zero 0+8192", zero);
  check("93 08 0000000000000008 00000010 00 00", "ok zero 4096+8192u", zero);
  check("93 01 0000000000000008 00000010 00 00", "ok zero 4096+8192");
  check("41 01 00000000 00 0010 00", "5/24/00");
  check("41 00 00000000 00 0001 00", "ok write 0+512", block);
  check("41 00 00000000 00 0000 00", "5/24/00", block);
  check("41 00 00000070 00 0011 00", "5/21/00", block);
  check("41 00 00000000 00 0001 00", "overrun", "bbbb");
  make(LogicalUnit::Kind::disk, 1 * MiB);
  check("93 00 0000000000000001 00000101 00 00", "ok write 512+65536*2 write 131584+512", block);
  EXPECT_EQ(task.pattern, std::vector<u8>(65536, 0xbb));
}

TEST_F(DiskUnit, ModePages) {
  const std::string caching = "08 12 04 0000000000000000000000000000000000";
  check_data("1a 00 08 00 ff", "1f 00 10 08 00000080 00000200" + caching);
  check_data("1a 08 08 00 ff", "17 00 10 00" + caching);
  check_data("5a 08 08 00000000 00ff", "001a 00 10 0000 0000" + caching);
  check_data("1a 08 48 00 ff", "17 00 10 00" + caching);  // changeable: the one bit
  check_data("1a 08 3f 00 04", "2f 00 10 00");
  check_data("1a 08 3f ff 04", "2f 00 10 00");
  check("1a 08 c8 00 ff", "5/39/00");
  check("1a 08 2a 00 ff", "5/24/00");
  check("1a 08 08 01 ff", "5/24/00");
}

TEST_F(DiskUnit, WriteCacheOff) {
  const std::string off = "00000000 08 12 00 0000000000000000000000000000000000", block(1024, 'c');
  check("15 10 00 00 18", "ok flush", off);
  check("2a 00 00000000 00 0001 00", "ok write 0+512 flush", block);
  check("41 00 00000000 00 0001 00", "ok write 0+512 flush", block);
  check_data("1a 08 08 00 ff", "17 00 10 00 08 12 00 0000000000000000000000000000000000");
  check_data("1a 08 88 00 ff", "17 00 10 00 08 12 04 0000000000000000000000000000000000");  // the default
  check("55 10 00 00000000 001c 00", "ok", "0000000000000000 08 12 04 0000000000000000000000000000000000");
  check("2a 00 00000000 00 0001 00", "ok write 0+512", block);
  // What cannot be changed, and lists that end early.
  check("15 10 00 00 18", "5/26/00", "00000000 08 12 04 0100000000000000000000000000000000");
  check("15 10 00 00 18", "5/26/00", "00000000 2a 12 04 0000000000000000000000000000000000");
  check("15 10 00 00 06", "5/1a/00", "00000000 08 12");
  check("15 10 00 00 03", "5/1a/00", "000000");
  check("15 10 00 00 04", "5/1a/00", "000000ff");
  check("15 00 00 00 18", "5/24/00", off);
  check("15 11 00 00 18", "5/24/00", off);
}

TEST_F(DiskUnit, UnitAttention) {
  unit->reset();
  check("12 00 00 00 05", "ok");
  check("a0 00 00 00 0000 00000010", "ok");
  check("28 00 00000000 00 0001 00", "6/29/00");
  check("28 00 00000000 00 0001 00", "ok read 0+512");
  unit->reset();
  check_data("03 00 00 00 12", "70 00 06 00000000 0a 00000000 29 00 00000000");
  check_data("03 00 00 00 12", "70 00 00 00000000 0a 00000000 00 00 00000000");
  check_data("03 01 00 00 12", "72 00 00 00 00000000");
}

TEST_F(DiskUnit, ReadOnly) {
  make(LogicalUnit::Kind::disk, 64 * KiB, true);
  const std::string block(1024, '0');
  check("2a 00 00000000 00 0001 00", "7/27/00", block);
  check("42 00 00000000 00 0008 00", "7/27/00", "0006000000000000");
  check("93 00 0000000000000000 00000001 00 00", "7/27/00", block);
  check("35", "ok");
  check_data("1a 08 0a 00 03", "0f 00 90");
  check_data("9e 10 0000000000000000 0000000f", "000000000000007f 00000200 00 03 00");
}

TEST_F(DiskUnit, UnknownCommands) {
  check("ff", "5/20/00");
  check("43", "5/20/00");  // a CD-ROM drive's
  check("5f", "5/20/00");  // persistent reservations
  check("16", "ok");
  check("1b 00 00 00 02", "ok");
}

TEST_F(DiskUnit, UnitsThatDoNotExist) {
  const auto ask = [&](const std::string& cdb_text) {
    std::array<u8, largest_cdb_bytes> cdb{};
    std::ranges::copy(from_hex(cdb_text), cdb.begin());
    return LogicalUnit::execute_without_unit({.cdb = cdb, .data_in_bytes = 256});
  };
  EXPECT_EQ(to_hex(ask("12 00 00 00 05").data), "7f0006021f");
  EXPECT_EQ(ask("00").sense, sense::no_such_unit);
  EXPECT_EQ(ask("12 01 00 00 05").sense, sense::invalid_field);
  EXPECT_EQ(to_hex(ask("a0 00 00 00 0000 00000010").data), "00000008000000000000000000000000");
  EXPECT_EQ(ask("03 00 00 00 12").data[12], 0x25);
}

TEST_F(CdUnit, Basics) {
  check("12 00 00 00 60", "ok");
  EXPECT_EQ(to_hex(std::span(data).first(4)), "05800602");
  EXPECT_EQ(text(8, 28), "DOPPEL  CD-ROM          1   ");
  check_data("12 01 00 00 ff", "05 00 00 03 00 80 83");
  check_data("25", "0000001f 00000800");
  check("28 00 00000001 00 0002 00", "ok read 2048+4096");
  check("a8 00 0000001f 00000001 00 00", "ok read 63488+2048");
  check("28 00 0000001f 00 0002 00", "5/21/00");
  check("2a 00 00000000 00 0001 00", "5/20/00");
  check("2b 00 0000001f", "ok");
  check("2b 00 00000020", "5/21/00");
  check("35", "ok");
  check_data("5a 08 2a 00000000 0008", "001c 00 00 0000 0000");
  check("5a 08 08 00000000 00ff", "5/24/00");
}

TEST_F(CdUnit, TableOfContents) {
  check_data("43 00 00 00 00 00 00 00ff 00", "0012 01 01 00140100 00000000 0014aa00 00000020");
  check_data("43 02 00 00 00 00 aa 00ff 00", "000a 01 01 0014aa00 00000220");
  check_data("43 00 00 00 00 00 00 00ff 40", "000a 01 01 00140100 00000000");
  check_data("43 00 02 00 00 00 00 0004 00", "002e 01 01");
  check("43 00 00 00 00 00 02 00ff 00", "5/24/00");
  check("43 00 05 00 00 00 00 00ff 00", "5/24/00");
}

TEST_F(CdUnit, Configuration) {
  check_data("46 02 0000 000000 0014", "00000010 0000 0008 0000 01 08 0010 00 00 0008 01 00");
  check_data("46 01 001e 000000 0010", "00000014 0000 0008 001e 09 04 00000000");
  check("46 03", "5/24/00");
  check("46 00 0000 000000 ffff", "ok");
  EXPECT_EQ(load_be(data, 0, 4), data.size() - 4);
  check_data("51 00 00 00 00 00 00 0009", "0020 0e 01 01 01 01 00 00");
  check_data("bd 00 00 00 00 00 00 00 0008", "0000000000 01 0000");
  check("bb", "ok");
}

TEST_F(CdUnit, Tray) {
  check_data("4a 01 00 00 10 00 00 0008", "0006 04 10 00 02 0000");
  check("4a 00 00 00 10 00 00 0008", "5/24/00");
  check_data("4a 01 00 00 40 00 00 0008", "0002 80 10");
  check("1e 00 00 00 01", "ok");
  check("1b 00 00 00 02", "5/53/02");
  check("00", "ok");
  check("1e 00 00 00 00", "ok");
  check("1b 00 00 00 00", "ok");  // stops, and keeps the disc
  check("00", "ok");
  check("1b 00 00 00 02", "ok");
  check("00", "2/3a/00");
  check("28 00 00000001 00 0002 00", "2/3a/00");
  check_data("4a 01 00 00 10 00 00 0008", "0006 04 10 03 01 0000");
  check_data("4a 01 00 00 10 00 00 0008", "0006 04 10 00 01 0000");
  check_data("46 02 0000 000000 0008", "00000010 0000 0000");
  check("1b 00 00 00 03", "ok");
  check("00", "6/28/00");
  check("00", "ok");
  check_data("4a 01 00 00 10 00 00 0008", "0006 04 10 02 02 0000");
}

TEST_F(CdUnit, LessThanABlock) {
  make(LogicalUnit::Kind::cdrom, 1536);
  check("25", "2/3a/00");
}

TEST_F(CdUnit, State) {
  run("1b 00 00 00 02");
  auto saved = state::Archive::for_saving();
  unit->state(saved);
  make(LogicalUnit::Kind::cdrom);
  auto archive = state::Archive::for_loading(saved.take());
  unit->state(archive);
  EXPECT_TRUE(archive.ok());
  check("00", "2/3a/00");
  check_data("4a 01 00 00 10 00 00 0008", "0006 04 10 03 01 0000");
}

}  // namespace
}  // namespace doppel::scsi
