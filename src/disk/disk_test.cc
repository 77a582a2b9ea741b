// Images over every I/O engine; locks; the errors that users see.
#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include "base/units.h"
#include "disk/open.h"
#include "disk/overlay.h"
#include "disk/qcow2/create.h"
#include "disk/raw.h"
#include "disk/testing/lab.h"
#include "disk/testing/recording_engine.h"

namespace doppel::disk {
namespace {

namespace fs = std::filesystem;

struct Folder {
  Folder() {
    std::string name = fs::temp_directory_path() / "doppel-disk-XXXXXX";
    path = ::mkdtemp(name.data());
  }
  ~Folder() { fs::remove_all(path); }
  std::string file(const std::string& name, u64 bytes) const {
    const std::string full = path / name;
    std::ofstream out(full);
    out.close();
    fs::resize_file(full, bytes);
    return full;
  }
  fs::path path;
};

struct DiskTest : ::testing::TestWithParam<IoEngine::Kind> {
  Folder folder;
  std::unique_ptr<EventLoop> loop = std::move(*EventLoop::create());
  std::unique_ptr<IoEngine> engine;

  void SetUp() override {
    auto made = IoEngine::create(*loop, GetParam());
    if (!made && GetParam() == IoEngine::Kind::io_uring) GTEST_SKIP() << made.error().message;
    ASSERT_TRUE(made);
    engine = std::move(*made);
  }
  std::unique_ptr<BlockImage> open(const std::string& path, bool snapshot = false) {
    auto image = open_disk({.path = path, .snapshot = snapshot}, *engine);
    EXPECT_TRUE(image) << image.error().message;
    return std::move(*image);
  }
  // Each returns the request's error, having run the loop until it completed.
  int finish(const std::function<void(Completion)>& start) {
    int result = -1;
    bool inside = true;
    start([&](int error) {
      EXPECT_FALSE(inside);  // never inside the call that submits
      result = error;
    });
    inside = false;
    while (result == -1) loop->run_once(1000);
    return result;
  }
  int write(BlockImage& image, u64 offset, std::string data) {
    const iovec buffer{data.data(), data.size()};
    return finish([&](Completion done) { image.write(offset, {&buffer, 1}, std::move(done)); });
  }
  std::string read(BlockImage& image, u64 offset, u64 bytes) {
    std::string data(bytes, '?');
    // Odd pieces, so that lists are walked.
    const std::vector<iovec> buffers{{data.data(), 1},
                                     {data.data() + 1, bytes / 2},
                                     {nullptr, 0},
                                     {data.data() + 1 + bytes / 2, bytes - 1 - bytes / 2}};
    const int error = finish([&](Completion done) { image.read(offset, buffers, std::move(done)); });
    return error == 0 ? data : fmt::format("error {}", error);
  }
  static std::string sectors(unsigned count, char fill) { return std::string(count * 512u, fill); }
};

// Both formats; only what is allocated, whole pages, and modes in which a write does not wait for the medium.
TEST_P(DiskTest, TransfersAtOnce) {
  const bool possible = GetParam() != IoEngine::Kind::immediate;
  const std::string raw = folder.file("raw", 1 * MiB), qcow2 = folder.path / "qcow2";
  std::ofstream(qcow2, std::ios::binary) << *qcow2::new_image({.size_bytes = 1 * MiB});
  const auto open_as = [&](const std::string& path, std::string_view format, CacheMode cache) {
    auto image = open_disk({.path = path, .format = *parse_format(format), .cache = cache}, *engine);
    EXPECT_TRUE(image) << image.error().message;
    return std::move(*image);
  };
  const auto write_at_once = [](BlockImage& image, u64 offset, std::string data) {
    const iovec buffer{data.data(), data.size()};
    return image.write_at_once(offset, {&buffer, 1});
  };
  for (const auto& [path, format] : {std::pair{raw, "raw"}, {qcow2, "qcow2"}}) {
    SCOPED_TRACE(format);
    auto image = open_as(path, format, CacheMode::writeback);
    if (path == qcow2) {  // there is no cluster yet
      EXPECT_FALSE(write_at_once(*image, 64 * KiB, sectors(8, 'a')));
    }
    EXPECT_EQ(write(*image, 64 * KiB, sectors(16, 'a')), 0);
    EXPECT_FALSE(write_at_once(*image, 64 * KiB, sectors(7, 'b')));
    EXPECT_FALSE(write_at_once(*image, 1 * MiB, sectors(8, 'b')));
    EXPECT_EQ(write_at_once(*image, 68 * KiB, sectors(8, 'b')), possible);
    if (!possible) {
      EXPECT_EQ(write(*image, 68 * KiB, sectors(8, 'b')), 0);
    }
    std::string data = sectors(16, '?');
    const iovec buffer{data.data(), data.size()};
    const bool got = image->read_at_once(64 * KiB, {&buffer, 1});  // a file system may have no RWF_NOWAIT
    EXPECT_TRUE(possible || !got);
    if (got) {
      EXPECT_EQ(data, sectors(8, 'a') + sectors(8, 'b'));
    }
    EXPECT_EQ(read(*image, 64 * KiB, 8192), sectors(8, 'a') + sectors(8, 'b'));
    EXPECT_EQ(finish([&](Completion done) { image->flush(std::move(done)); }), 0);
    image.reset();
    EXPECT_FALSE(write_at_once(*open_as(path, format, CacheMode::writethrough), 64 * KiB, sectors(8, 'c')));
  }
}

TEST_P(DiskTest, ReadsWritesAndZeroes) {
  const std::string path = folder.file("disk", 1 * MiB);
  auto image = open(path);
  EXPECT_EQ(image->size_bytes(), 1 * MiB);
  EXPECT_EQ(read(*image, 0, 512), sectors(1, 0));
  EXPECT_EQ(write(*image, 512, sectors(3, 'a')), 0);
  EXPECT_EQ(write(*image, 1024, sectors(1, 'b')), 0);
  EXPECT_EQ(read(*image, 0, 2560), sectors(1, 0) + sectors(1, 'a') + sectors(1, 'b') + sectors(1, 'a') + sectors(1, 0));
  EXPECT_EQ(finish([&](Completion done) { image->flush(std::move(done)); }), 0);
  EXPECT_EQ(write(*image, 64 * KiB, std::string(512 * KiB, 'c')), 0);
  EXPECT_EQ(finish([&](Completion done) { image->write_zeroes(64 * KiB, 256 * KiB, false, std::move(done)); }), 0);
  EXPECT_EQ(read(*image, 64 * KiB, 512 * KiB), std::string(256 * KiB, 0) + std::string(256 * KiB, 'c'));
  struct stat before{}, after{};
  ::stat(path.c_str(), &before);
  EXPECT_EQ(finish([&](Completion done) { image->discard(320 * KiB, 256 * KiB, std::move(done)); }), 0);
  ::stat(path.c_str(), &after);
  EXPECT_LT(after.st_blocks, before.st_blocks);  // a hole
  EXPECT_EQ(after.st_size, before.st_size);
  image.reset();
  std::ifstream file(path);
  file.seekg(1024);
  EXPECT_EQ(file.get(), 'b');
}

TEST_P(DiskTest, RangesAreChecked) {
  auto image = open(folder.file("disk", 64 * KiB));
  const auto check = [&](u64 offset, u64 bytes, int error) {
    std::string data(bytes, 'x');
    const iovec buffer{data.data(), data.size()};
    EXPECT_EQ(finish([&](Completion done) { image->read(offset, {&buffer, 1}, std::move(done)); }), error)
        << offset << "+" << bytes;
    EXPECT_EQ(finish([&](Completion done) { image->write(offset, {&buffer, 1}, std::move(done)); }), error);
    EXPECT_EQ(finish([&](Completion done) { image->discard(offset, bytes, std::move(done)); }), error);
    EXPECT_EQ(finish([&](Completion done) { image->write_zeroes(offset, bytes, true, std::move(done)); }), error);
  };
  check(0, 0, 0);
  check(64 * KiB, 0, 0);
  check(64 * KiB - 512, 512, 0);
  check(64 * KiB - 512, 1024, EINVAL);
  check(64 * KiB, 512, EINVAL);
  check(1, 512, EINVAL);
  check(0, 511, EINVAL);
  check(~u64{511}, 512, EINVAL);
}

TEST_P(DiskTest, ManyAtOnceAndDrain) {
  auto image = open(folder.file("disk", 4 * MiB));
  std::vector<std::string> data;
  std::vector<iovec> buffers(1000);
  for (unsigned i = 0; i < 1000; ++i) data.push_back(sectors(1, static_cast<char>('a' + i % 26)));
  unsigned done = 0, second = 0;
  std::string back(512, '?');
  const iovec last{back.data(), back.size()};
  for (unsigned i = 0; i < 1000; ++i) {
    buffers[i] = {data[i].data(), 512};
    image->write(u64{i} * 4096, {&buffers[i], 1}, [&](int error) {
      EXPECT_EQ(error, 0);
      // A completion submits more, which drain() waits for too.
      if (++done == 1000) image->read(999 * 4096, {&last, 1}, [&](int failed) { second = failed == 0 ? 1 : 2; });
    });
  }
  image->drain();
  EXPECT_EQ(done, 1000u);
  EXPECT_EQ(second, 1u);
  EXPECT_EQ(back, data[999]);
  loop->run_once(0);  // what was posted meanwhile finds nothing
}

TEST_P(DiskTest, DrainsWhileTheLoopRunsElsewhere) {
  auto image = open(folder.file("disk", 1 * MiB));
  std::thread thread([&] { loop->run(); });
  std::string data(64 * KiB, 'x');
  const iovec buffer{data.data(), data.size()};
  std::atomic<unsigned> done = 0;
  for (unsigned round = 0; round < 50; ++round) {
    for (unsigned i = 0; i < 8; ++i) image->write(u64{i} * 64 * KiB, {&buffer, 1}, [&](int) { ++done; });
    image->drain();
    EXPECT_EQ(done, 8 * (round + 1));
  }
  loop->stop();
  thread.join();
}

TEST_P(DiskTest, CancelledRequestsCompleteOnce) {
  auto image = open(folder.file("disk", 16 * MiB));
  std::string data(256 * KiB, 'x');
  const iovec buffer{data.data(), data.size()};
  unsigned done = 0, cancelled = 0;
  for (unsigned i = 0; i < 300; ++i) {
    image->write(u64{i % 64} * 256 * KiB, {&buffer, 1}, [&](int error) {
      ++done;
      if (error == ECANCELED)
        ++cancelled;
      else
        EXPECT_EQ(error, 0);
    });
  }
  image->cancel();
  EXPECT_EQ(done, 0u);
  image->drain();
  EXPECT_EQ(done, 300u);
  if (GetParam() == IoEngine::Kind::immediate) {
    EXPECT_EQ(cancelled, 0u);
  }
  if (GetParam() == IoEngine::Kind::threads) {
    EXPECT_GT(cancelled, 0u);
  }
}

TEST_P(DiskTest, ShrunkFileIsAnError) {
  const std::string path = folder.file("disk", 64 * KiB);
  auto image = open(path);
  fs::resize_file(path, 32 * KiB + 512);
  EXPECT_EQ(read(*image, 32 * KiB, 1024), fmt::format("error {}", EIO));
  EXPECT_EQ(read(*image, 32 * KiB, 512), sectors(1, 0));
}

TEST_P(DiskTest, LongListsOfBuffers) {
  auto image = open(folder.file("disk", 4 * MiB));
  std::string data(3000 * 512u, '?');
  for (std::size_t i = 0; i < data.size(); ++i) data[i] = static_cast<char>(i * 31 >> 9);
  std::vector<iovec> buffers;
  for (unsigned i = 0; i < 3000; ++i) buffers.push_back({data.data() + i * 512u, 512});
  EXPECT_EQ(finish([&](Completion done) { image->write(512, buffers, std::move(done)); }), 0);
  EXPECT_EQ(read(*image, 512, data.size()), data);
}

TEST_P(DiskTest, SnapshotLeavesTheImageAlone) {
  const std::string path = folder.file("disk", 1 * MiB);
  {
    EXPECT_EQ(write(*open(path), 0, sectors(64, 'o')), 0);
  }
  auto image = open(path, true);
  auto second = open(path, true);  // readers share
  EXPECT_FALSE(image->read_only());
  EXPECT_EQ(write(*image, 512, sectors(2, 'n')), 0);
  EXPECT_EQ(write(*image, 4 * 512, sectors(1, 'm')), 0);
  EXPECT_EQ(finish([&](Completion done) { image->discard(6 * 512, 512, std::move(done)); }), 0);
  const std::string expected = sectors(1, 'o') + sectors(2, 'n') + sectors(1, 'o') + sectors(1, 'm') + sectors(1, 'o') +
                               sectors(1, 0) + sectors(57, 'o') + sectors(2, 0);
  EXPECT_EQ(read(*image, 0, 66 * 512), expected);
  EXPECT_EQ(read(*second, 0, 64 * 512), sectors(64, 'o'));
  EXPECT_EQ(finish([&](Completion done) { image->flush(std::move(done)); }), 0);
  EXPECT_EQ(finish([&](Completion done) { image->write_zeroes(MiB - 512, 1024, true, std::move(done)); }), EINVAL);

  // What was written is part of a saved machine.
  auto saving = state::Archive::for_saving();
  image->state(saving);
  auto loading = state::Archive::for_loading(saving.take());
  second->state(loading);
  ASSERT_TRUE(loading.status()) << loading.status().error().message;
  EXPECT_EQ(read(*second, 0, 66 * 512), expected);
  image.reset();
  second.reset();
  EXPECT_EQ(read(*open(path), 0, 64 * 512), sectors(64, 'o'));
  EXPECT_EQ(std::distance(fs::directory_iterator(folder.path), {}), 1);
}

TEST_P(DiskTest, StateOfAnotherDiskIsRefused) {
  auto one = open(folder.file("one", 64 * KiB));
  auto other = open(folder.file("other", 128 * KiB));
  auto saving = state::Archive::for_saving();
  one->state(saving);
  auto loading = state::Archive::for_loading(saving.take());
  other->state(loading);
  EXPECT_FALSE(loading.ok());
}

INSTANTIATE_TEST_SUITE_P(Engines, DiskTest,
                         ::testing::Values(IoEngine::Kind::io_uring, IoEngine::Kind::threads, IoEngine::Kind::immediate),
                         [](const auto& kind) {
                           return std::string(kind.param == IoEngine::Kind::io_uring  ? "io_uring"
                                              : kind.param == IoEngine::Kind::threads ? "threads"
                                                                                      : "immediate");
                         });

struct OpenTest : ::testing::Test {
  Folder folder;
  std::unique_ptr<EventLoop> loop = std::move(*EventLoop::create());
  std::unique_ptr<IoEngine> engine = std::move(*IoEngine::create(*loop));

  // The error without the folder's name; empty: it opened.
  std::string error(const DiskOptions& options) {
    auto image = open_disk(options, *engine);
    if (image) return {};
    std::string message = image.error().message;
    EXPECT_EQ(message.find('\n'), std::string::npos);
    for (std::size_t at; (at = message.find(folder.path.string() + "/")) != std::string::npos;)
      message.erase(at, folder.path.string().size() + 1);
    return message;
  }
};

TEST_F(OpenTest, ErrorsForTheUser) {
  const auto check = [&](const std::string& name, const std::string& expected, bool read_only = false) {
    EXPECT_EQ(error({.path = folder.path / name, .read_only = read_only}), expected);
  };
  folder.file("empty", 0);
  folder.file("odd", 1000);
  folder.file("good", 4096);
  fs::create_directory(folder.path / "folder");
  ::mkfifo((folder.path / "pipe").c_str(), 0600);
  std::ofstream(folder.path / "q.qcow2") << "QFI\xfb" << std::string(1020, 0);
  check("missing", "disk 'missing' does not exist; create one with: doppel disk create 'missing' 8G");
  check("folder", "disk 'folder' is a folder; name an image file in it");
  check("pipe", "disk 'pipe' is neither a file nor a block device");
  check("empty", "disk 'empty' is empty; give it a size with: doppel disk resize --format raw 'empty' 8G");
  check("odd",
        "disk 'odd' has 1000 bytes, which is not a multiple of 512; a raw image always is: pad it with: truncate -s "
        "%512 'odd'");
  // What a file begins with never decides alone: the guest of a raw disk may have written it.
  fs::copy_file(folder.path / "q.qcow2", folder.path / "q");
  check("q",
        "disk 'q' begins like a qcow2 image and its name does not say so: name its format, qcow2 (or raw, if its guest "
        "may have written that)");
  EXPECT_EQ(error({.path = folder.path / "q", .format = Format::raw}), "");
  check("q.qcow2", "disk 'q.qcow2' is a qcow image of version 0; versions 2 and 3 are known");
  EXPECT_EQ(error({.path = folder.path / "good", .format = Format::qcow2}),
            "disk 'good' is not a qcow2 image: it does not begin like one");
  check("good", "");
  if (::geteuid() != 0) {
    fs::permissions(folder.path / "good", fs::perms::owner_read);
    check("good", "disk 'good' cannot be written; attach it read-only, as a snapshot, or change its permissions");
    check("good", "", true);
    EXPECT_EQ(error({.path = folder.path / "good", .snapshot = true}), "");
    fs::permissions(folder.path / "good", fs::perms::none);
    check("good", "disk 'good' cannot be read; change its permissions", true);
  }
}

TEST_F(OpenTest, CacheModes) {
  using doppel::testing::RecordingEngine;
  using doppel::testing::Waiting;
  struct Case {
    CacheMode mode;
    bool syncs_writes, syncs_flushes, direct;
  };
  for (const Format format : {Format::raw, Format::qcow2}) {
    for (const Case& one :
         {Case{CacheMode::writeback, false, true, false}, Case{CacheMode::writethrough, true, true, false},
          Case{CacheMode::none, false, true, true}, Case{CacheMode::directsync, true, true, true},
          Case{CacheMode::unsafe, false, false, false}}) {
      RecordingEngine recording(*loop);
      const std::string path = folder.file("cached", 1 * MiB);
      if (format == Format::qcow2) std::ofstream(path) << *qcow2::new_image({.size_bytes = 1 * MiB});
      auto image = open_disk({.path = path, .format = format, .cache = one.mode}, recording);
      if (!image && one.direct) continue;  // a file system without O_DIRECT
      ASSERT_TRUE(image) << image.error().message;
      Waiting disk(**image);
      const auto happened = [&](auto what) {
        const bool found = std::ranges::any_of(recording.events, what);
        recording.events.clear();
        return found;
      };
      const auto is_sync = [](const RecordingEngine::Event& event) { return event.sync; };
      alignas(4096) static std::array<char, 4096> page;
      page.fill('p');
      EXPECT_EQ(disk.write(64 * KiB, {page.data(), page.size()}), 0);  // allocates
      recording.events.clear();
      EXPECT_EQ(disk.write(64 * KiB, {page.data(), page.size()}), 0);
      bool direct = false;
      for (const auto& event : recording.events) direct |= event.direct;
      EXPECT_EQ(direct, one.direct);
      EXPECT_EQ(happened(is_sync), one.syncs_writes);
      EXPECT_EQ(disk.flush(), 0);
      EXPECT_EQ(happened(is_sync), one.syncs_flushes);
      std::string back(512, 0);
      EXPECT_EQ(disk.write(65 * KiB, std::string(512, 'q')), 0);
      EXPECT_EQ(disk.read(64 * KiB + 512, back), 0);
      EXPECT_EQ(back, std::string(512, 'p'));
      EXPECT_EQ(disk.read(65 * KiB, back), 0);
      EXPECT_EQ(back, std::string(512, 'q'));
    }
  }
}

// What was written all through by large requests goes to the medium before anyone asks, in whatever order it was written.
TEST_F(OpenTest, LongWritesBeginWriteback) {
  using doppel::testing::RecordingEngine;
  using doppel::testing::Waiting;
  for (const Format format : {Format::raw, Format::qcow2}) {
    RecordingEngine recording(*loop);
    const std::string path = folder.file("long", 16 * MiB);
    if (format == Format::qcow2) std::ofstream(path) << *qcow2::new_image({.size_bytes = 16 * MiB});
    auto image = open_disk({.path = path, .format = format}, recording);
    ASSERT_TRUE(image) << image.error().message;
    Waiting disk(**image);
    std::string data(1 * MiB, 'a');
    EXPECT_EQ(disk.write(0, std::string(16 * MiB, 'b')), 0);  // so that clusters are allocated, one behind the other
    EXPECT_GE(recording.early.size(), 3u);  // of qcow2, the first and the last have other things in them
    recording.early.clear();
    for (const u64 at : {7, 6, 4}) EXPECT_EQ(disk.write(at * MiB, data), 0);
    for (unsigned i = 0; i < 2000; ++i) EXPECT_EQ(disk.write(5 * MiB, data.substr(0, 4096)), 0);
    EXPECT_TRUE(recording.early.empty());
    const iovec list{data.data(), data.size()};
    EXPECT_TRUE((*image)->write_at_once(5 * MiB, {&list, 1}));
    (*image)->drain();
    if (format == Format::raw) {
      EXPECT_EQ(recording.early, std::vector<u64>{4 * MiB});
    }
    // Requests of at most 254 pages.
    recording.early.clear();
    for (u64 at = 8 * MiB; at < 12 * MiB; at += MiB) {
      EXPECT_EQ(disk.write(at, data.substr(0, 254 * 4096)), 0);
      EXPECT_EQ(disk.write(at + u64{254} * 4096, data.substr(0, 2 * 4096)), 0);
    }
    if (format == Format::raw) {
      EXPECT_EQ(recording.early, std::vector<u64>{8 * MiB});
    }
    EXPECT_EQ(disk.flush(), 0);
  }
}

TEST_F(OpenTest, OneWriterOrManyReaders) {
  const std::string path = folder.file("disk", 4096);
  const std::string in_use = "disk 'disk' is in use by another machine; stop that one first, or use a copy of the disk";
  const std::string
      written = "disk 'disk' is being written by another machine; stop that one first, or use a copy of the disk";
  const DiskOptions write{.path = path}, read{.path = path, .read_only = true},
      snapshot{.path = path, .snapshot = true};
  {
    const auto writer = open_disk(write, *engine);
    EXPECT_EQ(error(write), in_use);
    EXPECT_EQ(error(read), written);
    EXPECT_EQ(error(snapshot), written);
  }
  const auto reader = open_disk(read, *engine);
  EXPECT_EQ(error(write), in_use);
  EXPECT_EQ(error(read), "");
  EXPECT_EQ(error(snapshot), "");
}

// The locks of other programs: flock, and QEMU's bytes, taken alone.
TEST_F(OpenTest, LocksOfOthers) {
  const std::string path = folder.file("disk", 4096);
  const auto check = [&](std::initializer_list<int> bytes, int whole, bool may_write, bool may_read) {
    const Fd other(::open(path.c_str(), O_RDWR | O_CLOEXEC));
    for (const int byte : bytes) {
      struct flock lock{};
      lock.l_type = F_RDLCK;
      lock.l_start = byte;
      lock.l_len = 1;
      ASSERT_EQ(::fcntl(other.get(), F_OFD_SETLK, &lock), 0);
    }
    if (whole != 0) {
      ASSERT_EQ(::flock(other.get(), whole | LOCK_NB), 0);
    }
    EXPECT_EQ(error({.path = path}).empty(), may_write);
    EXPECT_EQ(error({.path = path, .read_only = true}).empty(), may_read);
  };
  check({}, 0, true, true);
  check({}, LOCK_EX, false, false);
  check({}, LOCK_SH, false, true);
  check({100, 101, 103, 201, 203}, 0, false, false);  // QEMU, writing
  check({100, 201, 203}, 0, false, true);             // QEMU, reading
  check({100}, 0, true, true);                        // QEMU, reading and sharing (qemu-img info -U)
  check({100, 101}, 0, false, false);                 // writing and sharing
}

// And how our own look to them.
TEST_F(OpenTest, OurLocksAreSeen) {
  const std::string path = folder.file("disk", 4096);
  const auto held = [&](bool read_only) {
    const auto image = open_disk({.path = path, .read_only = read_only}, *engine);
    const Fd other(::open(path.c_str(), O_RDWR | O_CLOEXEC));
    std::string result;
    for (int byte = 100; byte < 205; ++byte) {
      struct flock lock{};
      lock.l_type = F_WRLCK;
      lock.l_start = byte;
      lock.l_len = 1;
      ::fcntl(other.get(), F_OFD_GETLK, &lock);
      if (lock.l_type != F_UNLCK) result += fmt::format("{} ", byte);
    }
    if (::flock(other.get(), LOCK_SH | LOCK_NB) != 0) result += "exclusive";
    return result;
  };
  EXPECT_EQ(held(false), "100 101 201 203 exclusive");
  EXPECT_EQ(held(true), "100 201 203 ");
}

}  // namespace
}  // namespace doppel::disk
