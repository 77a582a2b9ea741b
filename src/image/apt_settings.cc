// See apt_settings.h.
#include "image/apt_settings.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace doppel::image {

namespace {

constexpr std::array kept{"Acquire::http", "Acquire::https", "Acquire::Retries", "Acquire::ForceIPv", "Acquire::Check"};
// Programs and secrets of the host; what a guest needs of them it does not get.
constexpr std::array for_host_only{"Proxy-Auto-Detect", "ProxyAutoDetect", "CaPath", "SslCert", "SslKey",
                                   "CrlFile",           "IssuerCert"};
constexpr std::string_view host_of_guest = "10.0.2.2";

bool is_loopback(std::string_view host) {
  return host == "localhost" || host == "[::1]" ||
         (host.starts_with("127.") && host.find_first_not_of("0123456789.") == std::string_view::npos);
}

// The value of `NAME "VALUE";`, or nothing.
std::string_view value_of(std::string_view line) {
  const auto open = line.find('"'), close = line.rfind('"');
  return open == std::string_view::npos || close <= open ? std::string_view{} : line.substr(open + 1, close - open - 1);
}

}  // namespace

std::string as_guest_reaches(std::string_view text) {
  constexpr std::string_view marker = "://";
  std::string result;
  for (auto at = text.find(marker); at != std::string_view::npos; at = text.find(marker)) {
    at += marker.size();
    const std::string_view authority = text.substr(at, text.substr(at).find_first_of("/ \t\n\";"));
    if (const auto user = authority.find('@'); user != std::string_view::npos) at += user + 1;
    result += text.substr(0, at);
    text.remove_prefix(at);
    const bool literal = text.starts_with('[');
    const auto end = std::min(literal ? text.find(']') + 1 : text.find_first_of(":/ \t\n\";"), text.size());
    const std::string_view host = text.substr(0, end);
    result += is_loopback(host) ? host_of_guest : host;
    text.remove_prefix(host.size());
  }
  return result.append(text);
}

AptSettings reach_settings(std::string_view dump, std::string_view http_proxy, std::string_view https_proxy) {
  AptSettings settings;
  bool http = false, https = false;
  while (!dump.empty()) {
    const std::string_view line = dump.substr(0, dump.find('\n'));
    dump.remove_prefix(std::min(dump.size(), line.size() + 1));
    if (std::ranges::none_of(kept, [&](const char* prefix) { return line.starts_with(prefix); })) continue;
    http = http || line.starts_with("Acquire::http::Proxy \"");
    https = https || line.starts_with("Acquire::https::Proxy \"");
    settings.host += fmt::format("{}\n", line);
    const std::string_view name = line.substr(0, line.find(' '));
    if (std::ranges::any_of(for_host_only, [&](const char* word) { return name.find(word) != std::string_view::npos; }))
      continue;
    if (name.ends_with("::CaInfo") && value_of(line).starts_with('/')) settings.files.emplace_back(value_of(line));
    settings.guest += as_guest_reaches(line) + "\n";
  }
  const auto add_proxy = [&](const char* name, std::string_view proxy) {
    if (proxy.empty() || proxy.find_first_of("\"\n") != std::string_view::npos) return;
    settings.guest += fmt::format("{} \"{}\";\n", name, as_guest_reaches(proxy));
  };
  if (!http) add_proxy("Acquire::http::Proxy", http_proxy);
  if (!https) add_proxy("Acquire::https::Proxy", https_proxy);
  return settings;
}

}  // namespace doppel::image
