// Random operations against a model of the disk, with qemu-img's opinion of what is on the host's disk. With DOPPEL_QCOW2_LONG
// there are 112 sequences for each variant, 2,016 together.
#include <gtest/gtest.h>

#include <random>

#include "disk/copy.h"
#include "disk/open.h"
#include "disk/qcow2/create.h"
#include "disk/qcow2/transaction.h"
#include "disk/testing/lab.h"

namespace doppel::disk {
namespace {

using namespace doppel::testing;
using qcow2::CreateOptions;

struct Variant {
  const char* name;
  CreateOptions options;
  bool backing = false;
};

void PrintTo(const Variant& variant, std::ostream* out) { *out << variant.name; }

struct Qcow2Write : ::testing::TestWithParam<Variant> {
  DiskFolder folder;
  std::unique_ptr<EventLoop> loop = std::move(*EventLoop::create());
  std::unique_ptr<IoEngine> engine = std::move(*IoEngine::create(*loop, IoEngine::Kind::immediate));
  std::mt19937 random{1};
  std::string model;
  std::map<std::string, std::string> saved;  // models of snapshots
  std::unique_ptr<qcow2::Image> image;
  unsigned bases = 0;

  u64 below(u64 bound) { return random() % bound; }

  void make() {
    CreateOptions options = GetParam().options;
    options.size_bytes = model.size();
    if (!options.data_file.empty()) std::ofstream(folder / options.data_file);
    if (GetParam().backing) {
      std::string base(model.size() * 3 / 4 / 512 * 512, 0);
      for (std::size_t at = 0; at < base.size(); at += 512) base[at] = static_cast<char>(at >> 9);
      std::ofstream(folder / "base") << base;
      model.replace(0, base.size(), base);
      options.backing_name = "base";
      options.backing_format = "raw";
    }
    const auto bytes = qcow2::new_image(options);
    ASSERT_TRUE(bytes) << bytes.error().message;
    std::ofstream(folder / "a.qcow2") << *bytes;
  }
  void open() {
    auto opened = open_qcow2(folder / "a.qcow2", {}, *engine);
    ASSERT_TRUE(opened) << opened.error().message;
    image = std::move(*opened);
  }
  void expect_sound(const std::string& after) {
    image.reset();
    const auto [status, said] = run_program("cd " + folder.path.string() + " && qemu-img check -f qcow2 a.qcow2");
    ASSERT_EQ(status, 0) << after << said;
    std::ofstream(folder / "model") << model;
    const auto [same, difference] = run_program("cd " + folder.path.string() +
                                                " && qemu-img compare -f raw -F qcow2 model a.qcow2");
    ASSERT_EQ(same, 0) << after << difference;
    open();
    const auto findings = qcow2::check(*image);
    ASSERT_TRUE(findings) << findings.error().message;
    ASSERT_TRUE(findings->clean()) << after << findings->lines.front();
    const std::string contents = Waiting(*image).contents();
    ASSERT_EQ(contents.size(), model.size()) << contents.substr(0, 50);
    for (std::size_t at = 0; at < model.size(); at += 512)
      ASSERT_EQ(contents.compare(at, 512, model, at, 512), 0) << after << "at " << at;
  }
  std::string step() {
    Waiting disk(*image);
    const u64 sectors = model.size() / 512, largest = below(4) == 0 ? sectors : 64;
    const u64 first = below(sectors), count = 1 + below(std::min(largest, sectors - first));
    const u64 at = first * 512, bytes = count * 512;
    switch (below(8)) {
      case 0: {
        std::string before(bytes, 0);
        EXPECT_EQ(disk.read(at, before), 0);
        EXPECT_EQ(before == model.substr(at, bytes), true);
        EXPECT_EQ(disk.discard(at, bytes), 0);
        std::string after(bytes, 0);
        EXPECT_EQ(disk.read(at, after), 0);
        for (u64 i = 0; i < bytes; i += 512)
          EXPECT_TRUE(after.compare(i, 512, before, i, 512) == 0 || after.compare(i, 512, std::string(512, 0)) == 0);
        model.replace(at, bytes, after);
        return fmt::format("discard {}+{} ", at, bytes);
      }
      case 1:
      case 2: {
        const bool unmap = below(2) == 0;
        EXPECT_EQ(disk.zero(at, bytes, unmap), 0);
        model.replace(at, bytes, bytes, 0);
        return fmt::format("zero {}+{} {} ", at, bytes, unmap);
      }
      case 3: EXPECT_EQ(below(3) == 0 ? disk.flush() : 0, 0); return "";
      default: {
        std::string data(bytes, 0);
        const char fill = static_cast<char>(1 + below(200));
        for (u64 i = 0; i < bytes; ++i) data[i] = static_cast<char>(fill + i / 512);
        EXPECT_EQ(disk.write(at, data), 0);
        model.replace(at, bytes, data);
        return fmt::format("write {}+{} ", at, bytes);
      }
    }
  }
  static void no_progress(u64, u64) {}
  std::string commit() {
    if (image->backing() == nullptr) return "";
    image.reset();
    auto opened = open_qcow2(folder / "a.qcow2", {.commit = true}, *engine);
    EXPECT_TRUE(opened) << opened.error().message;
    image = std::move(*opened);
    EXPECT_TRUE(commit_image(*image, no_progress));
    EXPECT_TRUE(qcow2::make_empty(*image));
    image.reset();
    open();
    if (!saved.empty()) saved.clear(), forget_snapshots();  // they see what was committed
    return "commit ";
  }
  void forget_snapshots() {
    const auto all = *qcow2::snapshots_of(*image);
    for (const auto& snapshot : all) EXPECT_TRUE(qcow2::delete_snapshot(*image, snapshot.id));
  }
  std::string rebase() {
    if (GetParam().options.raw_data_file) return "";
    const std::string name = fmt::format("base{}", bases++);
    const bool raw = below(2) == 0;
    std::string contents((1 + below(1500)) * 512, 0);
    for (std::size_t at = 0; at < contents.size(); at += 512) {
      if (at / 8192 % 2 == 0) contents[at] = static_cast<char>(at >> 9);
    }
    auto bytes = qcow2::new_image({.size_bytes = contents.size(), .cluster_bits = 12});
    std::ofstream(folder / name) << (raw ? contents : *bytes);
    std::unique_ptr<BlockImage> next;
    if (below(4) != 0) {
      auto opened = open_disk({.path = folder / name, .format = raw ? Format::raw : Format::qcow2}, *engine);
      EXPECT_TRUE(opened) << opened.error().message;
      next = std::move(*opened);
      EXPECT_EQ(raw ? 0 : Waiting(*next).write(0, contents), 0);
    }
    if (!saved.empty()) saved.clear(), forget_snapshots();  // they see the old backing file
    const std::string what = next == nullptr ? "none" : raw ? "raw" : "qcow2";
    EXPECT_TRUE(keep_contents(*image, next.get(), no_progress));
    EXPECT_TRUE(qcow2::change_backing(*image, next == nullptr ? "" : name, what));
    next.reset();
    image.reset();
    open();
    return "rebase " + what + " ";
  }
  // Into an image of other options, which goes on in its place.
  std::string convert() {
    if (!GetParam().options.data_file.empty()) return "";
    CreateOptions options = GetParam().options;
    options.size_bytes = model.size();
    // Compressed clusters share their host's clusters, until no count is left for a snapshot.
    const bool compress = below(2) == 0 && options.refcount_order >= 4;
    if (options.version == 3 && below(2) == 0) options.compression = qcow2::Compression::zstd;
    std::ofstream(folder / "new") << *qcow2::new_image(options);
    {
      auto to = open_qcow2(folder / "new", {}, *engine);
      EXPECT_TRUE(to) << to.error().message;
      EXPECT_TRUE(copy_image(*image, **to, compress, no_progress));
    }
    image.reset();
    std::filesystem::rename(folder / "new", folder / "a.qcow2");
    saved.clear();
    open();
    return compress ? "convert --compress " : "convert ";
  }
  std::string whole_step() {
    EXPECT_EQ(Waiting(*image).flush(), 0);
    const std::string name = std::string(1, static_cast<char>('a' + below(3)));
    Result<> done;
    if (GetParam().options.data_file.empty() && GetParam().options.refcount_order > 1) {
      switch (below(4)) {
        case 0:
          if (saved.contains(name)) break;
          done = qcow2::create_snapshot(*image, name, 1);
          saved[name] = model;
          EXPECT_TRUE(done) << done.error().message;
          return "snapshot " + name + " ";
        case 1:
          if (!saved.contains(name)) break;
          done = qcow2::apply_snapshot(*image, name);
          model = saved[name];
          EXPECT_TRUE(done) << done.error().message;
          return "apply " + name + " ";
        case 2:
          if (!saved.contains(name)) break;
          done = qcow2::delete_snapshot(*image, name);
          saved.erase(name);
          EXPECT_TRUE(done) << done.error().message;
          return "delete " + name + " ";
      }
    }
    switch (below(6)) {
      case 0: return commit();
      case 1: return rebase();
      case 2: return convert();
    }
    if (below(2) == 0) {
      const u64 size = (1 + below(4096)) * 512;
      EXPECT_EQ(Waiting(*image).resize(size), 0);
      model.resize(size);
      return fmt::format("resize {} ", size);
    }
    return "";
  }
};

TEST_P(Qcow2Write, EqualsItsModel) {
  const unsigned seeds = std::getenv("DOPPEL_QCOW2_LONG") != nullptr && *std::getenv("DOPPEL_QCOW2_LONG") != 0 ? 112
                                                                                                               : 2;
  for (unsigned seed = 1; seed <= seeds; ++seed) {
    random.seed(seed);
    model.assign((200 + below(1000)) * 512, 0);
    saved.clear();
    make();
    open();
    for (unsigned round = 0; round < 3; ++round) {
      std::string log = fmt::format("seed {} round {}: ", seed, round);
      const u64 steps = below(20);
      for (u64 i = 0; i < steps; ++i) log += step();
      if (round != 0) log += whole_step();
      for (u64 i = 0; i < 3; ++i) log += step();
      expect_sound(log);
      if (HasFatalFailure()) return;
    }
    image.reset();
  }
}

INSTANTIATE_TEST_SUITE_P(
    Variants, Qcow2Write,
    ::testing::Values(Variant{"v3", {}}, Variant{"v2", {.version = 2}}, Variant{"v2_backing", {.version = 2}, true},
                      Variant{"backing", {}, true}, Variant{"clusters_512", {.cluster_bits = 9}},
                      Variant{"clusters_512_backing", {.cluster_bits = 9}, true},
                      Variant{"clusters_4k_refcounts_64", {.cluster_bits = 12, .refcount_order = 6}},
                      Variant{"clusters_512_refcounts_64", {.cluster_bits = 9, .refcount_order = 6}},
                      Variant{"clusters_512_refcounts_1", {.cluster_bits = 9, .refcount_order = 0}},
                      Variant{"refcounts_4", {.cluster_bits = 9, .refcount_order = 2}},
                      Variant{"subclusters", {.cluster_bits = 16, .extended_l2 = true}},
                      Variant{"subclusters_backing", {.cluster_bits = 14, .extended_l2 = true}, true},
                      Variant{"lazy", {.cluster_bits = 10, .lazy_refcounts = true}},
                      Variant{"clusters_2M", {.cluster_bits = 21}},
                      Variant{"data_file", {.cluster_bits = 12, .data_file = "d"}},
                      Variant{"data_file_backing", {.cluster_bits = 12, .data_file = "d"}, true},
                      Variant{"data_file_subclusters", {.extended_l2 = true, .data_file = "d"}, true},
                      Variant{"data_file_raw", {.cluster_bits = 12, .data_file = "d", .raw_data_file = true}}),
    [](const auto& variant) { return std::string(variant.param.name); });

}  // namespace
}  // namespace doppel::disk
