// Both directions of the console with their back-pressure, emergency writes, window size, and saving.
#include "device/virtio/console.h"

#include <gtest/gtest.h>

#include "device/testing/virtio_driver.h"

namespace doppel {
namespace {

using testing::VirtioDriver;
using testing::VirtioMachine;

struct ConsoleTest : ::testing::Test {
  VirtioMachine machine;
  VirtioConsole* console = nullptr;
  VirtioDriver driver{machine};
  std::string output;
  std::size_t room = ~std::size_t{0};  // of the sink
  int wanted = 0;

  void SetUp() override {
    console = plug(machine);
    console->connect(
        [this](std::span<const u8> bytes) {
          const std::size_t taken = std::min(bytes.size(), room);
          output.append(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(taken));
          room -= taken;
          return taken;
        },
        [this] { ++wanted; });
    ASSERT_TRUE(driver.start(VirtioDriver::default_features | 1));
  }
  VirtioConsole* plug(VirtioMachine& target) {
    VirtioConsole* made = nullptr;
    target.plug([&](VirtioMachine& m) {
      auto device = std::make_unique<VirtioConsole>("console", m.dma(), m.policy(), true);
      made = device.get();
      return device;
    });
    return made;
  }
  std::size_t type(const std::string& text) {
    return console->receive({reinterpret_cast<const u8*>(text.data()), text.size()});
  }
  void print(const std::string& text, u64 at = 0x20000) {
    machine.dma().write(at, text.data(), text.size());
    driver.add(1, 0, {{at, static_cast<u32>(text.size())}});
    driver.kick(1);
    machine.settle();
  }
  void offer_input(u32 bytes) {
    driver.add(0, 0, {{0x30000, bytes, true}});
    driver.kick(0);
    machine.settle();
  }
  std::string input(u64 bytes) {
    std::string result(bytes, '?');
    machine.dma().read(0x30000, result.data(), bytes);
    return result;
  }
};

TEST_F(ConsoleTest, Output) {
  print("hello ");
  EXPECT_EQ(output, "hello ");
  EXPECT_EQ(driver.all_used(1), "0:0 ");
  driver.write(0x2008, 4, 'x');  // emergency
  machine.settle();
  EXPECT_EQ(output, "hello x");
  driver.set_status(0);
  driver.write(0x2008, 4, 'y');  // also without a driver
  machine.settle();
  EXPECT_EQ(output, "hello xy");
}

TEST_F(ConsoleTest, OutputWaitsForTheSink) {
  room = 3;
  print("abcdef");
  EXPECT_EQ(output, "abc");
  print("ghi");
  EXPECT_EQ(output, "abc");
  const std::string much(60'000, '.');
  print(much, 0x40000);
  EXPECT_EQ(driver.all_used(1), "0:0 0:0 0:0 ");
  print(much, 0x40000);  // does not fit: stays in the ring
  EXPECT_EQ(driver.all_used(1), "");
  room = ~std::size_t{0};
  console->flush();
  machine.settle();
  EXPECT_EQ(output, "abcdefghi" + much + much);
  EXPECT_EQ(driver.all_used(1), "0:0 ");
  driver.add(1, 0, {{0x20000, 0x10001}});  // more than the device ever holds
  driver.kick(1);
  machine.settle();
  EXPECT_EQ(driver.status() & virtio::status_needs_reset, virtio::status_needs_reset);
}

TEST_F(ConsoleTest, Input) {
  EXPECT_EQ(type("abcdef"), 6u);
  machine.settle();
  offer_input(4);
  EXPECT_EQ(driver.all_used(0), "0:4 ");
  EXPECT_EQ(input(4), "abcd");
  offer_input(16);
  EXPECT_EQ(driver.all_used(0), "0:2 ");
  EXPECT_EQ(input(2), "ef");
  offer_input(16);  // waits
  EXPECT_EQ(driver.all_used(0), "");
  type("g");
  machine.settle();
  EXPECT_EQ(driver.all_used(0), "0:1 ");
  EXPECT_EQ(wanted, 0);
}

TEST_F(ConsoleTest, InputHasALimit) {
  EXPECT_EQ(type(std::string(5000, 'x')), VirtioConsole::input_limit);
  EXPECT_EQ(console->can_receive(), 0u);
  EXPECT_EQ(type("y"), 0u);
  machine.settle();
  EXPECT_EQ(wanted, 0);
  offer_input(16);
  EXPECT_EQ(wanted, 1);
  EXPECT_EQ(console->can_receive(), 16u);
}

TEST_F(ConsoleTest, WindowSize) {
  driver.read(0x1000, 1);
  const u64 generation = driver.read(0x15, 1);
  console->resize(132, 50);
  EXPECT_EQ(driver.read(0x2000, 4), 50u << 16 | 132);
  EXPECT_EQ(driver.read(0x15, 1), generation + 1);
  EXPECT_EQ(driver.read(0x1000, 1), 2u);
  console->resize(132, 50);
  EXPECT_EQ(driver.read(0x1000, 1), 0u);
}

TEST_F(ConsoleTest, SavedAndLoaded) {
  room = 0;
  print("out");
  type("in");
  machine.function->pause();
  auto saving = state::Archive::for_saving();
  machine.function->state(saving);
  VirtioMachine other;
  VirtioConsole* copy = plug(other);
  copy->connect([this](std::span<const u8> bytes) { return output.append(bytes.begin(), bytes.end()), bytes.size(); },
                [] {});
  other.function->pause();
  auto loading = state::Archive::for_loading(saving.take());
  other.function->state(loading);
  ASSERT_TRUE(loading.status()) << loading.status().error().message;
  other.function->resume();
  other.settle();
  EXPECT_EQ(output, "out");
  EXPECT_EQ(copy->can_receive(), VirtioConsole::input_limit - 2);
}

}  // namespace
}  // namespace doppel
