// Requests and their status, ordering of flushes, resets with requests under way, several queues, and a real image.
#include "device/virtio/block.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "device/testing/memory_image.h"
#include "device/testing/virtio_driver.h"
#include "disk/raw.h"

namespace doppel {
namespace {

using testing::MemoryImage;
using testing::VirtioDriver;
using testing::VirtioMachine;

constexpr u64 header = 0x20000, payload = 0x21000, status = 0x30000;
constexpr u64 flush_feature = 1 << 9, discard_feature = 1 << 13, zeroes_feature = 1 << 14;
constexpr u64 usual = VirtioDriver::default_features | flush_feature | discard_feature | zeroes_feature;

struct BlockTest : ::testing::Test {
  VirtioMachine machine;
  MemoryImage* image = nullptr;
  VirtioDriver driver{machine};

  void make(bool read_only = false, unsigned queues = 1) {
    machine.plug([&](VirtioMachine& m) {
      auto made = std::make_unique<MemoryImage>(64 * KiB, read_only);
      image = made.get();
      for (std::size_t i = 0; i < image->data.size(); ++i) image->data[i] = static_cast<u8>(i / 512);
      return std::make_unique<VirtioBlock>("disk", m.dma(), m.policy(), std::move(made),
                                           VirtioBlock::Options{.serial = "serial-0123456789abcdef", .queues = queues});
    });
  }
  void put_header(u32 type, u64 sector) {
    machine.dma().write(header, type);
    machine.dma().write(header + 4, u32{0});
    machine.dma().write(header + 8, sector);
    machine.dma().write(status, u8{0xee});
  }
  u8 status_byte() {
    u8 value = 0;
    machine.dma().read(status, value);
    return value;
  }
  void submit(const std::vector<VirtioDriver::Buffer>& buffers, unsigned queue = 0, u16 head = 0) {
    driver.add(queue, head, buffers);
    driver.kick(queue);
    machine.settle();
  }
  // One request: what the image was asked, and the status byte ("-": none was written).
  void check(u32 type, u64 sector, u32 out_bytes, u32 in_bytes, const std::string& expected, u64 features = usual) {
    ASSERT_TRUE(driver.start(features));
    image->log.clear();
    put_header(type, sector);
    std::vector<VirtioDriver::Buffer> buffers{{header, 16}};
    if (out_bytes != 0) buffers.push_back({payload, out_bytes});
    if (in_bytes != 0) buffers.push_back({payload, in_bytes, true});
    buffers.push_back({status, 1, true});
    submit(buffers);
    image->drain();
    EXPECT_EQ(image->log + (status_byte() == 0xee ? "-" : fmt::format("{}", status_byte())), expected)
        << "type " << type << " sector " << sector;
    EXPECT_EQ(driver.all_used(0), fmt::format("0:{} ", in_bytes + 1));
  }
  // Ranges of discard and write zeroes, {sector, sectors, flags}.
  struct Range {
    u64 sector;
    u32 sectors, flags;
  };
  void check_ranges(u32 type, const std::vector<Range>& ranges, const std::string& expected, u64 features = usual) {
    for (std::size_t i = 0; i < ranges.size(); ++i) machine.dma().write(payload + 16 * i, ranges[i]);
    check(type, 0, static_cast<u32>(16 * ranges.size()), 0, expected, features);
  }
};

TEST_F(BlockTest, Configuration) {
  make(false, 4);
  EXPECT_EQ(driver.offered() & 0xffffff, 0x7644u);  // SEG_MAX, BLK_SIZE, FLUSH, TOPOLOGY, MQ, DISCARD, WRITE_ZEROES
  EXPECT_EQ(driver.read(0x12, 2), 4u);
  const auto check_field = [&](u64 offset, unsigned bytes, u64 value) {
    EXPECT_EQ(driver.read(0x2000 + offset, bytes), value) << offset;
  };
  check_field(0, 8, 128);
  check_field(4, 4, 0);
  check_field(12, 4, 254);
  check_field(20, 4, 512);
  check_field(24, 1, 3);
  check_field(34, 2, 4);
  check_field(36, 4, 1 << 22);
  check_field(56, 1, 1);
  check_field(60, 4, 0);
  driver.write(0x2000, 4, 1);  // read-only
  check_field(0, 8, 128);
}

TEST_F(BlockTest, Requests) {
  make();
  check(0, 2, 0, 1024, "read 1024+1024 0");
  u16 word = 0;
  machine.dma().read(payload + 511, word);
  EXPECT_EQ(word, 0x0302);
  machine.dma().write(payload, u64{0x1122334455667788});
  check(1, 127, 512, 0, "write 65024+512 0");
  EXPECT_EQ(image->data[65024], 0x88);
  check(1, 128, 512, 0, "1");  // beyond the end
  check(0, 127, 0, 1024, "1");
  check(0, u64{1} << 55, 0, 512, "1");  // offset overflows
  check(0, ~u64{0}, 0, 512, "1");
  check(0, 0, 0, 511, "1");  // not whole sectors
  check(1, 0, 1, 0, "1");
  check(0, 0, 0, 0, "0");
  check(4, 0, 0, 0, "flush 0");
  check(99, 0, 0, 0, "2");
  check(8, 0, 0, 20, "0");
  char id[20];
  machine.dma().read(payload, id, 20);
  EXPECT_EQ(std::string(id, 20), "serial-0123456789abc");
  check(8, 0, 0, 19, "1");
  check(1, 0, 512, 0, "write 0+512 flush 0", virtio::feature_version_1);  // write-through without FLUSH
  image->fail_with = ENOSPC;
  check(1, 0, 512, 0, "write 0+512 1");
  check(4, 0, 0, 0, "flush 1");
  check(1, 0, 512, 0, "write 0+512 1", virtio::feature_version_1);
}

TEST_F(BlockTest, DiscardAndWriteZeroes) {
  make();
  check_ranges(11, {{8, 16, 0}}, "discard 4096+8192 0");
  check_ranges(11, {{0, 1, 0}, {127, 1, 0}}, "discard 0+512 discard 65024+512 0");
  check_ranges(11, {{0, 1, 0}, {127, 2, 0}}, "1");
  check_ranges(11, {{0, 1, 1}}, "2");
  check_ranges(11, {{~u64{0}, 0xffffffff, 0}}, "1");
  check_ranges(11, {}, "1");
  check_ranges(11, std::vector<Range>(65, {0, 1, 0}), "1");
  check_ranges(13, {{8, 16, 1}}, "zero 4096+8192u 0");
  check_ranges(13, {{8, 16, 0}}, "zero 4096+8192 0");
  check_ranges(13, {{8, 16, 2}}, "2");
  check_ranges(13, {{8, 16, 0}}, "2", virtio::feature_version_1);  // not negotiated
  check(11, 0, 15, 0, "1");
}

TEST_F(BlockTest, ReadOnly) {
  make(true);
  EXPECT_EQ(driver.offered() & 0xffff, 0x664u);
  const u64 features = virtio::feature_version_1 | flush_feature;
  check(1, 0, 512, 0, "1", features);
  check(0, 0, 0, 512, "read 0+512 0", features);
  check(4, 0, 0, 0, "flush 0", features);
}

TEST_F(BlockTest, MalformedRequestsNeedAReset) {
  make();
  const auto check_broken = [&](const std::vector<VirtioDriver::Buffer>& buffers) {
    ASSERT_TRUE(driver.start(usual));
    submit(buffers);
    EXPECT_EQ(driver.status() & virtio::status_needs_reset, virtio::status_needs_reset);
    EXPECT_EQ(driver.all_used(0), "");
  };
  put_header(0, 0);
  check_broken({{header, 16}});                     // no status
  check_broken({{header, 15}, {status, 1, true}});  // short header
  check_broken({{status, 1, true}});
  // Headers and status bytes may be cut anywhere (§2.7.4.3).
  ASSERT_TRUE(driver.start(usual));
  put_header(0, 1);
  submit({{header, 1},
          {header + 1, 14},
          {header + 15, 1},
          {payload, 100, true},
          {payload + 100, 412, true},
          {status, 1, true}});
  image->drain();
  EXPECT_EQ(status_byte(), 0);
  EXPECT_EQ(driver.all_used(0), "0:513 ");
}

TEST_F(BlockTest, CompletesOnlyWhenTheImageDid) {
  make();
  ASSERT_TRUE(driver.start(usual, 16, true));
  machine.take_log();
  put_header(0, 0);
  submit({{header, 16}, {payload, 512, true}, {status, 1, true}}, 0, 0);
  submit({{header, 16}, {payload, 512, true}, {status, 1, true}}, 0, 3);
  EXPECT_EQ(driver.all_used(0), "");
  EXPECT_EQ(machine.take_log(), "");
  image->complete(1);
  EXPECT_EQ(driver.all_used(0), "0:513 ");
  image->complete(1);
  EXPECT_EQ(driver.all_used(0), "3:513 ");
  EXPECT_EQ(machine.take_log(), "msi40 ");  // the driver asked for the last of both
}

// What the image has at hand ends within the notification; from the first chain on that does not, the I/O thread works.
TEST_F(BlockTest, TransfersAtOnce) {
  make();
  ASSERT_TRUE(driver.start(usual));
  image->at_once = true;
  const auto add = [&](u16 head) { driver.add(0, head, {{header, 16}, {payload, 512, true}, {status, 1, true}}); };
  put_header(0, 2);
  add(0);
  driver.kick(0);
  EXPECT_EQ(driver.all_used(0), "0:513 ");
  EXPECT_EQ(status_byte(), 0);
  u8 byte = 0;
  machine.dma().read(payload, byte);
  EXPECT_EQ(byte, 2);

  constexpr u64 flush_header = 0x2f000;
  machine.dma().write(flush_header, u32{4});
  add(0);
  driver.add(0, 3, {{flush_header, 16}, {status, 1, true}});
  add(6);
  driver.kick(0);
  EXPECT_EQ(driver.all_used(0), "0:513 ");
  EXPECT_TRUE(image->waiting.empty());
  machine.settle();
  EXPECT_EQ(image->waiting.size(), 2u);
  image->drain();
  EXPECT_EQ(driver.all_used(0), "3:1 6:513 ");

  // What was read before it failed is in memory, where code may be.
  constexpr u64 page = payload >> 12;
  machine.memory->mark_code(page, 0, 4095);
  const u32 generation = machine.memory->code_generations()[page].load();
  image->at_once_fails = true;
  add(0);
  driver.kick(0);
  EXPECT_NE(machine.memory->code_generations()[page].load(), generation);
  machine.settle();
  image->drain();
  EXPECT_EQ(driver.all_used(0), "0:513 ");
  image->at_once_fails = false;

  machine.function->pause();
  add(0);
  driver.kick(0);
  EXPECT_EQ(driver.all_used(0), "");
  machine.function->resume();
  machine.settle();
  image->drain();
  EXPECT_EQ(driver.all_used(0), "0:513 ");

  // Without FLUSH a write is on the medium before it ends.
  ASSERT_TRUE(driver.start(virtio::feature_version_1));
  image->log.clear();
  put_header(1, 0);
  driver.add(0, 0, {{header, 16}, {payload, 512}, {status, 1, true}});
  driver.kick(0);
  EXPECT_EQ(image->log, "");
}

TEST_F(BlockTest, ResetWaitsForRequestsUnderWay) {
  make();
  ASSERT_TRUE(driver.start(virtio::feature_version_1));  // write-through: two steps each
  put_header(1, 0);
  submit({{header, 16}, {payload, 512}, {status, 1, true}});
  EXPECT_EQ(image->log, "write 0+512 ");
  driver.set_status(0);
  EXPECT_NE(driver.status(), 0);
  driver.set_status(1);  // too early: ignored
  image->complete(1);
  EXPECT_NE(driver.status(), 0);
  image->complete(1);
  EXPECT_EQ(driver.status(), 0);
  EXPECT_EQ(status_byte(), 0xee);
  EXPECT_EQ(driver.all_used(0), "");
  check(0, 0, 0, 512, "read 0+512 0");
}

TEST_F(BlockTest, PauseDrainsAndMachineResetForgets) {
  make();
  ASSERT_TRUE(driver.start(usual));
  put_header(0, 0);
  submit({{header, 16}, {payload, 512, true}, {status, 1, true}});
  machine.function->pause();
  EXPECT_EQ(driver.all_used(0), "0:513 ");
  submit({{header, 16}, {payload, 512, true}, {status, 1, true}});
  EXPECT_TRUE(image->waiting.empty());
  machine.function->resume();
  machine.settle();
  EXPECT_EQ(image->waiting.size(), 1u);
  machine.function->reset();
  EXPECT_TRUE(image->waiting.empty());
  machine.power_up();
  EXPECT_EQ(driver.status(), 0);
  check(0, 0, 0, 512, "read 0+512 0");
}

TEST_F(BlockTest, SeveralQueues) {
  make(false, 3);
  ASSERT_TRUE(driver.start(usual, 16, true));
  machine.take_log();
  put_header(0, 0);
  for (const unsigned queue : {2u, 0u, 1u}) submit({{header, 16}, {payload, 512, true}, {status, 1, true}}, queue);
  image->drain();
  for (unsigned queue = 0; queue < 3; ++queue) EXPECT_EQ(driver.all_used(queue), "0:513 ");
  EXPECT_EQ(machine.take_log(), "msi42 msi40 msi41 ");
}

// The whole path on a real file, with both ways of time; what the guest flushed is in the file.
TEST(Block, RealImage) {
  for (const bool deterministic : {false, true}) {
    const std::string path = std::filesystem::temp_directory_path() / fmt::format("doppel-block-{}", ::getpid());
    std::ofstream(path).close();
    std::filesystem::resize_file(path, 1 * MiB);
    VirtioMachine machine(deterministic);
    auto engine = std::move(*disk::IoEngine::create(
        *machine.loop, deterministic ? disk::IoEngine::Kind::immediate : disk::IoEngine::Kind::automatic));
    machine.plug([&](VirtioMachine& m) {
      return std::make_unique<VirtioBlock>(
          "disk", m.dma(), m.policy(), std::move(*disk::RawImage::open(path, false, *engine)), VirtioBlock::Options{});
    });
    VirtioDriver driver(machine);
    ASSERT_TRUE(driver.start(usual, 256));
    const auto request = [&](u32 type, u64 sector, std::vector<VirtioDriver::Buffer> data, bool indirect) {
      machine.dma().write(header, type);
      machine.dma().write(header + 8, sector);
      data.insert(data.begin(), {header, 16});
      data.push_back({status, 1, true});
      driver.add(0, 0, data, indirect);
      driver.kick(0);
      std::string used;
      for (int i = 0; used.empty() && i < 1000; ++i) {
        if (deterministic)
          machine.settle();
        else
          machine.loop->run_once(100);
        used = driver.all_used(0);
      }
      u8 result = 0xee;
      machine.dma().read(status, result);
      EXPECT_EQ(result, 0);
      return used;
    };
    std::vector<u8> data(64 * KiB);
    for (std::size_t i = 0; i < data.size(); ++i) data[i] = static_cast<u8>(i * 7 >> 8);
    machine.dma().write(0x40000, data.data(), data.size());
    EXPECT_EQ(request(1, 16, {{0x40000, 0x8000}, {0x48000, 0x8000}}, false), "0:1 ");
    EXPECT_EQ(request(4, 0, {}, false), "0:1 ");
    EXPECT_EQ(request(0, 16, {{0x60000, 0x10000, true}}, true), "0:65537 ");
    std::vector<u8> back(data.size());
    machine.dma().read(0x60000, back.data(), back.size());
    EXPECT_EQ(back, data);
    std::ifstream file(path, std::ios::binary);
    file.seekg(16 * 512);
    file.read(reinterpret_cast<char*>(back.data()), static_cast<std::streamsize>(back.size()));
    EXPECT_EQ(back, data);
    machine.function.reset();
    std::filesystem::remove(path);
  }
}

}  // namespace
}  // namespace doppel
