// A disk image in memory that notes what is asked of it, and completes when the test says so.
#pragma once

#include <fmt/format.h>

#include <cerrno>
#include <cstring>
#include <deque>
#include <string>
#include <vector>

#include "disk/block_image.h"

namespace doppel::testing {

class MemoryImage final : public disk::BlockImage {
 public:
  explicit MemoryImage(u64 bytes, bool read_only = false) : data(bytes), read_only_(read_only) {}

  std::vector<u8> data;
  std::string log;  // "read 512+1024 flush …"
  int fail_with = 0;
  bool at_once = false;        // transfers may end within the call
  bool at_once_fails = false;  // behind the first buffer
  std::deque<disk::Completion> waiting;

  // Completes the oldest `count` requests, and those that they submit meanwhile if they are among them.
  void complete(std::size_t count) {
    for (; count != 0 && !waiting.empty(); --count) {
      const auto done = std::move(waiting.front());
      waiting.pop_front();
      done(fail_with);
    }
  }

  const std::string& path() const override { return path_; }
  u64 size_bytes() const override { return data.size(); }
  bool read_only() const override { return read_only_; }
  void read(u64 offset, std::span<const iovec> buffers, disk::Completion done) override {
    transfer("read", offset, buffers,
             [&](const iovec& buffer, u64 at) { std::memcpy(buffer.iov_base, &data.at(at), buffer.iov_len); });
    waiting.push_back(std::move(done));
  }
  void write(u64 offset, std::span<const iovec> buffers, disk::Completion done) override {
    transfer("write", offset, buffers,
             [&](const iovec& buffer, u64 at) { std::memcpy(&data.at(at), buffer.iov_base, buffer.iov_len); });
    waiting.push_back(std::move(done));
  }
  bool read_at_once(u64 offset, std::span<const iovec> buffers) override {
    if (at_once) read(offset, at_once_fails ? buffers.first(1) : buffers, nullptr), waiting.pop_back();
    return at_once && !at_once_fails;
  }
  bool write_at_once(u64 offset, std::span<const iovec> buffers) override {
    if (at_once) write(offset, buffers, nullptr), waiting.pop_back();
    return at_once;
  }
  void flush(disk::Completion done) override { note("flush ", std::move(done)); }
  void discard(u64 offset, u64 bytes, disk::Completion done) override {
    note(fmt::format("discard {}+{} ", offset, bytes), std::move(done));
  }
  void write_zeroes(u64 offset, u64 bytes, bool may_unmap, disk::Completion done) override {
    note(fmt::format("zero {}+{}{} ", offset, bytes, may_unmap ? "u" : ""), std::move(done));
  }
  void resize(u64 bytes, disk::Completion done) override { note(fmt::format("resize {} ", bytes), std::move(done)); }
  void drain() override { complete(~std::size_t{0}); }
  void cancel() override {}
  void state(state::Archive& archive) override {
    archive.begin("memory-image", 1);
    archive.end();
  }

 private:
  void note(std::string what, disk::Completion done) {
    log += what;
    waiting.push_back(std::move(done));
  }
  void transfer(const char* what, u64 offset, std::span<const iovec> buffers, auto copy) {
    u64 at = offset;
    for (const iovec& buffer : buffers) {
      copy(buffer, at);
      at += buffer.iov_len;
    }
    log += fmt::format("{} {}+{} ", what, offset, at - offset);
  }

  const bool read_only_;
  const std::string path_ = "memory";
};

}  // namespace doppel::testing
