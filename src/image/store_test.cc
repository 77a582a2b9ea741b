// Names, drafts that never become half an image, copies that keep holes.
#include "image/store.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>

namespace doppel::image {
namespace {

namespace fs = std::filesystem;

struct StoreTest : ::testing::Test {
  fs::path base = fs::temp_directory_path() / ("doppel-store-" + std::to_string(::getpid()));
  Store store = std::move(*Store::open(base / "images"));
  ~StoreTest() override { fs::remove_all(base); }

  static void write(const fs::path& path, const std::string& text) { std::ofstream(path) << text; }
  void add(const std::string& name, Image image = {}) {
    auto draft = store.make(name);
    ASSERT_TRUE(draft) << draft.error().message;
    write(draft->folder() / "root.img", "disk of " + name);
    ASSERT_TRUE(draft->publish(std::move(image)));
  }
  std::size_t entries() const {
    return static_cast<std::size_t>(std::distance(fs::directory_iterator(base / "images"), fs::directory_iterator{}));
  }
};

TEST_F(StoreTest, KeepsWhatWasPublished) {
  add("b", {.origin = "debian bookworm", .packages = "a,b", .append = "root=/dev/vda x=y\nz", .created = 7});
  add("a");
  const auto images = store.list();
  ASSERT_TRUE(images);
  ASSERT_EQ(images->size(), 2u);
  EXPECT_EQ((*images)[0].name, "a");
  const Image image = *store.find("b");
  EXPECT_EQ(image.origin, "debian bookworm");
  EXPECT_EQ(image.append, "root=/dev/vda x=y z");
  EXPECT_EQ(image.created, 7);
  EXPECT_FALSE(image.has_kernel());
  EXPECT_EQ(image.size_bytes(), 9u);
  EXPECT_FALSE(store.make("a"));
  ASSERT_TRUE(store.remove("a"));
  EXPECT_FALSE(store.find("a"));
  EXPECT_EQ(entries(), 1u);
}

TEST_F(StoreTest, HalfAnImageHasNoName) {
  {
    auto draft = store.make("x");
    write(draft->folder() / "root.img", "half");
    EXPECT_FALSE(store.find("x"));
    EXPECT_TRUE(store.list()->empty());
    auto other = store.make("x");  // two at once: the first to finish wins
    ASSERT_TRUE(other);
    EXPECT_EQ(entries(), 2u);
    write(other->folder() / "root.img", "whole");
    EXPECT_TRUE(other->publish({}));
    EXPECT_FALSE(draft->publish({}));
  }
  EXPECT_EQ(entries(), 1u);
  fs::create_directory(base / "images/.tmp-killed");  // nobody holds it: its maker is gone
  {
    const auto draft = store.make("y");
  }
  EXPECT_EQ(entries(), 1u);
}

TEST_F(StoreTest, InUseIsNotRemoved) {
  add("a");
  const Fd disk(::open(store.find("a")->root().c_str(), O_RDONLY | O_CLOEXEC));
  ASSERT_EQ(::flock(disk.get(), LOCK_SH), 0);
  EXPECT_FALSE(store.remove("a"));
  EXPECT_TRUE(store.find("a"));
}

TEST_F(StoreTest, Names) {
  for (const char* name : {"a", "debian-12.img", "0_x"}) EXPECT_TRUE(check_name(name)) << name;
  for (const char* name : {"", ".", "..", "a/b", "-a", ".tmp-1", "a b", "a\n"}) EXPECT_FALSE(check_name(name)) << name;
  EXPECT_FALSE(check_name(std::string(65, 'a')));
}

TEST_F(StoreTest, CopiesKeepHoles) {
  const std::string from = base / "from", to = base / "to";
  write(from, "start");
  fs::resize_file(from, 64 << 20);
  std::ofstream(from, std::ios::in | std::ios::out | std::ios::ate) << "end";
  ASSERT_TRUE(copy_sparse(from, to));
  struct stat info{};
  ASSERT_EQ(::stat(to.c_str(), &info), 0);
  EXPECT_EQ(info.st_size, (64 << 20) + 3);
  EXPECT_LT(info.st_blocks, 1024);
  std::ifstream file(to);
  std::string text(5, 0);
  file.read(text.data(), 5);
  EXPECT_EQ(text, "start");
  file.seekg(64 << 20);
  file.read(text.data(), 3);
  EXPECT_EQ(text.substr(0, 3), "end");
  EXPECT_FALSE(copy_sparse(from, to));  // never over what is there
  EXPECT_FALSE(copy_sparse(base, base / "new"));
}

}  // namespace
}  // namespace doppel::image
