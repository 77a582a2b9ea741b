// The seed as other programs see it, and what is refused. What a guest's kernel reads of it: tests/boot.
#include "image/seed.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <fstream>

#include "image/iso9660.h"

namespace doppel::image {
namespace {

namespace fs = std::filesystem;

struct SeedTest : ::testing::Test {
  fs::path base = fs::temp_directory_path() / ("doppel-seed-" + std::to_string(::getpid()));
  SeedTest() { fs::create_directories(base); }
  ~SeedTest() override { fs::remove_all(base); }
  std::string write(const char* name, const std::string& text) const {
    std::ofstream(base / name) << text;
    return base / name;
  }
  static std::string output_of(const std::string& command) {
    std::string text;
    FILE* pipe = ::popen(command.c_str(), "r");
    for (int c = std::fgetc(pipe); c != EOF; c = std::fgetc(pipe)) text += static_cast<char>(c);
    ::pclose(pipe);
    return text;
  }
};

TEST_F(SeedTest, IsADiskThatOthersKnow) {
  const auto seed = make_seed(
      {.ssh_key = write("key", "ssh-ed25519 AAAA me@here\n"), .hostname = "web-1", .user = "me"});
  ASSERT_TRUE(seed) << seed.error().message;
  EXPECT_EQ(seed->size() % 2048, 0u);
  EXPECT_NE(seed->find("#cloud-config\nhostname: web-1\n"), std::string::npos);
  EXPECT_NE(seed->find("  - name: me\n"), std::string::npos);
  EXPECT_NE(seed->find("    ssh_authorized_keys:\n      - \"ssh-ed25519 AAAA me@here\"\n"), std::string::npos);
  EXPECT_NE(seed->find("instance-id: doppel\nlocal-hostname: web-1\n"), std::string::npos);
  const std::string path = write("seed.iso", *seed);
  const std::string known = output_of("PATH=$PATH:/usr/sbin:/sbin blkid -p " + path);
  EXPECT_NE(known.find(" LABEL=\"cidata\""), std::string::npos) << known;
  EXPECT_NE(known.find("TYPE=\"iso9660\""), std::string::npos) << known;
}

TEST_F(SeedTest, FilesGoAsTheyAre) {
  const auto seed = make_seed({.user_data = write("u", "#!/bin/sh\n"),
                               .meta_data = write("m", "instance-id: 7\n"),
                               .network_config = write("n", "version: 2\n")});
  ASSERT_TRUE(seed);
  for (const char* text : {"#!/bin/sh\n", "instance-id: 7\n", "version: 2\n"})
    EXPECT_NE(seed->find(text), std::string::npos);
  EXPECT_EQ(*seed, *make_seed({.user_data = base / "u", .meta_data = base / "m", .network_config = base / "n"}));
}

TEST_F(SeedTest, Refusals) {
  EXPECT_FALSE(make_seed({.user_data = base / "absent"}));
  EXPECT_FALSE(make_seed({.user_data = write("u", ""), .hostname = "x"}));
  EXPECT_FALSE(make_seed({.ssh_key = write("private", "-----BEGIN OPENSSH PRIVATE KEY-----\n")}));
  EXPECT_FALSE(make_seed({.ssh_key = write("two", "ssh-rsa a\nssh-rsa b\n")}));
  EXPECT_FALSE(make_seed({.hostname = "a b"}));
  EXPECT_FALSE(make_seed({.user = "root: x"}));
}

TEST(Iso, ManyFilesFillSeveralSectors) {
  std::vector<IsoFile> files;
  for (int i = 0; i < 90; ++i)
    files.push_back({"name-" + std::to_string(i) + "-" + std::string(40, 'x'), std::string(3000, 'a')});
  const auto image = make_iso("label", files);
  EXPECT_EQ(image.size() % 2048, 0u);
  EXPECT_GT(image.size(), 90u * 4096);
}

}  // namespace
}  // namespace doppel::image
