// The transport: capabilities, negotiation, status, interrupts of both kinds, bus mastering, saving.
#include "device/virtio/virtio_pci.h"

#include <gtest/gtest.h>

#include "device/testing/virtio_driver.h"
#include "device/virtio/entropy.h"

namespace doppel {
namespace {

using testing::VirtioDriver;
using testing::VirtioMachine;

struct VirtioPciTest : ::testing::Test {
  SeededEntropy source{7};
  VirtioMachine machine;
  VirtioDriver driver{machine};

  void SetUp() override { plug(machine); }
  void plug(VirtioMachine& target) {
    target.plug([&](VirtioMachine& m) { return std::make_unique<VirtioEntropy>("rng", m.dma(), m.policy(), source); });
  }
  u32 config(unsigned offset, unsigned bytes) {
    return machine.pci.config_read(0, VirtioMachine::slot, 0, offset, bytes);
  }
  void set_config(unsigned offset, unsigned bytes, u32 value) {
    machine.pci.config_write(0, VirtioMachine::slot, 0, offset, bytes, value);
  }
  std::string ask(u32 bytes) {
    driver.add(0, 0, {{0x20000, bytes, true}});
    driver.kick(0);
    machine.settle();
    return driver.all_used(0);
  }
};

TEST_F(VirtioPciTest, Capabilities) {
  EXPECT_EQ(config(0, 4), 0x10441af4u);
  EXPECT_EQ(config(8, 4) >> 8, 0x00ff00u);
  std::string list;
  for (unsigned at = config(0x34, 1); at != 0; at = config(at + 1, 1)) {
    if (config(at, 1) == 0x11) {
      list += fmt::format("msix vectors={} table={:x} pba={:x} ", (config(at + 2, 2) & 0x7ff) + 1, config(at + 4, 4),
                          config(at + 8, 4));
    } else {
      list += fmt::format("{}@{}:{:x}+{:x} ", config(at + 3, 1), config(at + 4, 1), config(at + 8, 4),
                          config(at + 12, 4));
    }
  }
  EXPECT_EQ(list, "1@0:0+38 3@0:1000+1 4@0:2000+1000 2@0:3000+4 5@0:0+0 msix vectors=2 table=4000 pba=5000 ");
}

TEST_F(VirtioPciTest, Negotiation) {
  EXPECT_EQ(driver.offered(), VirtioDriver::default_features);
  const auto check = [&](u64 features, bool accepted) {
    driver.set_status(0);
    EXPECT_EQ(driver.status(), 0);
    driver.set_status(3);
    driver.accept(features);
    driver.set_status(11);
    EXPECT_EQ(driver.status(), accepted ? 11 : 3) << std::hex << features;
    driver.set_status(15);
    EXPECT_EQ(driver.status(), accepted ? 15 : 3);
    driver.accept(~u64{0});  // too late
    driver.write(8, 4, 1);
    if (accepted) {
      EXPECT_EQ(driver.read(12, 4), features >> 32);
    }
  };
  check(virtio::feature_version_1, true);
  check(VirtioDriver::default_features, true);
  check(0, false);  // a legacy driver
  check(virtio::feature_indirect, false);
  check(virtio::feature_version_1 | 1, false);             // not offered
  check(virtio::feature_version_1 | u64{1} << 34, false);  // packed ring
  driver.set_status(0);
  driver.set_status(virtio::status_driver_ok | virtio::status_needs_reset);  // neither is the driver's to say now
  EXPECT_EQ(driver.status(), 0);
  driver.set_status(0x80);
  EXPECT_EQ(driver.status(), 0x80);
}

TEST_F(VirtioPciTest, CommonConfigurationRegisters) {
  const auto check = [&](u64 offset, unsigned bytes, u64 write, u64 read) {
    driver.write(offset, bytes, write);
    EXPECT_EQ(driver.read(offset, bytes), read) << std::hex << offset << "/" << bytes << " = " << write;
  };
  driver.set_status(3);
  check(0x12, 2, 0, 1);  // num_queues
  check(0x10, 2, 1, 1);  // config vector: two exist
  check(0x10, 2, 2, 0xffff);
  check(0x16, 2, 0, 0);
  check(0x18, 2, 32, 32);   // queue size
  check(0x18, 2, 33, 32);   // not a power of two
  check(0x18, 2, 128, 32);  // larger than offered
  check(0x18, 2, 0, 32);
  check(0x1a, 2, 9, 0xffff);
  check(0x1a, 2, 0, 0);
  check(0x1c, 2, 2, 0);  // only 1 enables
  check(0x20, 4, 0x12345670, 0x12345670);
  check(0x24, 4, 9, 9);
  EXPECT_EQ(driver.read(0x20, 8), 0x9'12345670u);
  EXPECT_EQ(driver.read(0x22, 2), 0x1234u);
  check(0x21, 1, 0, 0x56);  // fields are written whole
  check(0x16, 2, 5, 5);     // a queue that does not exist
  check(0x18, 2, 16, 0);
  check(0x20, 8, 1, 0);
  EXPECT_EQ(driver.read(0x1a, 2), 0xffffu);
  for (const unsigned bytes : {1u, 2u, 4u, 8u}) {
    for (u64 offset = 0; offset + bytes <= 0x8000; offset += offset < 0x100 ? 1 : 509)
      driver.read(offset, bytes);  // nothing falls over
  }
}

TEST_F(VirtioPciTest, InterruptPin) {
  ASSERT_TRUE(driver.start(virtio::feature_version_1));
  EXPECT_EQ(ask(8), "0:8 ");
  EXPECT_EQ(machine.take_log(), "intx+ ");
  EXPECT_EQ(config(6, 2) & 8, 8u);
  set_config(4, 2, 0x406);  // INTx disabled
  EXPECT_EQ(machine.take_log(), "intx- ");
  set_config(4, 2, 0x006);
  EXPECT_EQ(machine.take_log(), "intx+ ");
  EXPECT_EQ(driver.read(0x1000, 1), 1u);
  EXPECT_EQ(machine.take_log(), "intx- ");
  EXPECT_EQ(driver.read(0x1000, 1), 0u);
}

TEST_F(VirtioPciTest, MessagesMaskedAndPending) {
  ASSERT_TRUE(driver.start(virtio::feature_version_1, 16, true));
  const unsigned msix = driver.find_capability(pci::capability_msix);
  EXPECT_EQ(ask(8), "0:8 ");
  EXPECT_EQ(machine.take_log(), "msi40 ");
  driver.write(0x400c, 4, 1);  // vector masked
  ask(8);
  EXPECT_EQ(driver.read(0x5000, 8), 1u);
  EXPECT_EQ(machine.take_log(), "");
  driver.write(0x4008, 4, 0x77);
  driver.write(0x400c, 4, 0);
  EXPECT_EQ(machine.take_log(), "msi77 ");
  EXPECT_EQ(driver.read(0x5000, 8), 0u);
  set_config(msix + 2, 2, 0xc000);  // function masked
  ask(8);
  ask(8);
  EXPECT_EQ(machine.take_log(), "");
  set_config(msix + 2, 2, 0x8000);
  EXPECT_EQ(machine.take_log(), "msi77 ");
  driver.add(0, 0, {{0x200000, 8, true}});  // a driver's error comes with a configuration interrupt
  driver.kick(0);
  machine.settle();
  EXPECT_EQ(machine.take_log(), "msi41 ");
  EXPECT_EQ(driver.status() & virtio::status_needs_reset, virtio::status_needs_reset);
}

TEST_F(VirtioPciTest, NothingMovesWithoutBusMastering) {
  ASSERT_TRUE(driver.start(virtio::feature_version_1));
  set_config(4, 2, 0x2);
  EXPECT_EQ(ask(8), "");
  set_config(4, 2, 0x6);
  machine.settle();
  EXPECT_EQ(driver.all_used(0), "0:8 ");
}

TEST_F(VirtioPciTest, WindowInConfigurationSpace) {
  unsigned window = config(0x34, 1);
  while (config(window, 1) != 9 || config(window + 3, 1) != 5) window = config(window + 1, 1);
  const auto aim = [&](u32 offset, u32 bytes) {
    set_config(window + 4, 1, 0);
    set_config(window + 8, 4, offset);
    set_config(window + 12, 4, bytes);
  };
  aim(0x14, 1);
  set_config(window + 16, 1, 3);
  EXPECT_EQ(driver.status(), 3);
  EXPECT_EQ(config(window + 16, 1), 3u);
  aim(0x12, 2);
  EXPECT_EQ(config(window + 16, 2), 1u);
  for (const u32 offset : {0x7fffu, 0x8000u, 0xffffffffu, 0x13u}) {
    aim(offset, 4);
    set_config(window + 16, 4, 0);
    config(window + 16, 4);
  }
}

TEST_F(VirtioPciTest, SavedAndLoaded) {
  ASSERT_TRUE(driver.start(VirtioDriver::default_features, 16, true));
  EXPECT_EQ(ask(8), "0:8 ");
  driver.add(0, 0, {{0x20000, 16, true}});
  driver.kick(0);  // not worked on yet: the notification is state
  machine.function->pause();
  machine.settle();
  EXPECT_EQ(driver.all_used(0), "");
  auto saving = state::Archive::for_saving();
  machine.function->state(saving);
  ASSERT_TRUE(saving.status());
  const std::vector<u8> saved = saving.take();

  VirtioMachine other;
  plug(other);
  other.function->pause();
  auto loading = state::Archive::for_loading(saved);
  other.function->state(loading);
  ASSERT_TRUE(loading.status()) << loading.status().error().message;
  std::vector<u8> ram(VirtioMachine::rom_base);
  machine.dma().read(0, ram.data(), ram.size());
  other.dma().write(0, ram.data(), ram.size());
  other.function->resume();
  other.settle();
  EXPECT_EQ(other.take_log(), "msi40 ");
  u16 used = 0;
  other.dma().read(VirtioDriver::ring(0, 2) + 2, used);
  EXPECT_EQ(used, 2);

  machine.function->resume();  // and the original goes on as well
  machine.settle();
  EXPECT_EQ(driver.all_used(0), "0:16 ");

  // No state that was cut short or bent loads as if it were whole, and none falls over.
  for (std::size_t i = 0; i < saved.size(); i += 3) {
    for (const bool cut : {true, false}) {
      auto bent = saved;
      if (cut)
        bent.resize(i);
      else
        bent[i] ^= 0xff;
      VirtioMachine victim;
      plug(victim);
      auto archive = state::Archive::for_loading(bent);
      victim.function->state(archive);
      if (cut) {
        EXPECT_FALSE(archive.ok()) << i;
      }
      victim.settle();
    }
  }
}

TEST_F(VirtioPciTest, DeterministicTime) {
  VirtioMachine virtual_time(true);
  plug(virtual_time);
  VirtioDriver guest(virtual_time);
  ASSERT_TRUE(guest.start(virtio::feature_version_1));
  virtual_time.clock.advance(2 * VirtioMachine::delay);
  guest.add(0, 0, {{0x20000, 8, true}});
  guest.kick(0);
  virtual_time.clock.advance(VirtioMachine::delay - 1);
  EXPECT_EQ(guest.all_used(0), "");
  // Saved while the alarm is armed, the other machine has it at the same time.
  virtual_time.function->pause();
  auto saving = state::Archive::for_saving();
  virtual_time.function->state(saving);
  VirtioMachine other(true);
  plug(other);
  other.clock.advance(virtual_time.clock.now());
  auto loading = state::Archive::for_loading(saving.take());
  other.function->pause();
  other.function->state(loading);
  ASSERT_TRUE(loading.status());
  other.function->resume();
  EXPECT_EQ(other.clock.next_deadline(), virtual_time.clock.next_deadline());
  virtual_time.function->resume();
  virtual_time.clock.advance(1);
  EXPECT_EQ(guest.all_used(0), "0:8 ");
  EXPECT_EQ(virtual_time.clock.armed(), 0u);
}

}  // namespace
}  // namespace doppel
