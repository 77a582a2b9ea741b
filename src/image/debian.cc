// See debian.h; the recipe itself is debian_recipe.h.
#include "image/debian.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <pwd.h>
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <sstream>

#include "image/apt_settings.h"
#include "image/apt_sources.h"
#include "image/debian_recipe.h"
#include "image/host_command.h"

namespace doppel::image {

namespace fs = std::filesystem;

namespace {

bool is_root() { return ::geteuid() == 0; }

bool has_subordinate_ids(const char* path) {
  const passwd* user = ::getpwuid(::getuid());
  const std::string by_name = user != nullptr ? fmt::format("{}:", user->pw_name) : ":",
                    by_number = fmt::format("{}:", ::getuid());
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with(by_name) || line.starts_with(by_number)) return true;
  }
  return false;
}

Result<> check_host() {
  std::vector<std::string> packages;
  const auto need = [&](const char* program, const char* package) {
    if (!has_program(program)) packages.emplace_back(package);
  };
  need("mmdebstrap", "mmdebstrap");
  need("mke2fs", "e2fsprogs");
  if (!is_root()) {
    need("newuidmap", "uidmap");
    need("fakeroot", "fakeroot");
  }
  if (!packages.empty()) {
    return fail(fmt::format("making an image needs the Debian packages: {}; install them with: apt-get install {}",
                            fmt::join(packages, ", "), fmt::join(packages, " ")));
  }
  if (!is_root() && (!has_subordinate_ids("/etc/subuid") || !has_subordinate_ids("/etc/subgid"))) {
    return fail(
        "making an image needs subordinate user IDs, and this user has none: add them with: usermod --add-subuids "
        "100000-165535 --add-subgids 100000-165535 USER");
  }
  return {};
}

bool is_package_name(std::string_view name) {
  return !name.empty() && std::ranges::all_of(name, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '+' || c == '-' || c == '.';
  });
}

Result<> check_options(const DebianOptions& options) {
  for (const std::string& package : options.packages) {
    if (!is_package_name(package)) return usage_error(fmt::format("--packages: '{}' is not a package's name", package));
  }
  if (options.size_bytes < least_debian_bytes || options.size_bytes % MiB != 0) {
    return usage_error(fmt::format("--size: an image has at least {} and whole MiB, not {}",
                                   format_size(least_debian_bytes), format_size(options.size_bytes)));
  }
  if (options.root_password.find_first_of("\n:") != std::string::npos)
    return usage_error("--root-password: no line breaks and no colons");
  return {};
}

std::string_view environment(const char* name) {
  const char* value = ::getenv(name);
  return value == nullptr ? std::string_view{} : value;
}

AptSettings host_settings(const fs::path& scratch) {
  const fs::path dump = scratch / "apt.log";
  std::string text;
  if (run({.arguments = {"apt-config", "dump"}, .log = dump})) text = read_file(dump, 1 * MiB).value_or("");
  std::error_code error;
  fs::remove(dump, error);
  return reach_settings(text, environment("http_proxy"), environment("https_proxy"));
}

Result<> install(const fs::path& folder, const DebianSources& debian, const DebianOptions& options,
                 const std::string& hostname) {
  const std::string sources = format_sources(debian.sources);
  const AptSettings settings = host_settings(folder);
  std::vector<std::string> files = debian.keys;
  files.insert(files.end(), settings.files.begin(), settings.files.end());
  TRY(write_file(folder / "debian.sources", sources));
  HostCommand command{.log = folder / "log"};
  command.arguments = {"mmdebstrap", "--variant=minbase", "--format=tar", is_root() ? "--mode=root" : "--mode=unshare",
                       fmt::format("--include={}", debian_packages)};
  if (!options.packages.empty())
    command.arguments.push_back(fmt::format("--include={}", fmt::join(options.packages, ",")));
  std::istringstream lines(settings.host);
  for (std::string line; std::getline(lines, line);) command.arguments.push_back("--aptopt=" + line);
  command.arguments.push_back(fmt::format("--essential-hook={}", essential_hook));
  command.arguments.push_back(fmt::format("--customize-hook={}", customize_hook));
  command.arguments.insert(command.arguments.end(), {debian.release, folder / "files.tar", folder / "debian.sources"});
  command.environment = {{"DOPPEL_SOURCES", as_guest_reaches(sources)},
                         {"DOPPEL_KEYS", fmt::format("{}", fmt::join(files, " "))},
                         {"DOPPEL_APT", settings.guest},
                         {"DOPPEL_HOSTNAME", hostname},
                         {"DOPPEL_ROOT_PASSWORD", options.root_password}};
  return run(command);
}

Result<> pack(const fs::path& folder, u64 size_bytes) {
  HostCommand command{.log = folder / "log"};
  if (!is_root()) command.arguments = {"fakeroot"};
  for (const std::string_view word :
       {std::string_view("sh"), std::string_view("-c"), pack_script, std::string_view("pack")})
    command.arguments.emplace_back(word);
  command.arguments.push_back(folder);
  command.arguments.push_back(fmt::format("{}", size_bytes));
  auto packed = run(command);
  if (!packed && packed.error().message.find("Could not allocate block") != std::string::npos)
    return fail(fmt::format("the files do not fit into {}: give a larger --size", format_size(size_bytes)));
  return packed;
}

}  // namespace

Result<Image> make_debian(const Store& store, const DebianOptions& options,
                          const std::function<void(std::string_view)>& progress) {
  TRY(check_options(options));
  const DebianSources debian = TRY(debian_sources(read_sources("/etc/apt"), options.release));
  std::string name = options.name;
  if (name.empty()) name = options.release.empty() ? "debian" : "debian-" + options.release;
  Store::Draft draft = TRY(store.make(name));
  TRY(check_host());
  std::string hostname = name;
  std::ranges::replace_if(hostname, [](char c) { return c == '.' || c == '_'; }, '-');

  progress(fmt::format("installing Debian {} (a few minutes)", debian.release));
  TRY(install(draft.folder(), debian, options, hostname));
  progress(fmt::format("making a file system of {}", format_size(options.size_bytes)));
  TRY(pack(draft.folder(), options.size_bytes));
  std::error_code error;
  for (const char* leftover : {"log", "debian.sources"}) fs::remove(draft.folder() / leftover, error);
  TRY(draft.publish({.origin = "debian " + debian.release,
                     .packages = fmt::format("{}", fmt::join(options.packages, ",")),
                     .append = std::string(debian_append)}));
  return store.find(name);
}

}  // namespace doppel::image
