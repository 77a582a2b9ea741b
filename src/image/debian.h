// Makes a Debian image in the store: systemd, a login on the serial port, DHCP on every Ethernet interface, the host's package
// sources. mmdebstrap installs it, mke2fs packs it; neither needs root.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/units.h"
#include "image/store.h"

namespace doppel::image {

struct DebianOptions {
  std::string name;                   // in the store; empty: "debian", or "debian-RELEASE" if a release was asked for
  std::string release;                // empty: the host's
  std::vector<std::string> packages;  // besides the usual ones
  u64 size_bytes = 2 * GiB;
  std::string root_password;  // empty: root logs in without one
};

constexpr u64 least_debian_bytes = 1 * GiB;

// `progress` is told each step in a few words. Everything that can be known to be missing is said before anything is made.
Result<Image> make_debian(const Store& store, const DebianOptions& options,
                          const std::function<void(std::string_view)>& progress);

}  // namespace doppel::image
