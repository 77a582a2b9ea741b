// Rings as drivers make them, and as only a hostile one would; through a device that swallows every chain.
#include "device/virtio/virtqueue.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "device/testing/virtio_driver.h"

namespace doppel {
namespace {

using testing::VirtioDriver;
using testing::VirtioMachine;
using Descriptor = VirtioDriver::Descriptor;
constexpr u16 N = VirtioDriver::flag_next, W = VirtioDriver::flag_write, I = VirtioDriver::flag_indirect;

// Two queues; notes each chain as "queue:head readable/writable" and returns it with all bytes written.
class Swallower final : public VirtioDevice {
 public:
  static constexpr std::array<u16, 2> sizes{16, 1024};
  explicit Swallower(VirtioMachine& machine) : VirtioDevice("swallower", 42, machine.dma(), machine.policy(), sizes) {}
  ~Swallower() override { shut_down(); }
  std::string log;
  bool keep = false;  // chains are never returned

 protected:
  u64 features() const override { return 0; }
  std::span<const u8> config() override { return {}; }
  void work(unsigned index) override {
    consume(index, [&](const Virtqueue::Chain& chain) {
      log += fmt::format("{}:{} {}/{} ", index, chain.head, chain.readable_bytes, chain.writable_bytes);
      if (!keep) push(index, chain, chain.writable_bytes);
    });
    interrupt_if_wanted(index);
  }
};

struct VirtqueueTest : ::testing::Test {
  VirtioMachine machine;
  Swallower* device = nullptr;
  VirtioDriver driver{machine};

  void SetUp() override {
    machine.plug([&](VirtioMachine& m) {
      auto made = std::make_unique<Swallower>(m);
      device = made.get();
      return made;
    });
    ASSERT_TRUE(driver.start(VirtioDriver::default_features));
  }
  std::string run(unsigned queue = 0) {
    driver.kick(queue);
    machine.settle();
    std::string result = std::exchange(device->log, {});
    return result + ((driver.status() & virtio::status_needs_reset) != 0 ? "needs reset" : "");
  }
  // Descriptors 0, 1, … of queue 0 and of the indirect table at 0x4000; the chain starts at 0.
  void check(const std::vector<Descriptor>& descriptors, const std::string& expected,
             const std::vector<Descriptor>& indirect = {}, u64 features = VirtioDriver::default_features) {
    ASSERT_TRUE(driver.start(features));
    for (std::size_t i = 0; i < descriptors.size(); ++i) driver.put(0, static_cast<u16>(i), descriptors[i]);
    for (std::size_t i = 0; i < indirect.size(); ++i)
      machine.dma().write(VirtioDriver::ring(0, 3) + 16 * i, indirect[i]);
    driver.offer(0, 0);
    EXPECT_EQ(run(), expected);
    // A queue that broke stays silent, and a reset mends it.
    if (expected == "needs reset") {
      driver.offer(0, 0);
      EXPECT_EQ(run(), expected);
      ASSERT_TRUE(driver.start(features));
      EXPECT_EQ(run(), "");
    }
  }
};

TEST_F(VirtqueueTest, Chains) {
  constexpr u64 table = 0x4000;
  check({{0x20000, 16, 0, 0}}, "0:0 16/0 ");
  check({{0x20000, 16, N, 3}, {}, {}, {0x20010, 8, N | W, 1}}, "needs reset");  // descriptor 1 has no bytes
  check({{0x20000, 16, N, 1}, {0x20010, 8, W, 9}}, "0:0 16/8 ");
  check({{0x20000, 16, N | W, 1}, {0x20010, 8, 0, 0}}, "needs reset");  // readable after writable
  check({{0x20000, 16, N, 0}}, "needs reset");                          // loop
  check({{0x20000, 16, N, 1}, {0x20000, 16, N, 0}}, "needs reset");
  check({{0x20000, 16, N, 16}}, "needs reset");            // beyond the table
  check({{0x20000, 0, 0, 0}}, "needs reset");              // no bytes
  check({{0x100000, 16, 0, 0}}, "needs reset");            // beyond RAM
  check({{0xffff0, 17, 0, 0}}, "needs reset");             // half beyond RAM
  check({{0xf0000, 16, 0, 0}}, "0:0 16/0 ");               // reading ROM
  check({{0xf0000, 16, W, 0}}, "needs reset");             // writing ROM
  check({{0xefff8, 16, W, 0}}, "needs reset");             // half of it
  check({{~u64{0} - 7, 16, 0, 0}}, "needs reset");         // wraps
  check({{VirtioMachine::bar, 16, 0, 0}}, "needs reset");  // a device
  check({{0x1000, 0xffffffff, W, 0}}, "needs reset");

  check({{table, 32, I, 0}}, "0:0 4/8 ", {{0x20000, 4, N, 1}, {0x20010, 8, W, 0}});
  check({{0x20000, 16, N, 1}, {table, 16, I, 0}}, "0:0 16/8 ", {{0x20010, 8, W, 0}});
  check({{table, 16, I, 0}}, "needs reset", {{0x20000, 4, N, 1}});  // leaves the indirect table
  check({{table, 32, I, 0}}, "needs reset", {{0x20000, 4, N, 0}});  // loop inside
  check({{table, 24, I, 0}}, "needs reset", {{0x20000, 4, 0, 0}});
  check({{table, 0, I, 0}}, "needs reset");
  check({{table, 0x100000, I, 0}}, "needs reset");
  check({{table, 16, I | N, 1}, {0x20000, 4, 0, 0}}, "needs reset", {{0x20000, 4, 0, 0}});
  check({{table, 16, I, 0}}, "needs reset", {{table, 16, I, 0}});                              // indirect in indirect
  check({{0x100000, 16, I, 0}}, "needs reset");                                                // table beyond RAM
  check({{table, 16, I, 0}}, "needs reset", {{0x20000, 4, 0, 0}}, virtio::feature_version_1);  // not negotiated
}

TEST_F(VirtqueueTest, AvailableIndexThatRunsAway) {
  machine.dma().write(VirtioDriver::ring(0, 1) + 2, u16{17});
  EXPECT_EQ(run(), "needs reset");
  ASSERT_TRUE(driver.start(VirtioDriver::default_features));
  machine.dma().write(VirtioDriver::ring(0, 1) + 4, u16{16});  // a head beyond the table
  machine.dma().write(VirtioDriver::ring(0, 1) + 2, u16{1});
  EXPECT_EQ(run(), "needs reset");

  ASSERT_TRUE(driver.start(VirtioDriver::default_features));
  device->keep = true;  // more under way than the ring has
  driver.put(0, 0, {0x20000, 16, 0, 0});
  for (int i = 0; i < 16; ++i) driver.offer(0, 0);
  EXPECT_EQ(run().find("needs"), std::string::npos);
  driver.offer(0, 0);
  EXPECT_EQ(run(), "needs reset");
}

TEST_F(VirtqueueTest, PlacesOfTheRings) {
  const auto check_place = [&](unsigned part, u64 address, bool good) {
    driver.set_status(0);
    driver.set_status(3);
    driver.accept(VirtioDriver::default_features);
    driver.set_status(11);
    driver.write(0x16, 2, 0);
    driver.write(0x18, 2, 16);
    for (unsigned i = 0; i < 3; ++i) {
      const u64 place = i == part ? address : VirtioDriver::ring(0, i);
      driver.write(0x20 + 8 * i, 8, place);
      EXPECT_EQ(driver.read(0x20 + 8 * i, 8), place);
    }
    driver.write(0x1c, 2, 1);
    EXPECT_EQ((driver.status() & virtio::status_needs_reset) == 0, good) << part << " at " << std::hex << address;
  };
  check_place(0, 0x1000, true);
  check_place(0, 0x1008, false);
  check_place(0, 0xfff00, true);  // read only, and it ends with RAM
  check_place(0, 0xfff10, false);
  check_place(1, 0x2002, true);
  check_place(1, 0x2001, false);
  check_place(1, ~u64{0} - 1, false);
  check_place(2, 0x3004, true);
  check_place(2, 0x3002, false);
  check_place(2, 0xf1000, false);  // ROM
  check_place(2, u64{1} << 40, false);
}

TEST_F(VirtqueueTest, IndicesWrap) {
  driver.put(0, 5, {0x20000, 16, W, 0});
  for (int i = 0; i < 70'000; ++i) {
    driver.offer(0, 5);
    driver.kick(0);
    machine.loop->run_once(0);
    ASSERT_EQ(driver.all_used(0), "5:16 ") << i;
  }
}

// Interrupts and notifications by event index: only what is asked for.
TEST_F(VirtqueueTest, EventIndices) {
  ASSERT_TRUE(driver.start(VirtioDriver::default_features, 16, true));
  machine.take_log();
  driver.put(0, 0, {0x20000, 16, 0, 0});
  const auto set_used_event = [&](u16 index) { machine.dma().write(VirtioDriver::ring(0, 1) + 4 + 2 * 16, index); };
  const auto avail_event = [&] {
    u16 index = 0;
    machine.dma().read(VirtioDriver::ring(0, 2) + 4 + 8 * 16, index);
    return index;
  };
  for (int i = 0; i < 3; ++i) driver.offer(0, 0);
  set_used_event(2);
  EXPECT_EQ(run(), "0:0 16/0 0:0 16/0 0:0 16/0 ");
  EXPECT_EQ(machine.take_log(), "msi40 ");
  EXPECT_EQ(avail_event(), 3);
  driver.offer(0, 0);
  set_used_event(4);  // the one after this
  run();
  EXPECT_EQ(machine.take_log(), "");
  driver.offer(0, 0);
  set_used_event(4);
  run();
  EXPECT_EQ(machine.take_log(), "msi40 ");
  set_used_event(2);  // long past
  machine.dma().write(VirtioDriver::ring(0, 1) + 2, ++driver.available[0]);
  run();
  EXPECT_EQ(machine.take_log(), "");
}

TEST_F(VirtqueueTest, FlagsInsteadOfEventIndices) {
  ASSERT_TRUE(driver.start(virtio::feature_version_1, 16, true));
  machine.take_log();
  driver.put(0, 0, {0x20000, 16, 0, 0});
  driver.offer(0, 0);
  run();
  EXPECT_EQ(machine.take_log(), "msi40 ");
  machine.dma().write(VirtioDriver::ring(0, 1), u16{1});  // no interrupts
  driver.offer(0, 0);
  run();
  EXPECT_EQ(machine.take_log(), "");
  u16 flags = 9;
  machine.dma().read(VirtioDriver::ring(0, 2), flags);
  EXPECT_EQ(flags, 0);  // notifications are wanted again
}

// A notification only asks for work: nothing happens on the vCPU's thread, and many are as one.
TEST_F(VirtqueueTest, NotificationsAreCoalesced) {
  driver.put(0, 0, {0x20000, 16, 0, 0});
  driver.offer(0, 0);
  for (int i = 0; i < 1000; ++i) driver.kick(0);
  EXPECT_EQ(device->log, "");
  EXPECT_EQ(run(), "0:0 16/0 ");
}

// What comes after the last look and before notifications are on again gets none: the device must look once more.
TEST(VirtqueueAlone, EnablingTellsWhatCameMeanwhile) {
  for (const bool event_index : {false, true}) {
    VirtioMachine machine;
    Virtqueue queue(machine.dma(), 16);
    for (const auto part : {Virtqueue::Part::descriptors, Virtqueue::Part::driver, Virtqueue::Part::device}) {
      queue.set_address(part, VirtioDriver::ring(0, static_cast<unsigned>(part)));
    }
    queue.enable({.indirect = true, .event_index = event_index});
    EXPECT_FALSE(queue.enable_notifications());
    queue.disable_notifications();
    EXPECT_FALSE(queue.pop());
    machine.dma().write(VirtioDriver::ring(0, 0), Descriptor{0x20000, 16, 0, 0});
    machine.dma().write(VirtioDriver::ring(0, 1) + 2, u16{1});
    EXPECT_TRUE(queue.enable_notifications());
    EXPECT_TRUE(queue.pop());
    EXPECT_FALSE(queue.enable_notifications());
  }
}

// A driver on its own thread that notifies and is interrupted only when both sides ask for it: nothing may get lost.
TEST(VirtqueueThreads, NothingIsLost) {
  VirtioMachine machine;
  machine.plug([](VirtioMachine& m) { return std::make_unique<Swallower>(m); });
  std::atomic<unsigned> interrupts = 0;
  machine.on_message = [&] {
    ++interrupts;
    interrupts.notify_one();
  };
  VirtioDriver driver(machine);
  ASSERT_TRUE(driver.start(VirtioDriver::default_features, 16, true));
  driver.put(0, 0, {0x20000, 16, W, 0});
  std::thread worker([&] { machine.loop->run(); });

  const auto at = [&](u64 address) {
    return std::atomic_ref<u16>(*reinterpret_cast<u16*>(machine.memory->ram() + address));
  };
  const auto available = at(VirtioDriver::ring(0, 1) + 2), used_event = at(VirtioDriver::ring(0, 1) + 4 + 2 * 16);
  const auto used = at(VirtioDriver::ring(0, 2) + 2), avail_event = at(VirtioDriver::ring(0, 2) + 4 + 8 * 16);
  unsigned kicks = 0;
  u16 index = 0;
  for (unsigned round = 0; round < 20'000; ++round) {
    const u16 before = index;
    index = static_cast<u16>(index + 1 + round % 16);
    available = index;
    std::atomic_thread_fence(std::memory_order_seq_cst);
    if (static_cast<u16>(index - avail_event - 1) < static_cast<u16>(index - before)) {
      ++kicks;
      driver.kick(0);
    }
    // Every other time it polls, to come with the next one while the device is about to stop looking.
    while (round % 2 == 0 && used != index) std::this_thread::yield();
    for (u16 seen = used; seen != index; seen = used) {
      const unsigned count = interrupts;
      used_event = static_cast<u16>(index - 1);  // tell when the last one is done
      std::atomic_thread_fence(std::memory_order_seq_cst);
      if (used == index) break;
      // One that is lost ends in the test's time limit.
      interrupts.wait(count);
    }
  }
  machine.loop->stop();
  worker.join();
  EXPECT_LE(kicks, 20'000u);
  EXPECT_LE(interrupts, 20'000u);
}

}  // namespace
}  // namespace doppel
