// Messages as v9fs sends them, and what a guest must not get at: everything outside of the folder.
#include "device/share/p9_server.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <fstream>

namespace doppel::p9 {
namespace {

namespace fs = std::filesystem;

struct Message {
  Writer bytes{largest_message};
  explicit Message(u8 type) {
    bytes.put(u32{0});
    bytes.put(type);
    bytes.put(u16{1});
  }
  template <class T>
  Message& operator<<(T value) {
    bytes.put(value);
    return *this;
  }
  Message& operator<<(const char* text) {
    bytes.text(text);
    return *this;
  }
};

struct P9Test : ::testing::Test {
  fs::path base = fs::temp_directory_path() / fmt::format("doppel-p9-{}", ::getpid());
  fs::path folder = base / "shared";
  std::unique_ptr<Server> server;
  std::vector<u8> reply;

  P9Test() {
    fs::create_directories(folder / "sub/deep");
    write(base / "secret", "secret");
    write(folder / "file", "hello");
    fs::create_symlink("../secret", folder / "out");
    fs::create_symlink(base, folder / "sub/up");
    fs::create_symlink("file", folder / "in");
    start(false);
  }
  ~P9Test() override { fs::remove_all(base); }

  static void write(const fs::path& path, const std::string& text) { std::ofstream(path) << text; }
  static std::string contents(const fs::path& path) {
    std::ifstream file(path);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  void start(bool read_only) {
    server = std::move(*Server::create(folder, read_only));
    EXPECT_EQ(ask(Message(100) << u32{65536} << "9P2000.L"), 0);
    EXPECT_EQ(ask(Message(104) << u32{0} << no_fid << "root" << "" << u32{0}), 0);
  }
  // The error of the answer; 0 for none. The answer's fields are in `reply`.
  int ask(Message& message, std::size_t capacity = largest_message) {
    std::vector<u8> request = message.bytes.take_bytes();
    const u32 size = static_cast<u32>(request.size());
    std::memcpy(request.data(), &size, sizeof size);
    reply = server->answer(request, capacity);
    u32 answered = 0;
    std::memcpy(&answered, reply.data(), sizeof answered);
    EXPECT_EQ(answered, reply.size());
    EXPECT_LE(reply.size(), capacity);
    const u8 type = reply[4];
    reply.erase(reply.begin(), reply.begin() + header_bytes);
    u32 error = 0;
    if (type == 7) std::memcpy(&error, reply.data(), sizeof error);
    EXPECT_TRUE(type == 7 || type == request[4] + 1);
    return static_cast<int>(error);
  }
  int ask(Message&& message, std::size_t capacity = largest_message) { return ask(message, capacity); }
  int walk(u32 from, u32 to, const std::vector<const char*>& names) {
    Message message(110);
    message << from << to << static_cast<u16>(names.size());
    for (const char* name : names) message << name;
    const int error = ask(message);
    if (error != 0) return error;
    return reply[0] == names.size() ? 0 : ENOENT;
  }
  int open(u32 fid, u32 flags) { return ask(Message(12) << fid << flags); }
  int clunk(u32 fid) { return ask(Message(120) << fid); }
  std::string read(u32 fid, u64 offset = 0, u32 count = 100) {
    if (const int error = ask(Message(116) << fid << offset << count)) return fmt::format("error {}", error);
    return {reply.begin() + 4, reply.end()};
  }
  int put(u32 fid, u64 offset, const std::string& text) {
    Message message(118);
    message << fid << offset << static_cast<u32>(text.size());
    for (const char c : text) message << static_cast<u8>(c);
    return ask(message);
  }
};

TEST_F(P9Test, ReadsAndWrites) {
  ASSERT_EQ(walk(0, 1, {"file"}), 0);
  EXPECT_EQ(read(1), fmt::format("error {}", EBADF));
  ASSERT_EQ(open(1, O_RDWR), 0);
  EXPECT_EQ(read(1), "hello");
  EXPECT_EQ(put(1, 5, " world"), 0);
  EXPECT_EQ(read(1, 3, 5), "lo wo");
  EXPECT_EQ(ask(Message(50) << u32{1} << u32{0}), 0);
  EXPECT_EQ(contents(folder / "file"), "hello world");
  EXPECT_EQ(clunk(1), 0);
  EXPECT_EQ(clunk(1), EBADF);
  ASSERT_EQ(walk(0, 2, {}), 0);
  ASSERT_EQ(ask(Message(14) << u32{2} << "new" << u32{O_RDWR} << u32{06640} << u32{0}), 0);
  EXPECT_EQ(put(2, 0, "x"), 0);
  EXPECT_EQ(contents(folder / "new"), "x");
  EXPECT_EQ(fs::status(folder / "new").permissions() & fs::perms::set_uid, fs::perms::none);
}

TEST_F(P9Test, NothingLeadsOutOfTheFolder) {
  for (const char* name : {"", ".", "/", "a/b", "../secret", "/etc/passwd"})
    EXPECT_EQ(walk(0, 1, {name}), ENOENT) << name;
  ASSERT_EQ(walk(0, 1, {"..", "..", "file"}), 0);  // above the root is the root
  EXPECT_EQ(clunk(1), 0);
  EXPECT_NE(walk(0, 1, {"sub", "up", "secret"}), 0);  // a link is no folder
  ASSERT_EQ(walk(0, 1, {"out"}), 0);
  EXPECT_EQ(open(1, O_RDONLY), ELOOP);
  EXPECT_EQ(ask(Message(22) << u32{1}), 0);
  EXPECT_EQ(std::string(reply.begin() + 2, reply.end()), "../secret");
  EXPECT_NE(ask(Message(26) << u32{1} << u32{8} << u32{0} << u32{0} << u32{0} << u64{0} << u64{0} << u64{0} << u64{0}
                            << u64{0}),
            0);
  EXPECT_EQ(contents(base / "secret"), "secret");
  ASSERT_EQ(walk(0, 2, {}), 0);  // creating over a link does not follow it
  EXPECT_NE(ask(Message(14) << u32{2} << "out" << u32{O_WRONLY | O_TRUNC} << u32{0644} << u32{0}), 0);
  EXPECT_EQ(contents(base / "secret"), "secret");
  EXPECT_EQ(ask(Message(14) << u32{2} << "../new" << u32{O_WRONLY} << u32{0644} << u32{0}), EINVAL);
  EXPECT_EQ(ask(Message(72) << u32{0} << ".." << u32{0755} << u32{0}), EINVAL);
  EXPECT_EQ(ask(Message(76) << u32{0} << "sub/deep" << u32{0x200}), EINVAL);
  EXPECT_EQ(ask(Message(18) << u32{0} << "disk" << u32{S_IFBLK | 0644} << u32{8} << u32{0} << u32{0}), EPERM);
}

TEST_F(P9Test, FollowsNobodyWhoSwapsAFolderForALink) {
  ASSERT_EQ(walk(0, 1, {"sub"}), 0);
  fs::rename(folder / "sub", folder / "moved");
  fs::create_symlink(base, folder / "sub");
  EXPECT_NE(walk(1, 2, {"secret"}), 0);  // still the old folder
  EXPECT_EQ(walk(1, 3, {"deep"}), 0);
  EXPECT_NE(walk(3, 4, {"..", "secret"}), 0);  // its path now has a link in it
}

TEST_F(P9Test, TreeChanges) {
  EXPECT_EQ(ask(Message(72) << u32{0} << "made" << u32{0755} << u32{0}), 0);
  EXPECT_EQ(ask(Message(16) << u32{0} << "made-link" << "anywhere" << u32{0}), 0);
  ASSERT_EQ(walk(0, 1, {"file"}), 0);
  EXPECT_EQ(ask(Message(70) << u32{0} << u32{1} << "second"), 0);
  EXPECT_EQ(fs::hard_link_count(folder / "file"), 2u);
  ASSERT_EQ(walk(0, 2, {"made"}), 0);
  EXPECT_EQ(ask(Message(74) << u32{0} << "second" << u32{2} << "third"), 0);
  EXPECT_EQ(contents(folder / "made/third"), "hello");
  ASSERT_EQ(walk(0, 3, {"made", "third"}), 0);
  EXPECT_EQ(ask(Message(74) << u32{0} << "made" << u32{0} << "renamed"), 0);
  ASSERT_EQ(walk(3, 4, {".."}), 0) << "paths follow renames";
  EXPECT_EQ(ask(Message(20) << u32{3} << u32{0} << "fourth"), 0);
  EXPECT_TRUE(fs::exists(folder / "fourth"));
  EXPECT_EQ(ask(Message(76) << u32{0} << "renamed" << u32{0}), EISDIR);
  EXPECT_EQ(ask(Message(76) << u32{0} << "renamed" << u32{0x200}), 0);
  EXPECT_EQ(ask(Message(122) << u32{3}), 0);
  EXPECT_FALSE(fs::exists(folder / "fourth"));
  EXPECT_EQ(clunk(3), EBADF);
}

TEST_F(P9Test, Attributes) {
  ASSERT_EQ(walk(0, 1, {"file"}), 0);
  EXPECT_EQ(ask(Message(26) << u32{1} << u32{0x129} << u32{04600} << u32{0} << u32{0} << u64{3} << u64{0} << u64{0}
                            << u64{5} << u64{6}),
            0);
  EXPECT_EQ(contents(folder / "file"), "hel");
  ASSERT_EQ(ask(Message(24) << u32{1} << u64{0x7ff}), 0);
  Reader fields(reply);
  fields.get<u64>();
  EXPECT_EQ(fields.get<u8>(), 0);
  fields.take(12);
  EXPECT_EQ(fields.get<u32>(), u32{S_IFREG | 0600});
  fields.take(8 + 8 + 8);
  EXPECT_EQ(fields.get<u64>(), 3u);
  EXPECT_EQ(ask(Message(8) << u32{1}), 0);
  EXPECT_EQ(ask(Message(30) << u32{1} << u32{9} << "security.capability"), EOPNOTSUPP);
  EXPECT_EQ(ask(Message(22) << u32{1}), EINVAL);
}

TEST_F(P9Test, Lists) {
  for (int i = 0; i < 300; ++i) write(folder / "sub/deep" / fmt::format("name-{:0100}", i), "");
  ASSERT_EQ(walk(0, 1, {"sub", "deep"}), 0);
  ASSERT_EQ(open(1, O_RDONLY), 0);
  std::size_t names = 0;
  for (u64 offset = 0;;) {
    ASSERT_EQ(ask(Message(40) << u32{1} << offset << u32{2000}), 0);
    Reader fields(reply);
    ASSERT_LE(fields.get<u32>(), 2000u);
    if (reply.size() == 4) break;
    for (std::size_t at = 4; at < reply.size(); ++names) {
      fields.take(13);
      offset = fields.get<u64>();
      fields.get<u8>();
      at += 13 + 8 + 1 + 2 + fields.text().size();
    }
    ASSERT_TRUE(fields.ok());
  }
  EXPECT_EQ(names, 302u);
  EXPECT_EQ(ask(Message(40) << u32{1} << u64{0} << u32{10}), EINVAL);
}

TEST_F(P9Test, Locks) {
  for (const u32 fid : {1u, 2u}) {
    ASSERT_EQ(walk(0, fid, {"file"}), 0);
    ASSERT_EQ(open(fid, O_RDWR), 0);
  }
  const auto lock = [&](u32 fid, u8 type) {
    EXPECT_EQ(ask(Message(52) << fid << type << u32{0} << u64{0} << u64{0} << u32{1} << "c"), 0);
    return reply[0];
  };
  EXPECT_EQ(lock(1, 1), 0);
  EXPECT_EQ(lock(2, 0), 1);
  EXPECT_EQ(ask(Message(54) << u32{2} << u8{1} << u64{0} << u64{0} << u32{1} << "c"), 0);
  EXPECT_EQ(reply[0], 1);
  EXPECT_EQ(lock(1, 2), 0);
  EXPECT_EQ(lock(2, 0), 0);
  ASSERT_EQ(walk(0, 3, {"sub", "..", "in"}), 0);
  ASSERT_EQ(walk(0, 4, {"file"}), 0);
  ASSERT_EQ(open(4, O_RDONLY), 0);
  EXPECT_EQ(lock(4, 1), 1);
  EXPECT_EQ(lock(2, 2), 0);
  EXPECT_EQ(lock(4, 1), 0);
  EXPECT_EQ(put(4, 0, "x"), EBADF);
}

TEST_F(P9Test, ReadOnly) {
  start(true);
  ASSERT_EQ(walk(0, 1, {"file"}), 0);
  EXPECT_EQ(open(1, O_RDWR), EROFS);
  EXPECT_EQ(open(1, O_RDONLY | O_TRUNC), EROFS);
  EXPECT_EQ(open(1, O_RDONLY), 0);
  EXPECT_EQ(read(1), "hello");
  EXPECT_EQ(put(1, 0, "x"), EROFS);
  EXPECT_EQ(ask(Message(72) << u32{0} << "made" << u32{0755} << u32{0}), EROFS);
  EXPECT_EQ(ask(Message(76) << u32{0} << "file" << u32{0}), EROFS);
  EXPECT_EQ(ask(Message(74) << u32{0} << "file" << u32{0} << "x"), EROFS);
  EXPECT_EQ(ask(Message(26) << u32{1} << u32{1} << u32{0} << u32{0} << u32{0} << u64{0} << u64{0} << u64{0} << u64{0}
                            << u64{0}),
            EROFS);
}

TEST_F(P9Test, BadMessages) {
  EXPECT_EQ(ask(Message(99)), EOPNOTSUPP);
  EXPECT_EQ(ask(Message(12)), EINVAL);
  EXPECT_EQ(ask(Message(12) << u32{77} << u32{0}), EBADF);
  EXPECT_EQ(walk(0, no_fid, {"file"}), EBADF);
  EXPECT_EQ(ask(Message(110) << u32{0} << u32{9} << u16{17}), EINVAL);
  EXPECT_EQ(ask(Message(24) << u32{0} << u64{0}, error_bytes), EMSGSIZE);
  EXPECT_EQ(ask(Message(100) << u32{8192} << "9P1999"), 0);
  EXPECT_EQ(std::string(reply.begin() + 6, reply.end()), "unknown");
  EXPECT_EQ(server->fids(), 0u);
  std::vector<u8> request{1, 2, 3, 4, 12, 5, 6};  // longer than it is
  EXPECT_EQ(server->answer(request, error_bytes)[4], 7);
}

TEST_F(P9Test, SavedSessionsOpenTheSameFiles) {
  ASSERT_EQ(walk(0, 1, {"file"}), 0);
  ASSERT_EQ(open(1, O_RDWR), 0);
  ASSERT_EQ(walk(0, 2, {"sub", "deep"}), 0);
  auto saved = state::Archive::for_saving();
  server->state(saved);
  ASSERT_TRUE(saved.ok());
  const std::vector<u8> bytes = saved.take();
  const auto load = [&] {
    server = std::move(*Server::create(folder, false));
    auto archive = state::Archive::for_loading(bytes);
    server->state(archive);
    return archive.ok();
  };
  ASSERT_TRUE(load());
  EXPECT_EQ(read(1), "hello");
  EXPECT_EQ(put(1, 0, "J"), 0);
  EXPECT_EQ(walk(2, 3, {"..", "deep"}), 0);
  fs::remove(folder / "file");
  auto refused = state::Archive::for_saving();
  server->state(refused);
  EXPECT_FALSE(refused.ok());
  EXPECT_FALSE(load());
  fs::create_symlink("../secret", folder / "file");
  EXPECT_FALSE(load());
}

TEST(P9, OnlyFolders) {
  EXPECT_FALSE(Server::create("/etc/passwd", true));
  EXPECT_FALSE(Server::create("/nonexistent", true));
}

}  // namespace
}  // namespace doppel::p9
