// Images of every variant that qemu-img makes are read byte for byte.
#include <gtest/gtest.h>

#include "disk/open.h"
#include "disk/testing/lab.h"

namespace doppel::disk {
namespace {

using namespace doppel::testing;

struct Qcow2Read : ::testing::TestWithParam<std::tuple<std::string, std::string>> {
  DiskFolder folder;
  std::unique_ptr<EventLoop> loop = std::move(*EventLoop::create());
  std::unique_ptr<IoEngine> engine = std::move(*IoEngine::create(*loop, IoEngine::Kind::immediate));

  void qemu(const std::string& command) {
    const auto [status, said] = run_program("cd " + folder.path.string() + " && " + command);
    ASSERT_EQ(status, 0) << command << "\n" << said;
  }
  void expect_equal(const std::string& name, u64 size) {
    qemu("qemu-img convert -f qcow2 -O raw " + name + " expected.raw");
    auto image = open_disk({.path = folder / name, .read_only = true}, *engine);
    ASSERT_TRUE(image) << image.error().message;
    ASSERT_EQ((*image)->size_bytes(), size);
    const std::string expected = file_bytes(folder / "expected.raw"), got = Waiting(**image).contents();
    ASSERT_EQ(got.size(), expected.size()) << got.substr(0, 100);
    for (std::size_t at = 0; at < got.size(); at += 512)
      ASSERT_EQ(got.compare(at, 512, expected, at, 512), 0) << "at " << at;
  }
};

constexpr const char* writes =
    "-c 'write -P 1 0 64k' -c 'write -P 2 100k 3k' -c 'write -P 3 1M 300k' -c 'write -P 4 2000k 512' "
    "-c 'write -z 1M 128k' -c 'discard 1200k 70k' -c 'write -P 5 3M 200k' -c 'write -P 6 4000k 96k'";

TEST_P(Qcow2Read, AsQemuDoes) {
  const auto& [name, options] = GetParam();
  qemu("qemu-img create -q -f qcow2 -o " + options + " a.qcow2 4M");
  qemu(std::string("qemu-io -f qcow2 ") + writes + " a.qcow2");
  expect_equal("a.qcow2", 4 * MiB);
  if (options.find("data_file") != std::string::npos || options.find("preallocation") != std::string::npos) return;
  qemu("qemu-img snapshot -c one a.qcow2");
  qemu("qemu-io -f qcow2 -c 'write -P 7 10k 700k' a.qcow2");
  expect_equal("a.qcow2", 4 * MiB);
  qemu("qemu-img create -q -f qcow2 -o " + options + " -b a.qcow2 -F qcow2 b.qcow2 5M");
  qemu("qemu-io -f qcow2 -c 'write -P 8 200k 9k' -c 'write -z 64k 64k' -c 'write -P 9 4090k 20k' b.qcow2");
  expect_equal("b.qcow2", 5 * MiB);
  // Compressed, and written over in part.
  qemu("qemu-img convert -c -f qcow2 -O qcow2 -o " + options + " b.qcow2 c.qcow2");
  qemu("qemu-io -f qcow2 -c 'write -P 10 130k 5k' c.qcow2");
  expect_equal("c.qcow2", 5 * MiB);
}

INSTANTIATE_TEST_SUITE_P(
    Variants, Qcow2Read,
    ::testing::Values(std::tuple("v2", "compat=0.10"), std::tuple("v3", "compat=1.1"),
                      std::tuple("clusters_512", "cluster_size=512"),
                      std::tuple("clusters_1k_v2", "compat=0.10,cluster_size=1k"),
                      std::tuple("clusters_4k", "cluster_size=4k"), std::tuple("clusters_32k", "cluster_size=32k"),
                      std::tuple("clusters_256k", "cluster_size=256k"), std::tuple("clusters_2M", "cluster_size=2M"),
                      std::tuple("zstd", "compression_type=zstd"),
                      std::tuple("zstd_2M", "compression_type=zstd,cluster_size=2M"),
                      std::tuple("subclusters", "extended_l2=on,cluster_size=64k"),
                      std::tuple("subclusters_16k", "extended_l2=on,cluster_size=16k"),
                      std::tuple("subclusters_zstd", "extended_l2=on,compression_type=zstd,cluster_size=128k"),
                      std::tuple("lazy", "lazy_refcounts=on"), std::tuple("refcounts_8", "refcount_bits=8"),
                      std::tuple("refcounts_64", "refcount_bits=64,cluster_size=4k"),
                      std::tuple("preallocated", "preallocation=metadata"), std::tuple("data_file", "data_file=a.data"),
                      std::tuple("data_file_raw", "data_file=a.data,data_file_raw=on")),
    [](const auto& variant) { return std::get<0>(variant.param); });

struct Qcow2Chain : Qcow2Read {};

TEST_F(Qcow2Chain, RawBehindAndRelativeNames) {
  qemu("mkdir sub && qemu-img create -q -f raw sub/base.raw 1M");
  qemu("qemu-io -f raw -c 'write -P 1 0 1M' sub/base.raw");
  qemu("qemu-img create -q -f qcow2 -b base.raw -F raw sub/middle.qcow2 2M");
  qemu("qemu-io -f qcow2 -c 'write -P 2 100k 100k' -c 'write -P 3 1000k 100k' sub/middle.qcow2");
  qemu("qemu-img create -q -f qcow2 -b sub/middle.qcow2 -F qcow2 top.qcow2");
  qemu("qemu-io -f qcow2 -c 'write -P 4 150k 1k' top.qcow2");
  expect_equal("top.qcow2", 2 * MiB);
}

}  // namespace
}  // namespace doppel::disk
