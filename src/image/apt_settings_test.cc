// What a guest gets of the host's ways to its package sources.
#include "image/apt_settings.h"

#include <gtest/gtest.h>

namespace doppel::image {
namespace {

TEST(AptSettings, LoopbackAddresses) {
  const auto check = [](const char* text, const char* expected) { EXPECT_EQ(as_guest_reaches(text), expected); };
  check("http://deb.debian.org/debian", "http://deb.debian.org/debian");
  check("http://localhost/debian", "http://10.0.2.2/debian");
  check("http://127.0.0.1:3142/deb.debian.org/debian", "http://10.0.2.2:3142/deb.debian.org/debian");
  check("https://user:word@127.1.2.3:80/a http://[::1]:99/b", "https://user:word@10.0.2.2:80/a http://10.0.2.2:99/b");
  check("http://127.example.org/ http://localhost.example.org/",
        "http://127.example.org/ http://localhost.example.org/");
  check("http://[fe80::1]/a http://[", "http://[fe80::1]/a http://[");
  check("http://other/localhost http://localhost", "http://other/localhost http://10.0.2.2");
  check("no address, http://", "no address, http://");
}

TEST(AptSettings, OfHostAndGuest) {
  const std::string dump =
      "APT \"\";\nAcquire \"\";\nAcquire::http::Proxy \"http://127.0.0.1:3142/\";\nAcquire::Retries \"3\";\n"
      "Acquire::https::CaInfo \"/etc/own.pem\";\nAcquire::https::SslKey \"/secret\";\n"
      "Acquire::http::Proxy-Auto-Detect \"/usr/bin/find-proxy\";\nDPkg::Options \"x\";\n";
  const AptSettings settings = reach_settings(dump, "http://unused:1/", "");
  EXPECT_EQ(settings.host,
            "Acquire::http::Proxy \"http://127.0.0.1:3142/\";\nAcquire::Retries \"3\";\n"
            "Acquire::https::CaInfo \"/etc/own.pem\";\nAcquire::https::SslKey \"/secret\";\n"
            "Acquire::http::Proxy-Auto-Detect \"/usr/bin/find-proxy\";\n");
  EXPECT_EQ(settings.guest,
            "Acquire::http::Proxy \"http://10.0.2.2:3142/\";\nAcquire::Retries \"3\";\n"
            "Acquire::https::CaInfo \"/etc/own.pem\";\n");
  EXPECT_EQ(settings.files, std::vector<std::string>{"/etc/own.pem"});
}

TEST(AptSettings, ProxiesOfTheEnvironment) {
  const AptSettings settings = reach_settings("", "http://localhost:8080", "http://proxy:8080");
  EXPECT_EQ(settings.host, "");
  EXPECT_EQ(settings.guest,
            "Acquire::http::Proxy \"http://10.0.2.2:8080\";\nAcquire::https::Proxy \"http://proxy:8080\";\n");
  EXPECT_EQ(reach_settings("", "http://a\";evil", "").guest, "");
}

}  // namespace
}  // namespace doppel::image
