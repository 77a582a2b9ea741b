// How packages are reached: the host's settings of apt (apt.conf(5)) and its proxies, for installing here and for a guest.
//
// What the host reaches at a loopback address, a guest on the user network reaches at 10.0.2.2.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace doppel::image {

struct AptSettings {
  std::string host, guest;         // lines for apt.conf
  std::vector<std::string> files;  // of the host, that the guest's settings name: to be copied
};

// `dump` is what `apt-config dump` printed; the proxies are those of the environment, which apt obeys where its settings
// name none, or empty.
AptSettings reach_settings(std::string_view dump, std::string_view http_proxy, std::string_view https_proxy);

// The text with the loopback addresses in its URIs replaced by the one at which the user network has the host.
std::string as_guest_reaches(std::string_view text);

}  // namespace doppel::image
