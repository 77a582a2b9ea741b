// The host's package sources (sources.list(5), both formats), as far as a Debian guest can use them.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace doppel::image {

// One entry: its fields in deb822 terms, by name in the file's spelling.
struct AptSource {
  std::vector<std::pair<std::string, std::string>> fields;

  std::string_view get(std::string_view name) const;  // empty when absent; names without regard to case
  void set(std::string_view name, std::string value);
};

std::vector<AptSource> parse_sources(std::string_view text);       // deb822: NAME.sources
std::vector<AptSource> parse_sources_list(std::string_view text);  // one line each: NAME.list
std::string format_sources(const std::vector<AptSource>& sources);

struct DebianSources {
  std::string release;  // a code name or a suite: "bookworm", "stable"
  std::vector<AptSource> sources;
  std::vector<std::string> keys;  // the host's files that they are signed by
};

// The host's Debian sources with the release put in place of theirs; without a release, theirs.
Result<DebianSources> debian_sources(const std::vector<AptSource>& host, std::string_view release);
// All that the folder (/etc/apt) has.
std::vector<AptSource> read_sources(const std::filesystem::path& apt);

}  // namespace doppel::image
