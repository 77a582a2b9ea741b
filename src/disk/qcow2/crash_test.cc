// What a kill or a power cut leaves at any point: no corruption, and everything that was flushed.
#include <gtest/gtest.h>

#include <map>
#include <random>

#include "disk/open.h"
#include "disk/qcow2/create.h"
#include "disk/qcow2/transaction.h"
#include "disk/testing/lab.h"
#include "disk/testing/recording_engine.h"

namespace doppel::disk {
namespace {

using namespace doppel::testing;
using qcow2::CreateOptions;

struct CrashVariant {
  const char* name;
  CreateOptions options;
  bool snapshots = true;
  bool backing = false;
};
void PrintTo(const CrashVariant& variant, std::ostream* out) { *out << variant.name; }

// Each sector holds one number, everywhere; 0 is zeroes.
constexpr u64 sector_count = 512;
std::string sector_of(u32 number) {
  std::string text(512, 0);
  for (std::size_t at = 0; at < 512; at += 4) std::memcpy(&text[at], &number, 4);
  return text;
}

bool long_tests() { return std::getenv("DOPPEL_QCOW2_LONG") != nullptr && *std::getenv("DOPPEL_QCOW2_LONG") != 0; }

struct Qcow2Crash : ::testing::TestWithParam<CrashVariant> {
  // What an operation may do to sectors, and which events it began and ended with. One that is durable has done it all
  // when it ended, and everything before it.
  struct Operation {
    std::size_t begin = 0, end = 0;
    bool durable = false;
    std::map<u64, std::vector<u32>> may_be{};  // sector: the last is what it is, if it ends well
    std::string text{};
  };

  DiskFolder folder;
  std::unique_ptr<EventLoop> loop = std::move(*EventLoop::create());
  RecordingEngine engine{*loop};
  std::mt19937 random;
  std::vector<Operation> operations;
  std::vector<u32> model = std::vector<u32>(sector_count);
  std::map<std::string, std::vector<u32>> saved;
  std::unique_ptr<qcow2::Image> image;
  std::string path;
  u32 next_number = 1;

  void open() {
    auto opened = open_qcow2(path, {}, engine);
    ASSERT_TRUE(opened) << opened.error().message;
    image = std::move(*opened);
  }
  Operation& begin(std::string text) {
    operations.push_back({.begin = engine.events.size(), .text = std::move(text)});
    return operations.back();
  }
  void set_all(Operation& operation, const std::vector<u32>& to) {
    for (u64 sector = 0; sector < sector_count; ++sector) {
      if (model[sector] != to[sector]) operation.may_be[sector] = {to[sector]};
    }
    model = to;
    operation.durable = true;
  }
  void step() {
    Waiting disk(*image);
    const u64 first = random() % sector_count, count = 1 + random() % std::min<u64>(sector_count - first, 40);
    const std::string range = fmt::format("{}+{}", first, count);
    switch (random() % 16) {
      case 15:
      case 14:
      case 13: return at_once_step();
      case 12: return resize_step();
      case 0:
      case 1: {
        Operation& operation = begin("discard " + range);
        ASSERT_EQ(disk.discard(first * 512, count * 512), 0);
        for (u64 sector = first; sector < first + count; ++sector) {
          std::string now(512, 0);
          ASSERT_EQ(disk.read(sector * 512, now), 0);
          if (now == std::string(512, 0)) model[sector] = 0;
          operation.may_be[sector] = {0, model[sector]};
        }
        break;
      }
      case 2: {
        Operation& operation = begin("zero " + range);
        ASSERT_EQ(disk.zero(first * 512, count * 512, random() % 2 == 0), 0);
        for (u64 sector = first; sector < first + count; ++sector) operation.may_be[sector] = {model[sector] = 0};
        break;
      }
      case 3:
      case 4: {
        Operation& operation = begin("flush");
        ASSERT_EQ(disk.flush(), 0);
        operation.durable = true;
        break;
      }
      case 5:
        if (GetParam().snapshots) return snapshot_step();
        [[fallthrough]];
      case 6:
        if (random() % 4 == 0) {
          Operation& operation = begin("reopen");
          image.reset();
          open();
          operation.durable = true;
          break;
        }
        [[fallthrough]];
      default: {
        Operation& operation = begin("write " + range);
        std::string data;
        for (u64 sector = first; sector < first + count; ++sector) {
          operation.may_be[sector] = {model[sector] = next_number};
          data += sector_of(next_number++);
        }
        ASSERT_EQ(disk.write(first * 512, data), 0);
      }
    }
    operations.back().end = engine.events.size();
  }
  // Whole pages, as a vCPU's thread writes them within a notification; where that is refused, as any other write, and then
  // once more; or, to clusters that a snapshot has, too.
  void at_once_step() {
    constexpr u64 page_sectors = 8;
    const u64 first = random() % (sector_count / page_sectors) * page_sectors;
    const u64 count = std::min(sector_count - first, (1 + random() % 3) * page_sectors);
    const bool at_once = write_at_once(first, count), snapshot = GetParam().snapshots && random() % 2 == 0;
    if (snapshot) snapshot_step();
    if (snapshot || !at_once) write_at_once(first, count);
  }
  bool write_at_once(u64 first, u64 count) {
    Operation& operation = begin(fmt::format("at once {}+{}", first, count));
    std::string data;
    for (u64 sector = first; sector < first + count; ++sector) {
      operation.may_be[sector] = {model[sector] = next_number};
      data += sector_of(next_number++);
    }
    const iovec list{data.data(), data.size()};
    const bool at_once = image->write_at_once(first * 512, {&list, 1});
    if (at_once) {
      ++written_at_once;
    } else {
      EXPECT_EQ(Waiting(*image).write(first * 512, data), 0);
    }
    operation.end = engine.events.size();
    return at_once;
  }
  // To another size and back: what was cut off is zeroes.
  void resize_step() {
    flush_step();
    const u64 sectors = 1 + random() % (2 * sector_count);
    Operation& operation = begin(fmt::format("resize {}", sectors));
    ASSERT_EQ(Waiting(*image).resize(sectors * 512), 0);
    for (u64 sector = sectors; sector < sector_count; ++sector) operation.may_be[sector] = {model[sector] = 0};
    ASSERT_EQ(Waiting(*image).resize(sector_count * 512), 0);
    operation.durable = true;
    operation.end = engine.events.size();
  }
  void flush_step() {
    Operation& operation = begin("flush");
    ASSERT_EQ(Waiting(*image).flush(), 0);
    operation.durable = true;
    operation.end = engine.events.size();
  }
  void snapshot_step() {
    flush_step();
    const std::string name(1, static_cast<char>('a' + random() % 2));
    Operation& operation = begin("snapshot " + name);
    Result<> done;
    if (!saved.contains(name)) {
      saved[name] = model;
      done = qcow2::create_snapshot(*image, name, 1);
    } else if (random() % 2 == 0) {
      set_all(operation, saved[name]);
      done = qcow2::apply_snapshot(*image, name);
    } else {
      saved.erase(name);
      done = qcow2::delete_snapshot(*image, name);
    }
    ASSERT_TRUE(done) << done.error().message;
    operation.durable = true;
    operation.end = engine.events.size();
  }

  // The numbers that each sector may have after a crash behind so many events.
  std::vector<std::vector<u32>> allowed(const std::vector<u32>& first, std::size_t cut) const {
    std::vector<std::vector<u32>> sectors;
    for (const u32 number : first) sectors.push_back({number});
    for (const Operation& operation : operations) {
      if (operation.begin >= cut) break;
      for (const auto& [sector, numbers] : operation.may_be)
        sectors[sector].insert(sectors[sector].end(), numbers.begin(), numbers.end());
      if (!operation.durable || operation.end > cut) continue;
      for (auto& numbers : sectors) numbers.erase(numbers.begin(), numbers.end() - 1);
    }
    return sectors;
  }

  void expect_sound(const std::string& crashed, const std::vector<std::vector<u32>>& sectors, const std::string& when,
                    bool ask_qemu) {
    const auto fresh = std::move(*IoEngine::create(*loop, IoEngine::Kind::immediate));
    {
      auto opened = open_qcow2(crashed, {.read_only = !GetParam().options.lazy_refcounts}, *fresh);
      ASSERT_TRUE(opened) << when << opened.error().message;
      const auto findings = qcow2::check(**opened);
      ASSERT_TRUE(findings) << when << findings.error().message;
      ASSERT_EQ(findings->corruptions, 0u) << when << findings->lines.front();
      const std::string contents = Waiting(**opened).contents();
      const bool resizing = when.find("(within)") != std::string::npos && when.find("resize") != std::string::npos;
      ASSERT_TRUE(resizing || contents.size() == sector_count * 512) << when << contents.size();
      for (u64 sector = 0; sector < std::min<u64>(sector_count, contents.size() / 512); ++sector) {
        u32 number = 0;
        std::memcpy(&number, &contents[sector * 512], 4);
        ASSERT_EQ(contents.compare(sector * 512, 512, sector_of(number)), 0) << when << "sector " << sector;
        ASSERT_NE(std::ranges::find(sectors[sector], number), sectors[sector].end())
            << when << "sector " << sector << " is " << number << ", not " << sectors[sector].back();
      }
    }
    if (!ask_qemu) return;
    const auto [status, said] = run_program("qemu-img check -f qcow2 " + crashed);
    ASSERT_TRUE(status == 0 || status == 3) << when << said;
  }

  void run(unsigned seed, unsigned steps, unsigned qemu_every) {
    random.seed(seed);
    path = folder / fmt::format("{}.qcow2", seed);
    CreateOptions options = GetParam().options;
    options.size_bytes = sector_count * 512;
    model.assign(sector_count, 0);
    if (GetParam().backing) {
      std::ofstream base(folder / "base");
      for (u64 sector = 0; sector < sector_count; ++sector) base << sector_of(model[sector] = next_number++);
      options.backing_name = "base";
      options.backing_format = "raw";
    }
    const std::vector<u32> first = model;
    const std::string made = *qcow2::new_image(options);
    std::ofstream(path) << made;
    engine.events.clear();
    operations.clear();
    saved.clear();
    open();
    for (unsigned i = 0; i < steps && !HasFatalFailure(); ++i) step();
    image.reset();
    const std::vector<u8> base(made.begin(), made.end());
    const std::string crashed = folder / "crashed.qcow2";
    const std::string file = std::filesystem::canonical(path).string();
    for (std::size_t cut = 0; cut <= engine.events.size() && !HasFatalFailure(); ++cut) {
      const bool reordered = random() % 3 != 0;
      const auto bytes = after_crash(base, file, engine.events, cut, reordered, random);
      std::ofstream(crashed, std::ios::binary)
          .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
      std::string when = fmt::format("seed {} cut {} of {}{}: ", seed, cut, engine.events.size(),
                                     reordered ? " reordered" : "");
      for (const Operation& operation : operations) {
        if (operation.begin < cut) when += operation.text + (operation.end > cut ? " (within)\n" : "; ");
      }
      expect_sound(crashed, allowed(first, cut), when, cut % qemu_every == 0);
      ++cuts;
    }
  }
  unsigned cuts = 0, written_at_once = 0;
};

// A host that fails now and then: requests fail, and nothing else is lost or damaged.
TEST_P(Qcow2Crash, FailingRequests) {
  path = folder / "a.qcow2";
  CreateOptions options = GetParam().options;
  options.size_bytes = sector_count * 512;
  std::ofstream(path) << *qcow2::new_image(options);
  std::vector<std::vector<u32>> may_be(sector_count, {0});
  open();
  engine.fail_one_in = 20;
  unsigned failures = 0;
  for (unsigned i = 0; i < 400; ++i) {
    Waiting disk(*image);
    const u64 first = random() % sector_count, count = 1 + random() % std::min<u64>(sector_count - first, 40);
    const unsigned what = random() % 8;
    std::string data;
    for (u64 sector = first; sector < first + count; ++sector)
      data += sector_of(next_number + static_cast<u32>(sector));
    const int error = what == 0   ? disk.flush()
                      : what == 1 ? disk.discard(first * 512, count * 512)
                      : what == 2 ? disk.zero(first * 512, count * 512, true)
                                  : disk.write(first * 512, data);
    ASSERT_TRUE(error == 0 || error == EIO) << error;
    if (error != 0) ++failures;
    for (u64 sector = first; sector < first + count && what != 0; ++sector) {
      if (error == 0 && what != 1) may_be[sector].clear();
      may_be[sector].push_back(what < 3 ? 0 : next_number + static_cast<u32>(sector));
    }
    next_number += sector_count;
  }
  EXPECT_GT(failures, 10u);
  engine.fail_one_in = 0;
  for (const bool again : {false, true}) {
    if (again) image.reset(), open();
    const std::string contents = Waiting(*image).contents();
    ASSERT_EQ(contents.size(), sector_count * 512) << contents.substr(0, 50);
    for (u64 sector = 0; sector < sector_count; ++sector) {
      u32 number = 0;
      std::memcpy(&number, &contents[sector * 512], 4);
      ASSERT_NE(std::ranges::find(may_be[sector], number), may_be[sector].end()) << sector;
    }
  }
  const auto findings = qcow2::check(*image);
  ASSERT_TRUE(findings) << findings.error().message;
  EXPECT_EQ(findings->corruptions, 0u) << findings->lines.front();
}

TEST_P(Qcow2Crash, LeavesAtWorstLeaks) {
  const unsigned seeds = long_tests() ? 6 : 1;
  for (unsigned seed = 1; seed <= seeds && !HasFatalFailure(); ++seed)
    run(seed, long_tests() ? 80 : 40, long_tests() ? 1 : 16);
  EXPECT_GT(written_at_once, 0u);
  RecordProperty("cuts", static_cast<int>(cuts));
  fmt::print("{} cuts, {} writes at once\n", cuts, written_at_once);
}

INSTANTIATE_TEST_SUITE_P(
    Variants, Qcow2Crash,
    ::testing::Values(CrashVariant{"v3", {.cluster_bits = 12}}, CrashVariant{"v2", {.version = 2, .cluster_bits = 12}},
                      CrashVariant{"clusters_64k", {}}, CrashVariant{"clusters_512", {.cluster_bits = 9}},
                      CrashVariant{"clusters_512_refcounts_64", {.cluster_bits = 9, .refcount_order = 6}},
                      CrashVariant{"backing", {.cluster_bits = 13}, true, true},
                      CrashVariant{"v2_backing", {.version = 2, .cluster_bits = 11}, true, true},
                      CrashVariant{"subclusters", {.cluster_bits = 14, .extended_l2 = true}},
                      CrashVariant{"subclusters_backing", {.cluster_bits = 15, .extended_l2 = true}, true, true},
                      CrashVariant{"lazy", {.cluster_bits = 10, .lazy_refcounts = true}, false}),
    [](const auto& variant) { return std::string(variant.param.name); });

}  // namespace
}  // namespace doppel::disk
