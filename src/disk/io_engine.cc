// What all I/O engines share: counting requests, finishing partial transfers, draining. And the immediate engine.
#include "disk/io_engine.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <climits>

#include "base/log.h"
#include "disk/buffers.h"

namespace doppel::disk {

namespace {

// Performs everything inside submit(); completions wait for the loop or for drain().
class ImmediateEngine final : public IoEngine {
 public:
  explicit ImmediateEngine(EventLoop& loop) : IoEngine(loop) {}
  ~ImmediateEngine() override { *alive_ = false; }

  std::string_view name() const override { return "immediate"; }
  bool transfer_at_once(const IoRequest&) override { return false; }

 protected:
  void start(OperationPtr operation) override {
    while (!advance(*operation, perform(*operation))) {
    }
    const std::lock_guard lock(mutex_);
    finished_.push_back(std::move(operation));
    if (finished_.size() > 1) return;
    loop_.post([this, alive = alive_] {
      if (*alive) run_finished();
    });
  }
  void reap(std::vector<OperationPtr>& finished) override {
    const std::lock_guard lock(mutex_);
    finished.swap(finished_);
  }
  void wait(int) override {}
  void cancel_waiting(std::vector<OperationPtr>&) override {}

 private:
  const std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);  // looked at on the loop's thread, or without one
  std::mutex mutex_;                                                  // guards finished_
  std::vector<OperationPtr> finished_;
};

constexpr u64 host_page = 4096;

// A host that throttles its writers holds each of them for up to 200 ms. Refusing for ten times as long as that took, such
// waits take no more than a tenth of the caller's time.
constexpr i64 long_write_ns = 2'000'000, pause_per_long_write = 10;

i64 steady_now() {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::nanoseconds>(now).count();
}

int retried(auto call) {
  int result = 0;
  do {
    result = call();
  } while (result < 0 && errno == EINTR);
  return result < 0 ? -errno : result;
}

}  // namespace

IoEngine::~IoEngine() = default;

std::unique_ptr<IoEngine> make_immediate_engine(EventLoop& loop) { return std::make_unique<ImmediateEngine>(loop); }

Result<std::unique_ptr<IoEngine>> IoEngine::create(EventLoop& loop, Kind kind) {
  switch (kind) {
    case Kind::immediate: return make_immediate_engine(loop);
    case Kind::threads: return make_thread_engine(loop);
    case Kind::io_uring: return make_uring_engine(loop);
    case Kind::automatic: break;
  }
  auto uring = make_uring_engine(loop);
  if (uring) return uring;
  log::info("disks are served by threads: {}", uring.error().message);
  return make_thread_engine(loop);
}

void IoEngine::complete(int error, std::function<void(int error)> done) {
  submit({.kind = IoRequest::Kind::nothing,
          .done = [error, done = std::move(done)](int failed) { done(failed != 0 ? failed : error); }});
}

void IoEngine::submit(IoRequest request) {
  {
    const std::lock_guard lock(mutex_);
    ++under_way_;
  }
  auto operation = std::make_unique<Operation>();
  for (const iovec& buffer : request.buffers) {
    if (buffer.iov_len != 0) operation->left.push_back(buffer);
  }
  operation->request = std::move(request);
  start(std::move(operation));
}

bool IoEngine::transfer_at_once(const IoRequest& request) {
  if (request.buffers.size() > IOV_MAX) return false;
  if (request.kind == IoRequest::Kind::write) return write_at_once(request);
  if (request.kind != IoRequest::Kind::read) return false;
  const ssize_t got = ::preadv2(request.fd, request.buffers.data(), static_cast<int>(request.buffers.size()),
                                static_cast<off_t>(request.offset), RWF_NOWAIT);
  return got >= 0 && static_cast<u64>(got) == total_bytes(request.buffers);
}

// Pages that are written in part may have to be read first, so such writes are left to submit(). RWF_NOWAIT is of no use: common
// file systems refuse it for writes through the cache.
bool IoEngine::write_at_once(const IoRequest& request) {
  const u64 bytes = total_bytes(request.buffers);
  const i64 began = steady_now();
  if ((request.offset | bytes) % host_page != 0 || began < writes_wait_until_) return false;
  const ssize_t put = ::pwritev(request.fd, request.buffers.data(), static_cast<int>(request.buffers.size()),
                                static_cast<off_t>(request.offset));
  const i64 ended = steady_now();
  if (ended - began > long_write_ns) writes_wait_until_ = ended + pause_per_long_write * (ended - began);
  if (put < 0 || static_cast<u64>(put) != bytes) return false;
  note_written(request);
  return true;
}

// The guest's flush then finds most of a long write on the medium, and the medium was at work while the guest was.
void IoEngine::note_written(const IoRequest& request) {
  if (!request.cached) return;
  for (const u64 stretch : early_writeback_.wrote(request.fd, request.offset, total_bytes(request.buffers))) {
    submit({.kind = IoRequest::Kind::begin_writeback,
            .fd = request.fd,
            .offset = stretch,
            .bytes = EarlyWriteback::stretch_bytes});
  }
}

void IoEngine::run_finished() {
  std::vector<OperationPtr> finished;
  reap(finished);
  for (auto& operation : finished) {
    IoRequest& request = operation->request;
    if (request.kind == IoRequest::Kind::write && operation->error == 0) {
      request.offset -= total_bytes(request.buffers);  // it went on to the end
      note_written(request);
    }
    if (request.done) request.done(operation->error);
    operation.reset();
    const std::lock_guard lock(mutex_);
    if (--under_way_ == 0) idle_.notify_all();
  }
}

// The loop's thread may be reaping at the same time, or may not be running at all: so this reaps, and waits for both.
void IoEngine::drain() {
  for (;;) {
    run_finished();
    {
      std::unique_lock lock(mutex_);
      if (under_way_ == 0) return;
      // Completions of another thread may be running. Theirs is the notification; new events are noticed below.
      if (idle_.wait_for(lock, std::chrono::microseconds(100), [this] { return under_way_ == 0; })) return;
    }
    wait(10);
  }
}

void IoEngine::cancel() {
  std::vector<OperationPtr> cancelled;
  cancel_waiting(cancelled);
  // Sent round once more as nothing: completions never run inside a call of the submitter.
  for (auto& operation : cancelled) {
    operation->request.kind = IoRequest::Kind::nothing;
    operation->error = ECANCELED;
    start(std::move(operation));
  }
}

i64 IoEngine::perform(const Operation& operation) {
  const IoRequest& request = operation.request;
  const int count = static_cast<int>(std::min<std::size_t>(operation.left.size(), IOV_MAX));
  const off_t offset = static_cast<off_t>(request.offset);
  switch (request.kind) {
    case IoRequest::Kind::nothing: return 0;
    case IoRequest::Kind::sync_data: return retried([&] { return ::fdatasync(request.fd); });
    case IoRequest::Kind::allocate:
      return retried([&] { return ::fallocate(request.fd, request.mode, offset, static_cast<off_t>(request.bytes)); });
    // No flag that waits: such a call would be told of write errors, and the next flush would not.
    case IoRequest::Kind::begin_writeback:
      return retried([&] {
        return ::sync_file_range(request.fd, offset, static_cast<off_t>(request.bytes), SYNC_FILE_RANGE_WRITE);
      });
    case IoRequest::Kind::read:
    case IoRequest::Kind::write: break;
  }
  ssize_t result = 0;
  do {
    result = request.kind == IoRequest::Kind::read ? ::preadv(request.fd, operation.left.data(), count, offset)
                                                   : ::pwritev(request.fd, operation.left.data(), count, offset);
  } while (result < 0 && errno == EINTR);
  return result < 0 ? -errno : result;
}

bool IoEngine::advance(Operation& operation, i64 result) {
  if (operation.error != 0) return true;  // cancelled before it was started
  const bool transfer = operation.request.kind == IoRequest::Kind::read ||
                        operation.request.kind == IoRequest::Kind::write;
  if (result == -EINTR || result == -EAGAIN) return false;
  if (result < 0) {
    operation.error = static_cast<int>(-result);
    return true;
  }
  if (!transfer) return true;
  if (result == 0 && !operation.left.empty()) {
    operation.error = EIO;  // the file is shorter than it was
    return true;
  }
  operation.request.offset += static_cast<u64>(result);
  auto done = static_cast<std::size_t>(result);
  auto first = operation.left.begin();
  while (first != operation.left.end() && done >= first->iov_len) done -= (first++)->iov_len;
  operation.left.erase(operation.left.begin(), first);
  if (done != 0 && !operation.left.empty()) {
    operation.left.front().iov_base = static_cast<u8*>(operation.left.front().iov_base) + done;
    operation.left.front().iov_len -= done;
  }
  return operation.left.empty();
}

}  // namespace doppel::disk
