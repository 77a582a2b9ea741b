// Files: what is refused, and with which words. And the log's configuration.
#include "base/fd.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "base/log.h"

namespace doppel {
namespace {

struct TemporaryFile {
  TemporaryFile() { fd = Fd(::mkstemp(path.data())); }
  ~TemporaryFile() { ::unlink(path.c_str()); }
  std::string path = "/tmp/doppel-test-XXXXXX";
  Fd fd;
};

void check_refused(const std::string& path, u64 limit, const std::string& message) {
  const auto contents = read_file(path, limit);
  ASSERT_FALSE(contents);
  EXPECT_EQ(contents.error().message, message);
}

TEST(Files, Read) {
  TemporaryFile file;
  const std::string text = "hello";
  ASSERT_TRUE(write_all(file.fd.get(), {reinterpret_cast<const u8*>(text.data()), text.size()}));
  EXPECT_EQ(*read_file(file.path, 5), "hello");
  check_refused(file.path, 4, "'" + file.path + "' is too large: 5 bytes where at most 4 bytes fit");
  check_refused("/nonexistent", 1, "cannot open '/nonexistent': No such file or directory");
  check_refused("/tmp", 1, "cannot read '/tmp': it is a directory");
  check_refused("/dev/null", 1, "cannot read '/dev/null': it is not a regular file");
}

TEST(Files, Write) {
  TemporaryFile file;
  ASSERT_TRUE(write_file(file.path, "longer than what follows"));
  ASSERT_TRUE(write_file(file.path, "short"));
  EXPECT_EQ(*read_file(file.path, 100), "short");
  EXPECT_EQ(write_file("/dev/full", "x").error().message, "'/dev/full': cannot write: No space left on device");
  EXPECT_FALSE(write_file("/nonexistent/file", "x"));
}

TEST(Files, LogConfiguration) {
  TemporaryFile file;
  EXPECT_EQ(log::configure("loud").error().message, "unknown log level 'loud': use error, warning, info or debug");
  EXPECT_FALSE(log::configure("info,"));
  EXPECT_FALSE(log::configure("info,/nonexistent/log"));
  ASSERT_TRUE(log::configure("info," + file.path));
  log::info("value {}", 7);
  log::debug("not {}", "this");
  ASSERT_TRUE(log::configure("warning"));
  EXPECT_EQ(*read_file(file.path, 1000), "doppel: info: value 7\n");
}

}  // namespace
}  // namespace doppel
