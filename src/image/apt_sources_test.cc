// Package sources in both formats, and which of them a guest gets.
#include "image/apt_sources.h"

#include <gtest/gtest.h>

namespace doppel::image {
namespace {

constexpr const char* deb822 =
    "# a comment\n"
    "Types: deb deb-src\nURIs: http://one/debian\nSuites: bookworm bookworm-updates bookworm-backports\n"
    "Components: main contrib\nSigned-By: /usr/share/keyrings/a.gpg\n\n\n"
    "types: deb\nuris: http://one/security\nsuites: bookworm-security\ncomponents: main\n\n"
    "Types: deb\nURIs: https://other/node\nSuites: nodistro\nComponents: main\n\n"
    "Enabled: no\nTypes: deb\nURIs: http://off\nSuites: bookworm\nComponents: main\n";

std::string sources_of(const std::vector<AptSource>& host, const std::string& release) {
  const auto found = debian_sources(host, release);
  if (!found) return found.error().message;
  std::string text = found->release;
  for (const auto& source : found->sources)
    text += " | " + std::string(source.get("URIs")) + " " + std::string(source.get("Suites"));
  for (const auto& key : found->keys) text += " | " + key;
  return text;
}

TEST(AptSources, Deb822) {
  const auto host = parse_sources(deb822);
  ASSERT_EQ(host.size(), 4u);
  EXPECT_EQ(sources_of(host, ""),
            "bookworm | http://one/debian bookworm bookworm-updates | http://one/security bookworm-security | "
            "/usr/share/keyrings/a.gpg");
  EXPECT_EQ(sources_of(host, "trixie"),
            "trixie | http://one/debian trixie trixie-updates | http://one/security trixie-security | "
            "/usr/share/keyrings/a.gpg");
  EXPECT_EQ(sources_of(host, "sid"), "sid | http://one/debian sid | /usr/share/keyrings/a.gpg");
  EXPECT_TRUE(sources_of(host, "warty").starts_with("unknown Debian release 'warty'"));
}

TEST(AptSources, OneLine) {
  const auto host = parse_sources_list(
      "# deb http://off bookworm main\n"
      "deb [arch=amd64,i386 signed-by=/k.gpg] http://one/debian bookworm main contrib # why\n"
      "deb-src http://one/debian bookworm main\n"
      "deb http://one/security stable-security main\ndeb http://broken\ndeb [x http://broken y z\n"
      "deb https://shop bookworm stable\n");
  ASSERT_EQ(host.size(), 4u);
  EXPECT_EQ(host[0].get("architectures"), "amd64 i386");
  EXPECT_EQ(sources_of(host, ""),
            "bookworm | http://one/debian bookworm | http://one/security stable-security | /k.gpg");
  EXPECT_EQ(sources_of(parse_sources_list("deb https://ubuntu jammy main"), "").find("the host has no package sources"),
            0u);
}

TEST(AptSources, FormattingKeepsEverything) {
  const std::string text = "Types: deb\nURIs: u\nSuites: s\nComponents: main\nSigned-By: \n -----BEGIN\n .\n abc\n";
  EXPECT_EQ(format_sources(parse_sources(text)), text);
}

}  // namespace
}  // namespace doppel::image
