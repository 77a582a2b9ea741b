// Requests of several threads at once, to the same clusters, while flushes commit; and qcow2 beneath a throw-away overlay.
#include <gtest/gtest.h>

#include <atomic>
#include <random>
#include <thread>

#include "disk/open.h"
#include "disk/qcow2/create.h"
#include "disk/qcow2/scan.h"
#include "disk/testing/lab.h"

namespace doppel::disk {
namespace {

using namespace doppel::testing;

struct ConcurrentVariant {
  const char* name;
  IoEngine::Kind engine;
  qcow2::CreateOptions options;
  u64 unit = 512;  // what belongs to one thread; with whole clusters there are discards, too
};
void PrintTo(const ConcurrentVariant& variant, std::ostream* out) { *out << variant.name; }

struct Qcow2Concurrent : ::testing::TestWithParam<ConcurrentVariant> {
  DiskFolder folder;
  std::unique_ptr<EventLoop> loop = std::move(*EventLoop::create());
};

// One thread's requests go to every fourth unit, several at a time; what it wrote last is what it reads. The model has a
// byte for each unit.
class Client {
 public:
  Client(BlockImage& image, unsigned number, u64 unit, std::vector<u8>& model)
      : image_(image), number_(number), unit_(unit), model_(model) {
    random_.seed(number);
  }

  void run(unsigned rounds) {
    const u64 units = image_.size_bytes() / unit_;
    for (unsigned round = 0; round < rounds; ++round) {
      std::atomic<unsigned> left = 8;
      std::array<std::string, 8> data;
      std::array<iovec, 8> lists;
      std::array<u64, 8> places;
      std::array<bool, 8> discarded;
      for (unsigned i = 0; i < 8; ++i) {
        const u64 unit = (random_() % (units / 32) * 8 + i) * 4 + number_;
        places[i] = unit * unit_;
        discarded[i] = false;
        const auto done = [&left](int error) {
          EXPECT_EQ(error, 0);
          if (--left == 0) left.notify_one();
        };
        const u8 fill = static_cast<u8>(1 + random_() % 255);
        data[i].assign(unit_, static_cast<char>(fill));
        lists[i] = {data[i].data(), unit_};
        switch (random_() % 8) {
          case 0: image_.flush(done); break;
          case 1:
            if (unit_ > 512 && random_() % 2 == 0) {
              discarded[i] = true;
              image_.discard(places[i], unit_, done);
              break;
            }
            model_[unit] = 0;
            image_.write_zeroes(places[i], unit_, true, done);
            break;
          case 2:
            data[i].assign(unit_, '?');
            image_.read(places[i], {&lists[i], 1}, done);
            break;
          default: model_[unit] = fill; image_.write(places[i], {&lists[i], 1}, done);
        }
      }
      wait_for(left);
      for (unsigned i = 0; i < 8; ++i) {
        const std::string& one = data[i];
        EXPECT_EQ(one, std::string(unit_, one[0])) << "a mixture of contents";
        if (discarded[i]) note_discarded(places[i]);
      }
    }
  }

 private:
  static void wait_for(std::atomic<unsigned>& left) {
    for (unsigned now; (now = left.load()) != 0;) left.wait(now);
  }
  // Zeroes or what was there before.
  void note_discarded(u64 place) {
    std::string now(unit_, '?');
    const iovec list{now.data(), now.size()};
    std::atomic<unsigned> left = 1;
    image_.read(place, {&list, 1}, [&left](int error) {
      EXPECT_EQ(error, 0);
      --left;
      left.notify_one();
    });
    wait_for(left);
    u8& model = model_[place / unit_];
    EXPECT_TRUE(now == std::string(unit_, 0) || now == std::string(unit_, static_cast<char>(model)));
    model = static_cast<u8>(now[0]);
  }

  BlockImage& image_;
  const unsigned number_;
  const u64 unit_;
  std::vector<u8>& model_;
  std::mt19937 random_;
};

TEST_P(Qcow2Concurrent, ThreadsShareClusters) {
  auto made = IoEngine::create(*loop, GetParam().engine);
  if (!made && GetParam().engine == IoEngine::Kind::io_uring) GTEST_SKIP() << made.error().message;
  ASSERT_TRUE(made);
  constexpr u64 sectors = 8192;
  auto options = GetParam().options;
  options.size_bytes = sectors * 512;
  options.backing_name = "base";
  options.backing_format = "raw";
  std::ofstream(folder / "base") << std::string(sectors * 512, 'b');
  std::ofstream(folder / "a.qcow2") << *qcow2::new_image(options);
  const u64 unit = GetParam().unit, units = sectors * 512 / unit;
  std::vector<u8> model(units, 'b');
  {
    auto image = open_qcow2(folder / "a.qcow2", {}, **made);
    ASSERT_TRUE(image) << image.error().message;
    std::thread loop_thread([&] { loop->run(); });
    std::vector<std::thread> threads;
    for (unsigned i = 0; i < 4; ++i) threads.emplace_back([&, i] { Client(**image, i, unit, model).run(150); });
    for (auto& thread : threads) thread.join();
    (*image)->drain();
    loop->stop();
    loop_thread.join();
  }
  auto image = open_qcow2(folder / "a.qcow2", {}, **made);
  ASSERT_TRUE(image) << image.error().message;
  const auto findings = qcow2::check(**image);
  ASSERT_TRUE(findings) << findings.error().message;
  EXPECT_TRUE(findings->clean()) << findings->lines.front();
  const std::string contents = Waiting(**image).contents();
  ASSERT_EQ(contents.size(), sectors * 512) << contents.substr(0, 50);
  for (u64 i = 0; i < units; ++i)
    ASSERT_EQ(contents.compare(i * unit, unit, std::string(unit, static_cast<char>(model[i]))), 0) << i;
}

INSTANTIATE_TEST_SUITE_P(
    Variants, Qcow2Concurrent,
    ::testing::Values(
        ConcurrentVariant{"io_uring", IoEngine::Kind::io_uring, {}},
        ConcurrentVariant{"threads", IoEngine::Kind::threads, {}},
        ConcurrentVariant{"threads_small", IoEngine::Kind::threads, {.cluster_bits = 10}},
        ConcurrentVariant{"io_uring_small", IoEngine::Kind::io_uring, {.cluster_bits = 9, .refcount_order = 6}},
        ConcurrentVariant{"io_uring_discards", IoEngine::Kind::io_uring, {.cluster_bits = 12}, 8192},
        ConcurrentVariant{"threads_discards", IoEngine::Kind::threads, {.cluster_bits = 10}, 4096},
        ConcurrentVariant{"io_uring_subclusters", IoEngine::Kind::io_uring, {.extended_l2 = true}},
        ConcurrentVariant{"threads_lazy", IoEngine::Kind::threads, {.cluster_bits = 12, .lazy_refcounts = true}}),
    [](const auto& variant) { return std::string(variant.param.name); });

TEST(Qcow2Disk, SnapshotModeAndSavedState) {
  const DiskFolder folder;
  const auto loop = std::move(*EventLoop::create());
  const auto engine = std::move(*IoEngine::create(*loop));
  const std::string path = folder / "a.qcow2";
  std::ofstream(path) << *qcow2::new_image({.size_bytes = 1 * MiB});
  {
    auto image = open_disk({.path = path}, *engine);
    ASSERT_TRUE(image) << image.error().message;
    EXPECT_EQ(Waiting(**image).write(64 * KiB, std::string(4096, 'o')), 0);
  }
  const std::string before = file_bytes(path);
  auto image = open_disk({.path = path, .snapshot = true}, *engine),
       second = open_disk({.path = path, .snapshot = true}, *engine);
  ASSERT_TRUE(image && second);
  EXPECT_EQ(Waiting(**image).write(65 * KiB, std::string(512, 'n')), 0);
  auto saving = state::Archive::for_saving();
  (*image)->state(saving);
  auto loading = state::Archive::for_loading(saving.take());
  (*second)->state(loading);
  ASSERT_TRUE(loading.status()) << loading.status().error().message;
  EXPECT_EQ(Waiting(**second).contents(), Waiting(**image).contents());
  EXPECT_EQ(Waiting(**second).contents().substr(64 * KiB, 2048),
            std::string(1024, 'o') + std::string(512, 'n') + std::string(512, 'o'));
  image->reset();
  second->reset();
  EXPECT_EQ(file_bytes(path), before);
}

// An overlay is made once, and refused for another base.
TEST(Qcow2Disk, OverlayOfABase) {
  const DiskFolder folder;
  const auto loop = std::move(*EventLoop::create());
  const auto engine = std::move(*IoEngine::create(*loop));
  std::ofstream(folder / "base") << std::string(1 * MiB, 'b');
  std::ofstream(folder / "other") << std::string(1 * MiB, 'x');
  const DiskOptions options{.path = folder / "mine", .base = folder / "base"};
  for (const char first : {'b', 'n'}) {
    auto image = open_disk(options, *engine);
    ASSERT_TRUE(image) << image.error().message;
    std::string data(512, 0);
    EXPECT_EQ(Waiting(**image).read(0, data), 0);
    EXPECT_EQ(data, std::string(512, first));
    EXPECT_EQ(Waiting(**image).write(0, std::string(512, 'n')), 0);
  }
  EXPECT_EQ(file_bytes(folder / "base"), std::string(1 * MiB, 'b'));
  const auto refused = open_disk({.path = folder / "mine", .base = folder / "other"}, *engine);
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("is no overlay of"), std::string::npos);
}

}  // namespace
}  // namespace doppel::disk
