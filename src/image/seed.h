// A NoCloud seed for cloud-init: a disk labelled "cidata" with user-data, meta-data and network-config.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "base/types.h"

namespace doppel::image {

struct Seed {
  std::string user_data, meta_data, network_config;  // paths of files; they go as they are
  std::string ssh_key;                               // path of a public key: for the user
  std::string hostname;
  std::string user;  // who gets the key; made with sudo. Without it: the image's own first user

  bool any() const {
    return !user_data.empty() || !meta_data.empty() || !network_config.empty() || !ssh_key.empty() ||
           !hostname.empty() || !user.empty();
  }
};

// The disk's contents. A usage error for what does not go together.
Result<std::string> make_seed(const Seed& seed);

}  // namespace doppel::image
