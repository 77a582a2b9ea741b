// A hostile qcow2 image: opened, looked at, checked, read; then repaired, written to and given a snapshot.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/log.h"
#include "disk/open.h"
#include "disk/qcow2/transaction.h"
#include "disk/testing/lab.h"

using namespace doppel;
using namespace doppel::disk;

namespace {

constexpr u64 most_read = 256 * KiB;

void read_and_check(const std::string& path, IoEngine& engine) {
  auto image = open_qcow2(path, {.read_only = true, .alone = true, .purpose = qcow2::Image::Purpose::inspect}, engine);
  if (!image) return;
  (void)qcow2::snapshots_of(**image);
  (void)qcow2::check(**image);
  doppel::testing::Waiting disk(**image);
  const u64 size = (*image)->size_bytes();
  std::string data(std::min(size, most_read), 0);
  disk.read(0, data);
  disk.read(align_down(size - data.size(), sector_bytes), data);
  disk.read(align_down((size - data.size()) / 2, sector_bytes), data);
}

// Not with an external data file: its name is the fuzzer's.
void change(const std::string& path, bool repair, IoEngine& engine) {
  const auto purpose = repair ? qcow2::Image::Purpose::inspect : qcow2::Image::Purpose::use;
  auto image = open_qcow2(path, {.alone = true, .purpose = purpose}, engine);
  if (!image) return;
  if (repair) (void)qcow2::repair_refcounts(**image);
  doppel::testing::Waiting disk(**image);
  const u64 size = (*image)->size_bytes();
  const std::string data(std::min<u64>(size, 20 * KiB), 'x');
  disk.write(0, data);
  disk.flush();
  disk.write(align_down((size - data.size()) / 3, sector_bytes), data);
  disk.discard(0, std::min<u64>(size, 256 * KiB));
  disk.zero(0, std::min<u64>(size, 5 * KiB), true);
  disk.flush();
  (void)qcow2::create_snapshot(**image, "fuzz", 0);
  disk.write(0, data);
  (void)qcow2::delete_snapshot(**image, "1");
  disk.resize(size / 2 / 512 * 512);
  disk.resize(std::min<u64>(size + 64 * KiB, 1 * GiB));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 1) return 0;
  static const bool quiet = log::configure("error").has_value();
  if (!quiet) return 0;
  const auto loop = std::move(*EventLoop::create());
  const auto engine = std::move(*IoEngine::create(*loop, IoEngine::Kind::immediate));
  const Fd file(::memfd_create("qcow2", MFD_CLOEXEC));
  if (!file || ::pwrite(file.get(), data + 1, size - 1, 0) != static_cast<ssize_t>(size - 1)) return 0;
  const std::string path = fmt::format("/proc/self/fd/{}", file.get());
  read_and_check(path, *engine);
  const auto header = qcow2::parse_header({data + 1, size - 1}, size - 1, path);
  if (header && !header->external()) change(path, (data[0] & 1) != 0, *engine);
  return 0;
}
