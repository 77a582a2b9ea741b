// How commands are carried: addresses, headers, residuals, failures, task management, resets, and state.
#include "device/virtio/scsi.h"

#include <gtest/gtest.h>

#include "base/units.h"
#include "device/testing/memory_image.h"
#include "device/testing/virtio_driver.h"

namespace doppel {
namespace {

using testing::MemoryImage;
using testing::VirtioDriver;
using testing::VirtioMachine;

constexpr u64 out_header = 0x20000, payload = 0x21000, in_header = 0x30000;
constexpr u32 out_bytes = 51, in_bytes = 108;
constexpr u64 usual = VirtioDriver::default_features;

struct ScsiTest : ::testing::Test {
  VirtioMachine machine;
  std::vector<MemoryImage*> images;
  VirtioDriver driver{machine};

  static std::unique_ptr<VirtioScsi> make_device(VirtioMachine& m, std::vector<MemoryImage*>& images) {
    std::vector<std::unique_ptr<scsi::LogicalUnit>> units;
    images.clear();
    for (const auto kind : {scsi::LogicalUnit::Kind::disk, scsi::LogicalUnit::Kind::cdrom}) {
      auto image = std::make_unique<MemoryImage>(64 * KiB);
      for (std::size_t i = 0; i < image->data.size(); ++i) image->data[i] = static_cast<u8>(i / 512);
      images.push_back(image.get());
      units.push_back(std::make_unique<scsi::LogicalUnit>(kind, std::move(image), "serial"));
    }
    return std::make_unique<VirtioScsi>("scsi", m.dma(), m.policy(), std::move(units), VirtioScsi::Options{.queues = 2});
  }
  void SetUp() override {
    machine.plug([&](VirtioMachine& m) { return make_device(m, images); });
  }
  void start() {
    ASSERT_TRUE(driver.start(usual));
    for (const u8 target : {u8{0}, u8{1}}) command(target, {0x00}, 0, 0);  // takes the reset's attention
    for (MemoryImage* image : images) image->log.clear();
  }
  void put_request(u8 target, const std::vector<u8>& cdb, u64 id, u8 lun, u64 header = out_header) {
    std::vector<u8> bytes(out_bytes);
    bytes[0] = 1, bytes[1] = target, bytes[2] = 0x40, bytes[3] = lun;
    std::memcpy(&bytes[8], &id, sizeof id);
    std::ranges::copy(cdb, bytes.begin() + 19);
    machine.dma().write(header, bytes.data(), bytes.size());
  }
  void submit(u32 data_out, u32 data_in, u16 head = 0, unsigned queue = 2, u64 header = out_header,
              u64 answer = in_header) {
    std::vector<VirtioDriver::Buffer> buffers{{header, out_bytes}};
    if (data_out != 0) buffers.push_back({payload, data_out});
    buffers.push_back({answer, in_bytes, true});
    if (data_in != 0) buffers.push_back({payload, data_in, true});
    driver.add(queue, head, buffers);
    driver.kick(queue);
    machine.settle();
  }
  template <class T>
  T get(u64 address) {
    T value{};
    machine.dma().read(address, value);
    return value;
  }
  // "response status residual", and sense if there is any.
  std::string answer(u64 at = in_header) {
    std::string text = fmt::format("{} {} {}", get<u8>(at + 11), get<u8>(at + 10), get<u32>(at + 4));
    if (get<u32>(at) != 0)
      text += fmt::format(" {:x}/{:02x}/{:02x}", get<u8>(at + 14), get<u8>(at + 24), get<u8>(at + 25));
    return text;
  }
  std::string command(u8 target, const std::vector<u8>& cdb, u32 data_out, u32 data_in, u8 lun = 0) {
    put_request(target, cdb, 1, lun);
    machine.dma().write(in_header, std::vector<u8>(in_bytes, 0xee).data(), in_bytes);
    submit(data_out, data_in);
    for (MemoryImage* image : images) image->drain();
    if (driver.all_used(2).empty()) return "nothing";
    return answer();
  }
  // The response to a task management function; -1: none yet.
  int manage(u32 function, u8 target, u64 id, u8 lun = 0) {
    constexpr u64 header = 0x40000, response = 0x41000;
    machine.dma().write(header, u32{0});
    machine.dma().write(header + 4, function);
    const u8 address[8] = {1, target, 0x40, lun};
    machine.dma().write(header + 8, address, sizeof address);
    machine.dma().write(header + 16, id);
    machine.dma().write(response, u8{0xff});
    driver.add(0, 0, {{header, 24}, {response, 1, true}});
    driver.kick(0);
    machine.settle();
    return management_answer();
  }
  int management_answer() { return driver.all_used(0).empty() ? -1 : get<u8>(0x41000); }
  bool needs_reset() { return (driver.status() & virtio::status_needs_reset) != 0; }
};

const std::vector<u8> read_block = {0x28, 0, 0, 0, 0, 1, 0, 0, 1, 0}, write_block = {0x2a, 0, 0, 0, 0, 1, 0, 0, 1, 0};

TEST_F(ScsiTest, Configuration) {
  EXPECT_EQ(driver.offered() & 0xff, 0u);
  EXPECT_EQ(driver.read(0x12, 2), 4u);
  const auto field = [&](u64 offset, unsigned bytes) { return driver.read(0x2000 + offset, bytes); };
  EXPECT_EQ(field(0, 4), 2u);
  EXPECT_EQ(field(4, 4), 254u);
  EXPECT_EQ(field(20, 4), 96u);
  EXPECT_EQ(field(24, 4), 32u);
  EXPECT_EQ(field(30, 2), 1u);
  ASSERT_TRUE(driver.start(usual));
  driver.write(0x2000 + 20, 4, 64);
  driver.write(0x2000 + 24, 4, 16);
  driver.write(0x2000, 4, 7);  // read-only
  EXPECT_EQ(field(0, 4), 2u);
  EXPECT_EQ(field(20, 4), 64u);
  EXPECT_EQ(field(24, 4), 16u);
  driver.set_status(0);
  EXPECT_EQ(field(20, 4), 96u);
  driver.write(0x2000 + 24, 4, 1000);
  EXPECT_TRUE(needs_reset());
}

TEST_F(ScsiTest, Requests) {
  start();
  EXPECT_EQ(command(0, read_block, 0, 512), "0 0 0");
  EXPECT_EQ(images[0]->log, "read 512+512 ");
  EXPECT_EQ(get<u16>(payload), 0x0101);
  EXPECT_EQ(command(0, read_block, 0, 1024), "0 0 512");
  EXPECT_EQ(command(1, read_block, 0, 2048), "0 0 0");
  EXPECT_EQ(images[1]->log, "read 2048+2048 ");
  machine.dma().write(payload, u64{0x1122334455667788});
  EXPECT_EQ(command(0, write_block, 512, 0), "0 0 0");
  EXPECT_EQ(images[0]->data[512], 0x88);
  EXPECT_EQ(command(0, {0x12, 0, 0, 0, 36}, 0, 255), "0 0 219");
  EXPECT_EQ(command(0, {0xff}, 0, 0), "0 2 0 5/20/00");
  EXPECT_EQ(command(0, read_block, 0, 511), "1 0 511");
  EXPECT_EQ(command(0, read_block, 512, 512), "9 0 1024");  // bidirectional
  EXPECT_EQ(command(2, read_block, 0, 512), "3 0 512");
  EXPECT_EQ(command(0, read_block, 0, 512, 1), "0 2 512 5/25/00");
  images[0]->fail_with = EIO;
  EXPECT_EQ(command(0, read_block, 0, 512), "0 2 512 3/11/00");
  EXPECT_EQ(command(0, write_block, 512, 0), "0 2 512 3/0c/00");
  images[0]->fail_with = ENOSPC;
  EXPECT_EQ(command(0, write_block, 512, 0), "0 2 512 7/27/07");
}

TEST_F(ScsiTest, OtherHeaderSizes) {
  ASSERT_TRUE(driver.start(usual));
  driver.write(0x2000 + 20, 4, 0);
  driver.write(0x2000 + 24, 4, 6);
  put_request(0, {0x00}, 1, 0);
  driver.add(2, 0, {{out_header, 25}, {in_header, 12, true}});
  driver.kick(2);
  machine.settle();
  EXPECT_EQ(driver.all_used(2), "0:12 ");
  EXPECT_EQ(answer(), "0 2 0");  // a check condition without room for sense data
}

TEST_F(ScsiTest, RepeatedSteps) {
  start();
  machine.dma().write(payload, u64{0x0101010101010101});
  EXPECT_EQ(command(0, {0x41, 0, 0, 0, 0, 0, 0, 0, 128, 0}, 512, 0), "0 0 0");
  EXPECT_EQ(images[0]->log, "write 0+65536 ");
  EXPECT_EQ(images[0]->data[65024], 1);
}

TEST_F(ScsiTest, MalformedRequestsNeedAReset) {
  const auto check_broken = [&](unsigned queue, const std::vector<VirtioDriver::Buffer>& buffers) {
    ASSERT_TRUE(driver.start(usual));
    put_request(0, read_block, 1, 0);
    driver.add(queue, 0, buffers);
    driver.kick(queue);
    machine.settle();
    EXPECT_TRUE(needs_reset());
    EXPECT_EQ(driver.all_used(queue), "");
  };
  check_broken(2, {{out_header, out_bytes - 1}, {in_header, in_bytes, true}});
  check_broken(2, {{out_header, out_bytes}, {in_header, in_bytes - 1, true}});
  check_broken(2, {{out_header, out_bytes}});
  check_broken(0, {{out_header, 3}, {in_header, 1, true}});
  check_broken(0, {{0x50000, 23}, {in_header, 1, true}});
  check_broken(0, {{0x50000, 24}});
}

TEST_F(ScsiTest, TaskManagement) {
  start();
  EXPECT_EQ(manage(6, 0, 7), 0);   // query: no such task
  EXPECT_EQ(manage(0, 0, 7), 0);   // abort: none there
  EXPECT_EQ(manage(2, 0, 0), 11);  // clear ACA
  EXPECT_EQ(manage(99, 0, 0), 11);
  EXPECT_EQ(manage(5, 3, 0), 3);
  EXPECT_EQ(manage(5, 0, 0, 1), 12);

  put_request(0, write_block, 7, 0);
  submit(512, 0);
  EXPECT_EQ(manage(6, 0, 7), 10);
  EXPECT_EQ(manage(6, 0, 8), 0);
  EXPECT_EQ(manage(7, 0, 0), 10);
  EXPECT_EQ(manage(7, 1, 0), 0);
  EXPECT_EQ(manage(0, 0, 7), -1);  // waits
  images[0]->complete(1);
  EXPECT_EQ(management_answer(), 0);
  EXPECT_EQ(driver.all_used(2), "0:108 ");
  EXPECT_EQ(answer(), "2 0 512");
}

TEST_F(ScsiTest, UnitReset) {
  start();
  std::vector<u8> through = write_block;
  through[1] = 0x08;  // FUA: two steps
  put_request(0, through, 7, 0);
  submit(512, 0, 0, 2);
  put_request(0, read_block, 8, 0, out_header + 0x100);
  submit(0, 512, 8, 3, out_header + 0x100, in_header + 0x1000);
  EXPECT_EQ(manage(5, 0, 0), -1);
  images[0]->complete(1);
  EXPECT_EQ(management_answer(), -1);
  images[0]->complete(1);
  EXPECT_EQ(management_answer(), 0);
  EXPECT_EQ(answer(), "4 0 512");
  EXPECT_EQ(answer(in_header + 0x1000), "4 0 512");
  EXPECT_EQ(images[0]->log, "write 512+512 read 512+512 ");  // no flush after it
  driver.all_used(2);
  EXPECT_EQ(command(0, {0x00}, 0, 0), "0 2 0 6/29/00");
  EXPECT_EQ(command(0, {0x00}, 0, 0), "0 0 0");
}

TEST_F(ScsiTest, Notifications) {
  ASSERT_TRUE(driver.start(usual));
  const u64 header = 0x40000, response = 0x41000;
  const u8 address[8] = {1, 1, 0, 0};
  for (const u32 type : {1u, 2u}) {
    machine.dma().write(header, type);
    machine.dma().write(header + 4, address, sizeof address);
    machine.dma().write(header + 12, u32{0x10});
    machine.dma().write(response, u64{0xffff'ffff'ffff'ffff});
    driver.add(0, 0, {{header, 16}, {response, 5, true}});
    driver.kick(0);
    machine.settle();
    EXPECT_EQ(driver.all_used(0), "0:5 ");
    EXPECT_EQ(get<u64>(response), 0xffffff0000000000);
  }
  // The event queue keeps what it is given.
  driver.add(1, 0, {{payload, 16, true}});
  driver.kick(1);
  machine.settle();
  EXPECT_EQ(driver.all_used(1), "");
  EXPECT_FALSE(needs_reset());
}

TEST_F(ScsiTest, ResetWaitsForRequestsUnderWay) {
  start();
  put_request(0, write_block, 7, 0);
  submit(512, 0);
  EXPECT_EQ(manage(5, 0, 0), -1);
  driver.set_status(0);
  EXPECT_NE(driver.status(), 0);
  images[0]->complete(1);
  EXPECT_EQ(driver.status(), 0);
  EXPECT_EQ(driver.all_used(2), "");
  start();
  EXPECT_EQ(command(0, read_block, 0, 512), "0 0 0");
}

TEST_F(ScsiTest, PauseDrains) {
  start();
  put_request(0, read_block, 7, 0);
  submit(0, 512);
  machine.function->pause();
  EXPECT_EQ(driver.all_used(2), "0:620 ");
  submit(0, 512);
  EXPECT_TRUE(images[0]->waiting.empty());
  machine.function->resume();
  machine.settle();
  EXPECT_EQ(images[0]->waiting.size(), 1u);
}

TEST_F(ScsiTest, State) {
  start();
  driver.write(0x2000 + 20, 4, 64);
  command(1, {0x1b, 0, 0, 0, 2}, 0, 0);
  machine.function->pause();
  auto saved = state::Archive::for_saving();
  machine.function->state(saved);
  const std::vector<u8> bytes = saved.take();

  VirtioMachine other;
  std::vector<MemoryImage*> other_images;
  other.plug([&](VirtioMachine& m) { return make_device(m, other_images); });
  auto archive = state::Archive::for_loading(bytes);
  other.function->state(archive);
  EXPECT_TRUE(archive.ok()) << archive.status().error().message;
  VirtioDriver other_driver(other);
  EXPECT_EQ(other_driver.read(0x2000 + 20, 4), 64u);
  auto again = state::Archive::for_saving();
  other.function->state(again);
  EXPECT_EQ(again.take(), bytes);
}

TEST(Scsi, InTheOrderOfTheQueueWithTheInstructionClock) {
  VirtioMachine machine(true);
  std::vector<MemoryImage*> images;
  machine.plug([&](VirtioMachine& m) { return ScsiTest::make_device(m, images); });
  VirtioDriver driver(machine);
  ASSERT_TRUE(driver.start(usual));
  std::vector<u8> bytes(out_bytes);
  bytes[0] = 1;
  bytes[19] = 0x2a, bytes[20] = 8, bytes[27] = 1;  // WRITE (10) with FUA, of one block
  machine.dma().write(out_header, bytes.data(), bytes.size());
  for (const u16 head : {u16{0}, u16{4}})
    driver.add(2, head, {{out_header, out_bytes}, {payload, 512}, {in_header + head, in_bytes, true}});
  driver.kick(2);
  machine.settle();
  EXPECT_EQ(driver.all_used(2), "0:108 4:108 ");
  EXPECT_EQ(images[0]->log, "write 0+512 flush ");  // the first was told of the reset
}

}  // namespace
}  // namespace doppel
