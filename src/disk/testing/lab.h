// What tests of disk formats share: a folder of files, other programs, and images whose requests are waited for.
#pragma once

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/event_loop.h"
#include "disk/block_image.h"
#include "disk/io_engine.h"

namespace doppel::testing {

struct DiskFolder {
  DiskFolder() {
    std::string name = std::filesystem::temp_directory_path() / "doppel-disk-XXXXXX";
    path = ::mkdtemp(name.data());
  }
  DiskFolder(const DiskFolder&) = delete;
  DiskFolder& operator=(const DiskFolder&) = delete;
  ~DiskFolder() { std::filesystem::remove_all(path); }
  std::string operator/(const std::string& name) const { return path / name; }
  std::filesystem::path path;
};

// The exit status and all that it says.
inline std::pair<int, std::string> run_program(const std::string& command) {
  std::string said;
  FILE* pipe = ::popen((command + " 2>&1").c_str(), "r");
  if (pipe == nullptr) return {-1, "cannot run it"};
  std::array<char, 4096> buffer;
  for (std::size_t got; (got = std::fread(buffer.data(), 1, buffer.size(), pipe)) != 0;)
    said.append(buffer.data(), got);
  const int status = ::pclose(pipe);
  return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, said};
}

inline std::string file_bytes(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// Each operation starts a request and runs it to its end: 0 or an errno.
class Waiting {
 public:
  explicit Waiting(disk::BlockImage& image) : image_(image) {}

  int write(u64 offset, std::string_view data) {
    const iovec list{const_cast<char*>(data.data()), data.size()};
    return finish([&](disk::Completion done) { image_.write(offset, {&list, 1}, std::move(done)); });
  }
  int read(u64 offset, std::string& data) {
    const iovec list{data.data(), data.size()};
    return finish([&](disk::Completion done) { image_.read(offset, {&list, 1}, std::move(done)); });
  }
  int flush() {
    return finish([&](disk::Completion done) { image_.flush(std::move(done)); });
  }
  int discard(u64 offset, u64 bytes) {
    return finish([&](disk::Completion done) { image_.discard(offset, bytes, std::move(done)); });
  }
  int zero(u64 offset, u64 bytes, bool unmap) {
    return finish([&](disk::Completion done) { image_.write_zeroes(offset, bytes, unmap, std::move(done)); });
  }
  int resize(u64 bytes) {
    return finish([&](disk::Completion done) { image_.resize(bytes, std::move(done)); });
  }
  // All of it, or what went wrong.
  std::string contents() {
    std::string all(image_.size_bytes(), '?');
    constexpr u64 piece = 1 << 20;
    for (u64 at = 0; at < all.size(); at += piece) {
      const iovec list{all.data() + at, std::min(piece, all.size() - at)};
      const int error = finish([&](disk::Completion done) { image_.read(at, {&list, 1}, std::move(done)); });
      if (error != 0) return fmt::format("error {}", error);
    }
    return all;
  }

 private:
  int finish(const std::function<void(disk::Completion)>& start) {
    int result = -1;
    start([&](int error) { result = error; });
    image_.drain();
    return result;
  }
  disk::BlockImage& image_;
};

}  // namespace doppel::testing
