// What is saved loads again; anything else is refused with the section's name.
#include "state/archive.h"

#include <gtest/gtest.h>

namespace doppel::state {
namespace {

enum class Mode : u8 { idle, counting };

struct Sample {
  u64 word = 0;
  i32 negative = 0;
  bool flag = false;
  Mode mode = Mode::idle;
  std::array<u16, 3> array{};
  std::string text;
  std::vector<u8> bytes;
  std::array<u8, 4> raw{};

  void state(Archive& archive) {
    archive.begin("sample", 3);
    archive(word);
    archive(negative);
    archive(flag);
    archive(mode);
    archive.require(mode <= Mode::counting, "mode");
    archive(array);
    archive.begin("nested", 1);
    archive(text, 16);
    archive(bytes, 16);
    archive.end();
    archive.raw(raw.data(), raw.size());
    archive.end();
  }
  bool operator==(const Sample&) const = default;
};

std::vector<u8> saved(Sample sample) {
  Archive archive = Archive::for_saving();
  sample.state(archive);
  return archive.take();
}

const Sample sample{~u64{5}, -7, true, Mode::counting, {1, 2, 0xffff}, "text", {9, 8, 7}, {1, 2, 3, 4}};

TEST(Archive, LoadsWhatWasSaved) {
  Archive archive = Archive::for_loading(saved(sample));
  Sample loaded;
  loaded.state(archive);
  ASSERT_TRUE(archive.status()) << archive.status().error().message;
  EXPECT_EQ(loaded, sample);
}

TEST(Archive, EveryTruncationIsRefused) {
  const auto bytes = saved(sample);
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    Archive archive = Archive::for_loading({bytes.begin(), bytes.begin() + static_cast<long>(size)});
    Sample loaded;
    loaded.state(archive);
    EXPECT_FALSE(archive.ok()) << size;
  }
}

void check_refused(void (*save)(Archive&), void (*load)(Archive&), const char* message) {
  Archive out = Archive::for_saving();
  save(out);
  Archive in = Archive::for_loading(out.take());
  load(in);
  ASSERT_FALSE(in.ok());
  EXPECT_NE(in.status().error().message.find(message), std::string::npos) << in.status().error().message;
}

template <class T>
void one(Archive& archive) {
  T value = 1;
  archive.begin("a", 1);
  archive(value);
  archive.end();
}
void two(Archive& archive) {
  u32 value = 2;
  archive.begin("a", 2);
  archive(value);
  archive(value);
  archive.end();
}

TEST(Archive, OtherLayoutsAreRefused) {
  check_refused(one<u32>, one<u64>, "a: an integer of 8 bytes expected");
  check_refused(two, one<u32>, "newer");
  check_refused(one<u32>, two, "a: the saved state ends too early");
  check_refused(one<u32>, [](Archive& archive) { archive.begin("a", 1), archive.end(); }, "a: 5 bytes too many");
  check_refused(one<u32>, [](Archive& archive) { archive.begin("b", 1), archive.end(); }, "'b' expected");
  check_refused(
      [](Archive& archive) {
        std::vector<u8> bytes(32);
        archive(bytes, 32);
      },
      [](Archive& archive) {
        std::vector<u8> bytes;
        archive(bytes, 31);
      },
      "32 bytes where at most 31");
  check_refused(
      one<u32>,
      [](Archive& archive) {
        one<u32>(archive);
        archive.require(false, "count");
        archive.require(false, "later");
      },
      "invalid count");
}

TEST(Archive, OlderVersionIsReported) {
  Archive out = Archive::for_saving();
  one<u32>(out);
  Archive in = Archive::for_loading(out.take());
  EXPECT_EQ(in.begin("a", 5), 1u);
}

TEST(Archive, NotAState) {
  Archive archive = Archive::for_loading({'h', 'e', 'l', 'l', 'o', ' ', 't', 'h', 'e', 'r', 'e', '!'});
  EXPECT_EQ(archive.status().error().message, "saved state refused: this is not a saved state");
}

}  // namespace
}  // namespace doppel::state
