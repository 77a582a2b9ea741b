// An I/O engine that performs requests at once and keeps what was written in which order: for tests of what a crash leaves.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <vector>

#include "disk/io_engine.h"

namespace doppel::testing {

class RecordingEngine final : public disk::IoEngine {
 public:
  struct Event {
    std::string file;
    bool sync = false;  // all before is on the medium; else a write
    u64 offset = 0;
    std::vector<u8> bytes{};  // a hole that was punched: zeroes
    bool direct = false;      // by a descriptor with O_DIRECT
  };

  explicit RecordingEngine(EventLoop& loop) : IoEngine(loop) {}
  std::string_view name() const override { return "recording"; }
  bool transfer_at_once(const disk::IoRequest& request) override {
    if (fail_one_in != 0) return false;
    if (request.kind != disk::IoRequest::Kind::write) return IoEngine::transfer_at_once(request);
    // Not by the real engine, which refuses when the host was slow.
    record(request);
    Operation operation{.request = request, .left = {request.buffers.begin(), request.buffers.end()}};
    while (!advance(operation, perform(operation))) {
    }
    if (operation.error == 0) note_written(request);
    return operation.error == 0;
  }
  std::vector<Event> events;
  std::vector<u64> early;    // where stretches begin whose writeback began; they promise nothing and are no events
  unsigned fail_one_in = 0;  // 0: none fails

 protected:
  void start(OperationPtr operation) override {
    if (fail_one_in != 0 && operation->request.kind != disk::IoRequest::Kind::nothing && random_() % fail_one_in == 0) {
      operation->error = EIO;
    } else {
      record(operation->request);
      while (!advance(*operation, perform(*operation))) {
      }
    }
    const std::lock_guard lock(mutex_);
    finished_.push_back(std::move(operation));
  }
  void reap(std::vector<OperationPtr>& finished) override {
    const std::lock_guard lock(mutex_);
    finished.swap(finished_);
  }
  void wait(int) override {}
  void cancel_waiting(std::vector<OperationPtr>&) override {}

 private:
  void record(const disk::IoRequest& request) {
    using enum disk::IoRequest::Kind;
    if (request.kind == begin_writeback) early.push_back(request.offset);
    if (request.kind == nothing || request.kind == read || request.kind == begin_writeback) return;
    std::array<char, 4096> target{};
    const std::string link = "/proc/self/fd/" + std::to_string(request.fd);
    const ssize_t length = ::readlink(link.c_str(), target.data(), target.size());
    Event event{.file = std::string(target.data(), static_cast<std::size_t>(std::max<ssize_t>(length, 0))),
                .sync = request.kind == sync_data,
                .offset = request.offset,
                .direct = (::fcntl(request.fd, F_GETFL) & O_DIRECT) != 0};
    if (request.kind == allocate) event.bytes.resize(request.bytes);
    for (const iovec& buffer : request.buffers) {
      const u8* bytes = static_cast<const u8*>(buffer.iov_base);
      event.bytes.insert(event.bytes.end(), bytes, bytes + buffer.iov_len);
    }
    events.push_back(std::move(event));
  }

  std::mt19937 random_;
  std::mutex mutex_;
  std::vector<OperationPtr> finished_;
};

// What a crash after the first `cut` events leaves of a file that was `bytes` before: everything that was synced; of the
// rest all (a killed process), or, `reordered`, any part of it in units of sectors (a power cut). The sector with the
// header is written as a whole.
inline std::vector<u8> after_crash(std::vector<u8> bytes, const std::string& file,
                                   const std::vector<RecordingEngine::Event>& events, std::size_t cut, bool reordered,
                                   std::mt19937& random) {
  std::size_t synced = 0;
  for (std::size_t i = 0; i < cut; ++i) {
    if (events[i].file == file && events[i].sync) synced = i;
  }
  const unsigned whole_writes = random() % 2;
  for (std::size_t i = 0; i < cut; ++i) {
    const auto& event = events[i];
    if (event.file != file || event.sync) continue;
    const bool chosen = reordered && i > synced;
    if (chosen && whole_writes != 0 && random() % 2 == 0) continue;
    constexpr u64 sector = 512;
    for (u64 at = 0; at < event.bytes.size();) {
      const u64 piece = std::min<u64>(sector - (event.offset + at) % sector, event.bytes.size() - at);
      if (!chosen || whole_writes != 0 || random() % 2 == 0) {
        if (bytes.size() < event.offset + at + piece) bytes.resize(event.offset + at + piece);
        std::copy_n(event.bytes.begin() + static_cast<i64>(at), piece,
                    bytes.begin() + static_cast<i64>(event.offset + at));
      }
      at += piece;
    }
  }
  return bytes;
}

}  // namespace doppel::testing
