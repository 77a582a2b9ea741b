// What qcow2 costs beyond raw on clusters that are allocated: the same transfers on both, in the host's page cache.
#include <benchmark/benchmark.h>

#include <fstream>
#include <random>

#include "disk/open.h"
#include "disk/qcow2/create.h"
#include "disk/testing/lab.h"

namespace {

using namespace doppel;
using namespace doppel::disk;

constexpr u64 size = 64 * MiB;
constexpr unsigned depth = 8;

struct Disk {
  explicit Disk(Format format) {
    const std::string path = folder / "disk";
    std::ofstream(path) << (format == Format::qcow2 ? *qcow2::new_image({.size_bytes = size}) : std::string());
    if (format == Format::raw) std::filesystem::resize_file(path, size);
    image = std::move(*open_disk({.path = path, .format = format}, *engine));
    doppel::testing::Waiting disk(*image);
    const std::string data(1 * MiB, 'x');
    for (u64 at = 0; at < size; at += data.size()) disk.write(at, data);
  }
  doppel::testing::DiskFolder folder;
  std::unique_ptr<EventLoop> loop = std::move(*EventLoop::create());
  std::unique_ptr<IoEngine> engine = std::move(*IoEngine::create(*loop));
  std::unique_ptr<BlockImage> image;
};

// Batches of `depth` transfers at random places.
void transfers(benchmark::State& state, Format format, bool write, u64 bytes) {
  static Disk raw(Format::raw), qcow2(Format::qcow2);
  Disk& disk = format == Format::raw ? raw : qcow2;
  std::mt19937_64 random;
  std::vector<std::string> data(depth, std::string(bytes, 'y'));
  std::vector<iovec> lists;
  for (std::string& one : data) lists.push_back({one.data(), one.size()});
  for (auto _ : state) {
    unsigned left = depth;
    for (const iovec& list : lists) {
      const auto done = [&left](int) { --left; };
      const u64 at = random() % (size / bytes) * bytes;
      if (write) {
        disk.image->write(at, {&list, 1}, done);
      } else {
        disk.image->read(at, {&list, 1}, done);
      }
    }
    while (left != 0) disk.loop->run_once(-1);
  }
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * depth * bytes));
}

BENCHMARK_CAPTURE(transfers, read_4K_raw, Format::raw, false, 4 * KiB);
BENCHMARK_CAPTURE(transfers, read_4K_qcow2, Format::qcow2, false, 4 * KiB);
BENCHMARK_CAPTURE(transfers, write_4K_raw, Format::raw, true, 4 * KiB);
BENCHMARK_CAPTURE(transfers, write_4K_qcow2, Format::qcow2, true, 4 * KiB);
BENCHMARK_CAPTURE(transfers, read_1M_raw, Format::raw, false, 1 * MiB);
BENCHMARK_CAPTURE(transfers, read_1M_qcow2, Format::qcow2, false, 1 * MiB);
BENCHMARK_CAPTURE(transfers, write_1M_raw, Format::raw, true, 1 * MiB);
BENCHMARK_CAPTURE(transfers, write_1M_qcow2, Format::qcow2, true, 1 * MiB);

}  // namespace
