// A folder of the host that nothing leads out of. Every step from one file to the next is one name, opened relative to a
// descriptor (openat2, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS); symbolic links are opened themselves
// and never followed. Contents are reached by opening a descriptor's own inode again, which resolves no path at all.
//
// Functions that give a descriptor give an empty one and set errno when they fail.
#pragma once

#include <string>
#include <string_view>

#include "base/fd.h"
#include "base/result.h"

namespace doppel::p9 {

class HostFolder {
 public:
  static Result<HostFolder> open(const std::string& path);

  int root() const { return root_.get(); }

  // O_PATH descriptors.
  Fd child(int folder, const std::string& name) const;
  Fd descend(std::string_view path) const;  // names with slashes between, from the root; empty: the root
  Fd again(int inode) const;                // another descriptor of the same inode

  // Opens the inode that an O_PATH descriptor stands for; regular files and folders only (else ENXIO, ELOOP for links).
  Fd reopen(int inode, int flags) const;
  // Makes a regular file, which must not exist.
  Fd create(int folder, const std::string& name, int flags, unsigned mode) const;

  // For calls that take no descriptor but a path: /proc/self/fd as a descriptor, and the name of one in it.
  int descriptors() const { return descriptors_.get(); }

 private:
  HostFolder(Fd root, Fd descriptors) : root_(std::move(root)), descriptors_(std::move(descriptors)) {}
  Fd root_, descriptors_;
};

// One name: neither empty nor "." nor "..", no slash, no zero byte, at most 255 bytes.
bool is_name(std::string_view name);

}  // namespace doppel::p9
