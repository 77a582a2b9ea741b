// See seed.h. The keys are those of cloud-init's documentation: cloud-config modules "users and groups", "set hostname";
// datasource "NoCloud".
#include "image/seed.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>

#include "base/fd.h"
#include "image/iso9660.h"

namespace doppel::image {

namespace {

constexpr u64 largest_file = 16 << 20;

bool is_word(std::string_view text, std::string_view also) {
  return std::ranges::all_of(text, [&](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           also.find(c) != std::string_view::npos;
  });
}

// One line of an authorized_keys file; quotes would end the text that it becomes.
Result<std::string> read_key(const std::string& path) {
  std::string key = TRY(read_file(path, 1 << 16));
  while (!key.empty() && (key.back() == '\n' || key.back() == '\r')) key.pop_back();
  const bool known = key.starts_with("ssh-") || key.starts_with("ecdsa-") || key.starts_with("sk-");
  if (!known || key.find_first_of("\n\r\"\\") != std::string::npos)
    return fail(fmt::format("'{}' is not one public key of SSH (a file such as id_ed25519.pub)", path));
  return key;
}

Result<std::string> generated_user_data(const Seed& seed) {
  std::string text = "#cloud-config\n";
  if (!seed.hostname.empty()) text += fmt::format("hostname: {}\nmanage_etc_hosts: true\n", seed.hostname);
  std::string keys;
  if (!seed.ssh_key.empty())
    keys = fmt::format("ssh_authorized_keys:\n{}  - \"{}\"\n", seed.user.empty() ? "" : "    ",
                       TRY(read_key(seed.ssh_key)));
  if (seed.user.empty()) return text + keys;
  text += fmt::format("users:\n  - default\n  - name: {}\n    shell: /bin/bash\n    sudo: \"ALL=(ALL) NOPASSWD:ALL\"\n",
                      seed.user);
  if (!keys.empty()) text += "    " + keys;
  return text;
}

}  // namespace

Result<std::string> make_seed(const Seed& seed) {
  const bool generated = !seed.ssh_key.empty() || !seed.hostname.empty() || !seed.user.empty();
  if (!seed.user_data.empty() && generated)
    return usage_error("--cloud-init user-data=FILE says all: give no --ssh-key, --hostname or --user with it");
  if (!is_word(seed.hostname, "-.") || seed.hostname.size() > 64 || seed.hostname.starts_with('-'))
    return usage_error(fmt::format("--hostname: '{}' is not a host's name", seed.hostname));
  if (!is_word(seed.user, "-_") || seed.user.size() > 32 || seed.user.starts_with('-'))
    return usage_error(fmt::format("--user: '{}' is not a user's name", seed.user));
  std::vector<IsoFile> files;
  files.push_back({"user-data", seed.user_data.empty() ? TRY(generated_user_data(seed))
                                                       : TRY(read_file(seed.user_data, largest_file))});
  // The instance's name stays, so that what cloud-init does once per instance is done once.
  std::string meta_data = "instance-id: doppel\n";
  if (!seed.hostname.empty()) meta_data += fmt::format("local-hostname: {}\n", seed.hostname);
  if (!seed.meta_data.empty()) meta_data = TRY(read_file(seed.meta_data, largest_file));
  files.push_back({"meta-data", std::move(meta_data)});
  if (!seed.network_config.empty())
    files.push_back({"network-config", TRY(read_file(seed.network_config, largest_file))});
  const auto image = make_iso("cidata", files);
  return std::string(image.begin(), image.end());
}

}  // namespace doppel::image
