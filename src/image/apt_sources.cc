// See apt_sources.h.
#include "image/apt_sources.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <sstream>

#include "base/fd.h"

namespace doppel::image {

namespace {

constexpr u64 largest_file = 1 << 20;
constexpr std::array releases{"bullseye",  "bookworm", "trixie",  "forky",    "duke",
                              "oldstable", "stable",   "testing", "unstable", "sid"};
constexpr std::array rolling{"unstable", "sid"};  // without updates of their own

bool same_name(std::string_view left, std::string_view right) {
  return std::ranges::equal(left, right,
                            [](unsigned char a, unsigned char b) { return std::tolower(a) == std::tolower(b); });
}

std::vector<std::string> words_of(std::string_view text) {
  std::istringstream in{std::string(text)};
  std::vector<std::string> words;
  for (std::string word; in >> word;) words.push_back(word);
  return words;
}

bool contains(const auto& values, std::string_view value) { return std::ranges::find(values, value) != values.end(); }

std::string_view trim(std::string_view text) {
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.front()))) text.remove_prefix(1);
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.back()))) text.remove_suffix(1);
  return text;
}

std::vector<std::string_view> lines_of(std::string_view text) {
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    lines.push_back(text.substr(0, text.find('\n')));
    text.remove_prefix(std::min(text.size(), lines.back().size() + 1));
  }
  return lines;
}

// Option names of the one-line format that are not the field's name.
std::string field_of(std::string_view option) {
  if (option == "arch") return "Architectures";
  if (option == "lang") return "Languages";
  if (option == "target") return "Targets";
  return std::string(option);
}

// "bookworm" of "bookworm-updates"; empty if it is no release of Debian.
std::string_view release_of(std::string_view suite) {
  const std::string_view base = suite.substr(0, suite.find_first_of("-/"));
  return contains(releases, base) ? base : std::string_view{};
}

// Suites that a guest starts with: the release, its updates and its security updates.
bool is_usual(std::string_view suite) {
  const std::string_view rest = suite.substr(release_of(suite).size());
  return rest.empty() || rest == "-updates" || rest == "-security" || rest == "/updates";
}

std::vector<std::string> suites_for(const AptSource& source, std::string_view release) {
  std::vector<std::string> suites;
  for (const std::string& suite : words_of(source.get("Suites"))) {
    const std::string_view old = release_of(suite);
    if (old.empty() || !is_usual(suite)) continue;
    std::string wanted = release.empty() ? suite : std::string(release) + suite.substr(old.size());
    if (contains(rolling, release_of(wanted)) && wanted != release_of(wanted)) continue;
    if (!contains(suites, wanted)) suites.push_back(std::move(wanted));
  }
  return suites;
}

bool usable(const AptSource& source) {
  return contains(words_of(source.get("Types")), "deb") && !same_name(source.get("Enabled"), "no") &&
         contains(words_of(source.get("Components")), "main") && !source.get("URIs").starts_with("cdrom:");
}

}  // namespace

std::string_view AptSource::get(std::string_view name) const {
  const auto found = std::ranges::find_if(fields, [&](const auto& field) { return same_name(field.first, name); });
  return found == fields.end() ? std::string_view{} : std::string_view(found->second);
}

void AptSource::set(std::string_view name, std::string value) {
  const auto found = std::ranges::find_if(fields, [&](const auto& field) { return same_name(field.first, name); });
  if (found == fields.end()) {
    fields.emplace_back(name, std::move(value));
  } else {
    found->second = std::move(value);
  }
}

std::vector<AptSource> parse_sources(std::string_view text) {
  std::vector<AptSource> sources(1);
  for (const std::string_view line : lines_of(text)) {
    auto& fields = sources.back().fields;
    if (line.starts_with('#')) continue;
    if (trim(line).empty()) {
      if (!fields.empty()) sources.emplace_back();
    } else if (std::isspace(static_cast<unsigned char>(line[0]))) {  // goes on, as keys that are written out do
      if (!fields.empty()) fields.back().second += fmt::format("\n {}", trim(line));
    } else if (const auto colon = line.find(':'); colon != std::string_view::npos) {
      fields.emplace_back(trim(line.substr(0, colon)), trim(line.substr(colon + 1)));
    }
  }
  if (sources.back().fields.empty()) sources.pop_back();
  return sources;
}

std::vector<AptSource> parse_sources_list(std::string_view text) {
  std::vector<AptSource> sources;
  for (std::string_view line : lines_of(text)) {
    line = trim(line.substr(0, line.find('#')));
    const std::string_view type = line.substr(0, line.find_first_of(" \t["));
    if (type != "deb" && type != "deb-src") continue;
    line = trim(line.substr(type.size()));
    AptSource source;
    source.set("Types", std::string(type));
    std::string_view options;
    if (line.starts_with('[')) {
      const auto close = line.find(']');
      if (close == std::string_view::npos) continue;
      options = line.substr(1, close - 1);
      line.remove_prefix(close + 1);
    }
    const auto words = words_of(line);
    if (words.size() < 2) continue;
    source.set("URIs", words[0]);
    source.set("Suites", words[1]);
    source.set("Components", fmt::format("{}", fmt::join(words.begin() + 2, words.end(), " ")));
    for (const std::string& option : words_of(options)) {
      const auto equals = option.find('=');
      if (equals == std::string::npos) continue;
      std::string value = option.substr(equals + 1);
      std::ranges::replace(value, ',', ' ');
      source.set(field_of(option.substr(0, equals)), std::move(value));
    }
    sources.push_back(std::move(source));
  }
  return sources;
}

std::string format_sources(const std::vector<AptSource>& sources) {
  std::string text;
  for (const AptSource& source : sources) {
    if (!text.empty()) text += '\n';
    for (const auto& [name, value] : source.fields) text += fmt::format("{}: {}\n", name, value);
  }
  return text;
}

Result<DebianSources> debian_sources(const std::vector<AptSource>& host, std::string_view release) {
  if (!release.empty() && release_of(release) != release) {
    return usage_error(fmt::format("unknown Debian release '{}': use one of {}", release, fmt::join(releases, ", ")));
  }
  DebianSources result;
  result.release = release;
  for (const AptSource& entry : host) {
    if (!usable(entry)) continue;
    const auto suites = suites_for(entry, release);
    if (suites.empty()) continue;
    AptSource source = entry;
    source.set("Types", "deb");
    source.set("Suites", fmt::format("{}", fmt::join(suites, " ")));
    if (result.release.empty()) result.release = release_of(suites[0]);
    for (const std::string& key : words_of(source.get("Signed-By"))) {
      if (key.starts_with('/') && !contains(result.keys, key)) result.keys.push_back(key);
    }
    if (!std::ranges::any_of(result.sources, [&](const auto& other) { return other.fields == source.fields; }))
      result.sources.push_back(std::move(source));
  }
  if (result.sources.empty())
    return fail(
        "the host has no package sources of Debian (/etc/apt/sources.list, /etc/apt/sources.list.d): add them first");
  return result;
}

std::vector<AptSource> read_sources(const std::filesystem::path& apt) {
  std::vector<std::filesystem::path> files{apt / "sources.list"};
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(apt / "sources.list.d", error))
    files.push_back(entry.path());
  std::sort(files.begin() + 1, files.end());
  std::vector<AptSource> sources;
  for (const auto& file : files) {
    const bool deb822 = file.extension() == ".sources";
    if (!deb822 && file.extension() != ".list") continue;
    const auto text = read_file(file, largest_file);
    if (!text) continue;  // absent, or not for us to read
    for (auto& source : deb822 ? parse_sources(*text) : parse_sources_list(*text)) sources.push_back(std::move(source));
  }
  return sources;
}

}  // namespace doppel::image
