// Random numbers for the guest; see entropy_source.h.
#include "device/entropy_source.h"

#include <sys/random.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/check.h"

namespace doppel {

void HostEntropy::fill(std::span<u8> bytes) {
  while (!bytes.empty()) {
    const ssize_t count = ::getrandom(bytes.data(), bytes.size(), 0);
    CHECK(count > 0 || errno == EINTR);
    if (count > 0) bytes = bytes.subspan(static_cast<std::size_t>(count));
  }
}

void SeededEntropy::fill(std::span<u8> bytes) {
  while (!bytes.empty()) {
    u64 word = position_ += 0x9e3779b97f4a7c15;
    word = (word ^ word >> 30) * 0xbf58476d1ce4e5b9;
    word = (word ^ word >> 27) * 0x94d049bb133111eb;
    word ^= word >> 31;
    const std::size_t part = std::min(bytes.size(), sizeof word);
    std::memcpy(bytes.data(), &word, part);
    bytes = bytes.subspan(part);
  }
}

void SeededEntropy::state(state::Archive& archive) {
  archive.begin("entropy", 1);
  archive(position_);
  archive.end();
}

}  // namespace doppel
