// Images that lie: one clear line, and the file stays as it was.
#include <gtest/gtest.h>

#include "disk/open.h"
#include "disk/qcow2/create.h"
#include "disk/qcow2/transaction.h"
#include "disk/testing/lab.h"

namespace doppel::disk {
namespace {

using namespace doppel::testing;
using namespace doppel::disk::qcow2;

struct Qcow2Hostile : ::testing::Test {
  DiskFolder folder;
  std::unique_ptr<EventLoop> loop = std::move(*EventLoop::create());
  std::unique_ptr<IoEngine> engine = std::move(*IoEngine::create(*loop, IoEngine::Kind::immediate));
  static constexpr u64 size = 1 * MiB;

  // An image with data in its first cluster.
  std::string sound(CreateOptions options = {.cluster_bits = 12}) {
    options.size_bytes = size;
    std::ofstream(folder / "sound.qcow2") << *new_image(options);
    {
      auto image = open_qcow2(folder / "sound.qcow2", {}, *engine);
      EXPECT_TRUE(image) << image.error().message;
      EXPECT_EQ(Waiting(**image).write(0, std::string(4096, 'd')), 0);
    }
    return file_bytes(folder / "sound.qcow2");
  }
  // What opening says of these bytes, for reading, for writing and with a format named, without the folder.
  std::string said(const std::string& bytes) {
    const std::string path = folder / "x.qcow2";
    std::ofstream(path) << bytes;
    std::string message;
    for (const bool read_only : {true, false}) {
      auto image = open_disk({.path = path, .format = Format::qcow2, .read_only = read_only}, *engine);
      if (image) return "";
      EXPECT_TRUE(message.empty() || message == image.error().message) << message << "\n" << image.error().message;
      message = image.error().message;
    }
    EXPECT_EQ(message.find('\n'), std::string::npos);
    EXPECT_EQ(file_bytes(path), bytes) << "the file was modified";
    for (std::size_t at; (at = message.find(folder.path.string() + "/")) != std::string::npos;)
      message.erase(at, folder.path.string().size() + 1);
    return message;
  }
  template <class T>
  void expect_refused(std::size_t at, T value, const std::string& message, std::string bytes) {
    store_be<T>(&bytes[at], value);
    EXPECT_EQ(said(bytes), "disk 'x.qcow2' " + message);
  }
  template <class T>
  void expect_refused(std::size_t at, T value, const std::string& message) {
    expect_refused(at, value, message, sound());
  }
};

TEST_F(Qcow2Hostile, Headers) {
  expect_refused<u32>(0, 1, "is not a qcow2 image: it does not begin like one");
  expect_refused<u32>(4, 4, "is a qcow image of version 4; versions 2 and 3 are known");
  expect_refused<u32>(20, 8, "has clusters of 2^8 bytes; a qcow2 image has 2^9 to 2^21");
  expect_refused<u32>(20, 22, "has clusters of 2^22 bytes; a qcow2 image has 2^9 to 2^21");
  expect_refused<u32>(20, 0xffffffff, "has clusters of 2^4294967295 bytes; a qcow2 image has 2^9 to 2^21");
  expect_refused<u64>(24, ~u64{0}, "says that it has 18446744073709551615 bytes, more than a disk can have");
  expect_refused<u64>(24, u64{1} << 60, "has an L1 table of more than 32 MiB");
  expect_refused<u64>(24, u64{1} << 30, "has an L1 table of 1 entries, too small for its 1073741824 bytes");
  expect_refused<u32>(32, 2, "is encrypted (LUKS), which is not supported; decrypt it with: qemu-img convert");
  expect_refused<u32>(32, 1, "is encrypted (AES), which is not supported; decrypt it with: qemu-img convert");
  expect_refused<u32>(36, 0xffffffff, "has an L1 table of more than 32 MiB");
  expect_refused<u32>(36, 1 << 20, "is truncated: its L1 table lies beyond its end");
  expect_refused<u64>(40, 100, "has its L1 table at 0x64, where no cluster begins");
  expect_refused<u64>(40, u64{1} << 63, "is truncated: its L1 table lies beyond its end");
  expect_refused<u64>(48, 4097, "has its refcount table at 0x1001, where no cluster begins");
  expect_refused<u64>(48, u64{1} << 40, "is truncated: its refcount table lies beyond its end");
  expect_refused<u32>(56, 0, "has no refcount table");
  expect_refused<u32>(56, 0xffffffff, "has a refcount table of more than 8 MiB");
  expect_refused<u32>(60, 65537, "says that it has 65537 snapshots; at most 65536 can be");
  expect_refused<u32>(60, 1, "is damaged: entry 0 of its table of snapshots leaves the file", [&] {
    std::string bytes = sound();
    store_be<u64>(&bytes[64], 4096 * 5);
    std::memset(&bytes[4096 * 5], 0xff, 36);
    std::memset(&bytes[4096 * 5 + 36], 0, 4);
    return bytes;
  }());
  expect_refused<u32>(96, 7, "has refcounts of 2^7 bits; the format ends at 64");
  expect_refused<u32>(100, 100, "has a header of 100 bytes, which none can have");
  expect_refused<u32>(100, 0xfffffff8, "has a header of 4294967288 bytes, which none can have");
  expect_refused<u8>(104, 1, "says two things about how its clusters are compressed");
  expect_refused<u32>(116, 0xffffffff, "has a header extension (0x6803f857) that leaves the header");
  expect_refused<u64>(8, 4000, "has its backing file's name outside of its header", [&] {
    std::string bytes = sound();
    store_be<u32>(&bytes[16], 1000);
    return bytes;
  }());
}

TEST_F(Qcow2Hostile, UnknownFeaturesAreNamed) {
  expect_refused<u64>(72, u64{1} << 60, "needs the feature of bit 60, which has no name in it, which is not supported");
  std::string bytes = sound();
  store_be<u64>(&bytes[72], 1 << 5);
  bytes[120 + 1] = 5;  // the first row of the table of names
  bytes.replace(122, 46, std::string("time travel") + std::string(35, '\0'));
  EXPECT_EQ(said(bytes), "disk 'x.qcow2' needs the feature 'time travel' (bit 5), which is not supported");
}

TEST_F(Qcow2Hostile, Truncated) {
  const std::string bytes = sound();
  EXPECT_EQ(said(bytes.substr(0, 3)), "disk 'x.qcow2' is not a qcow2 image: it does not begin like one");
  EXPECT_EQ(said(bytes.substr(0, 71)), "disk 'x.qcow2' is truncated within its header");
  EXPECT_EQ(said(bytes.substr(0, 103)), "disk 'x.qcow2' is truncated within its header");
  EXPECT_EQ(said(bytes.substr(0, 4096)), "disk 'x.qcow2' is truncated: its L1 table lies beyond its end");
  EXPECT_EQ(said(bytes.substr(0, 4096 * 3 + 8)),
            "disk 'x.qcow2' is damaged: entry 0 of its L1 table (0x8000000000004000) leads nowhere");
}

TEST_F(Qcow2Hostile, Tables) {
  std::string bytes = sound();
  const u64 l1 = load_be<u64>(&bytes[40]), refcounts = load_be<u64>(&bytes[48]);
  expect_refused<u64>(l1, 1000, "is damaged: entry 0 of its L1 table (0x3e8) leads nowhere");
  expect_refused<u64>(l1, u64{1} << 50, "is damaged: entry 0 of its L1 table (0x4000000000000) leads nowhere");
  expect_refused<u64>(refcounts, 4097, "is damaged: entry 0 of its refcount table (0x1001) leads nowhere");
  expect_refused<u64>(refcounts + 8, u64{1} << 50,
                      "is damaged: entry 1 of its refcount table (0x4000000000000) leads nowhere");
}

// Found when it is met: the request fails, nothing is written from then on, and checking says what it is.
TEST_F(Qcow2Hostile, EntriesThatLeadNowhere) {
  const auto check_entry = [&](u64 value, const std::string& finding) {
    std::string bytes = sound();
    const u64 l2 = load_be<u64>(&bytes[load_be<u64>(&bytes[40])]) & entry::offset_mask;
    store_be<u64>(&bytes[l2], value);
    const std::string path = folder / "x.qcow2";
    std::ofstream(path) << bytes;
    {
      auto image = open_qcow2(path, {}, *engine);
      ASSERT_TRUE(image) << image.error().message;
      std::string data(512, 0);
      EXPECT_EQ(Waiting(**image).write(512, data), EIO) << finding;
      EXPECT_EQ(Waiting(**image).write(64 * KiB, data), EIO) << finding;
      EXPECT_NE(Waiting(**image).discard(0, size), 0);
    }
    EXPECT_EQ(file_bytes(path), bytes) << "the file was modified";
    auto image = open_qcow2(path, {.read_only = true, .purpose = Image::Purpose::inspect}, *engine);
    ASSERT_TRUE(image) << image.error().message;
    const auto findings = qcow2::check(**image);
    ASSERT_TRUE(findings) << findings.error().message;
    EXPECT_NE(findings->corruptions, 0u);
    EXPECT_EQ(findings->lines.front(), finding);
  };
  check_entry(entry::copied | 4097 << 9, "the L2 entry 0x8000000000200200 leads nowhere");
  check_entry(entry::copied | u64{1} << 50, "the L2 entry 0x8004000000000000 leads nowhere");
  check_entry(entry::copied | 4096, "cluster 1 counts 1 and is used 2 times");  // the refcount table
  check_entry(entry::compressed | u64{1} << 50, "the L2 entry 0x4004000000000000 leads nowhere");
}

TEST_F(Qcow2Hostile, RefcountsThatLie) {
  std::string bytes = sound();
  const u64 block = load_be<u64>(&bytes[load_be<u64>(&bytes[48])]);
  std::memset(&bytes[block], 0, 4096);  // all is free, the header too
  const std::string path = folder / "x.qcow2";
  std::ofstream(path) << bytes;
  {
    auto image = open_qcow2(path, {}, *engine);
    ASSERT_TRUE(image) << image.error().message;
    EXPECT_EQ(Waiting(**image).write(64 * KiB, std::string(512, 'x')), EIO);
  }
  EXPECT_EQ(file_bytes(path), bytes) << "the file was modified";
  auto image = open_qcow2(path, {.purpose = Image::Purpose::inspect}, *engine);
  ASSERT_TRUE(image) << image.error().message;
  EXPECT_NE(qcow2::check(**image)->corruptions, 0u);
  ASSERT_TRUE(repair_refcounts(**image));
  EXPECT_TRUE(qcow2::check(**image)->clean());
  EXPECT_EQ(Waiting(**image).contents().substr(0, 4096), std::string(4096, 'd'));
  image->reset();
  EXPECT_EQ(run_program("qemu-img check -f qcow2 " + path).first, 0);
}

TEST_F(Qcow2Hostile, Chains) {
  const auto make = [&](const std::string& name, const std::string& backing, const std::string& format) {
    std::ofstream(folder / name) << *new_image({.size_bytes = size, .backing_name = backing, .backing_format = format});
  };
  const auto refused = [&](const std::string& name, const std::string& message) {
    auto image = open_disk({.path = folder / name, .read_only = true}, *engine);
    ASSERT_FALSE(image);
    std::string text = image.error().message;
    for (std::size_t at; (at = text.find(folder.path.string() + "/")) != std::string::npos;)
      text.erase(at, folder.path.string().size() + 1);
    EXPECT_EQ(text, message);
  };
  make("self.qcow2", "self.qcow2", "qcow2");
  refused(
      "self.qcow2",
      "the backing file of disk 'self.qcow2': disk 'self.qcow2' has itself behind it: its backing files go round in a "
      "circle");
  make("a.qcow2", "b.qcow2", "qcow2");
  make("b.qcow2", "./a.qcow2", "qcow2");
  refused("a.qcow2",
          "the backing file of disk 'a.qcow2': the backing file of disk 'b.qcow2': disk './a.qcow2' has itself behind "
          "it: its "
          "backing files go round in a circle");
  make("lost.qcow2", "nowhere", "raw");
  refused("lost.qcow2",
          "the backing file of disk 'lost.qcow2': disk 'nowhere' does not exist; create one with: doppel disk create "
          "'nowhere' 8G");
  make("floppy.qcow2", "a.qcow2", "vdi");
  refused("floppy.qcow2", "the backing file of disk 'floppy.qcow2': unknown format 'vdi': use raw or qcow2");
  make("far.qcow2", "nbd://host/disk", "raw");
  refused("far.qcow2",
          "disk 'far.qcow2' names its backing file by a protocol ('nbd://host/disk'); only files are known");
  // A raw backing file that its guest made look like qcow2 is read as raw, and one without a format is refused.
  make("guest", "/etc/passwd", "raw");
  make("top.qcow2", "guest", "raw");
  auto image = open_disk({.path = folder / "top.qcow2"}, *engine);
  ASSERT_TRUE(image) << image.error().message;
  EXPECT_EQ(Waiting(**image).contents().substr(0, 4), magic);
  image->reset();
  make("vague.qcow2", "guest", "");
  refused("vague.qcow2",
          "the backing file of disk 'vague.qcow2': disk 'guest' begins like a qcow2 image and its name does not say "
          "so: name "
          "its format, qcow2 (or raw, if its guest may have written that)");
}

TEST_F(Qcow2Hostile, MarkedAsCorrupt) {
  std::string bytes = sound();
  store_be<u64>(&bytes[72], incompatible::corrupt);
  const std::string path = folder / "x.qcow2";
  std::ofstream(path) << bytes;
  EXPECT_TRUE(open_disk({.path = path, .read_only = true}, *engine));
  auto image = open_disk({.path = path}, *engine);
  ASSERT_FALSE(image);
  EXPECT_EQ(image.error().message,
            "disk '" + path + "' is marked as corrupt; attach it read-only, or try: doppel disk check --repair '" +
                path + "'");
  EXPECT_EQ(file_bytes(path), bytes);
}

// Extensions that nobody knows stay, and bits that say "valid while I keep it up" go with the first write.
TEST_F(Qcow2Hostile, UnknownExtensionsAreKept) {
  Header header = *parse_header({reinterpret_cast<const u8*>(sound().data()), 4096}, 1 << 20, "x");
  const std::string text = sound();
  header = *parse_header({reinterpret_cast<const u8*>(text.data()), 4096}, text.size(), "x");
  header.extensions.push_back({0x12345678, "whatever"});
  header.autoclear = u64{1} << 40;
  std::string bytes = text;
  const std::string start = *header.encode();
  bytes.replace(0, start.size(), start);
  const std::string path = folder / "x.qcow2";
  std::ofstream(path) << bytes;
  {
    auto image = open_qcow2(path, {}, *engine);
    ASSERT_TRUE(image) << image.error().message;
    std::string data(512, 0);
    EXPECT_EQ(Waiting(**image).read(0, data), 0);
    EXPECT_EQ((*image)->header().autoclear, u64{1} << 40);
    EXPECT_EQ(Waiting(**image).write(0, data), 0);
    ASSERT_TRUE((*image)->settle());
    ASSERT_TRUE(change_backing(**image, "other", "raw"));
  }
  auto image = open_qcow2(path, {.read_only = true, .alone = true}, *engine);
  ASSERT_TRUE(image) << image.error().message;
  EXPECT_EQ((*image)->header().autoclear, 0u);
  EXPECT_EQ((*image)->header().backing_name, "other");
  ASSERT_NE((*image)->header().find_extension(0x12345678), nullptr);
  EXPECT_EQ(*(*image)->header().find_extension(0x12345678), "whatever");
}

}  // namespace
}  // namespace doppel::disk
