// Keeps two machines from writing one disk. A writer excludes everyone, readers share; also towards other programs:
// flock(2) for those that use it, and the byte locks of QEMU's image locking, so that a disk in use by it is refused and
// the other way round. The locks belong to the open file and vanish with it, also when the process is killed.
#pragma once

#include <string>

#include "base/result.h"

namespace doppel::disk {

// Locks the open file for writing or only for reading. An error that names the path when somebody else holds it.
Result<> lock_image(int fd, const std::string& path, bool for_writing);

}  // namespace doppel::disk
