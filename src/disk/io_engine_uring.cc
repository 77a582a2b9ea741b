// The I/O engine on io_uring. The ring's file descriptor is readable while completions wait, which is what the event loop
// and drain() look at. Requests beyond the ring's size wait in a queue of our own, so that completions never overflow.
#include <fcntl.h>
#include <liburing.h>
#include <poll.h>
#include <sys/epoll.h>

#include <algorithm>
#include <array>
#include <climits>

#include "base/check.h"
#include "disk/io_engine.h"

namespace doppel::disk {

namespace {

constexpr unsigned ring_entries = 128;
constexpr std::array needed_operations = {IORING_OP_NOP,   IORING_OP_READV,     IORING_OP_WRITEV,
                                          IORING_OP_FSYNC, IORING_OP_FALLOCATE, IORING_OP_SYNC_FILE_RANGE};

class UringEngine final : public IoEngine {
 public:
  explicit UringEngine(EventLoop& loop) : IoEngine(loop) {}

  ~UringEngine() override {
    *alive_ = false;
    if (!open_) return;
    if (watched_) loop_.unwatch(ring_.ring_fd);
    io_uring_queue_exit(&ring_);
  }

  Result<> open() {
    const int result = io_uring_queue_init(ring_entries, &ring_, 0);
    if (result < 0) return fail_errno("io_uring is not available", -result);
    open_ = true;
    TRY(probe());
    TRY(loop_.watch(ring_.ring_fd, EPOLLIN, [this](u32) { run_finished(); }));
    watched_ = true;
    return {};
  }

  std::string_view name() const override { return "io_uring"; }

 protected:
  void start(OperationPtr operation) override {
    const std::lock_guard lock(ring_mutex_);
    waiting_.push_back(std::move(operation));
    fill();
  }

  void reap(std::vector<OperationPtr>& finished) override {
    const std::lock_guard lock(ring_mutex_);
    io_uring_cqe* completion = nullptr;
    while (io_uring_peek_cqe(&ring_, &completion) == 0) {
      OperationPtr operation(static_cast<Operation*>(io_uring_cqe_get_data(completion)));
      const i64 result = completion->res;
      io_uring_cqe_seen(&ring_, completion);
      --in_ring_;
      if (advance(*operation, result)) {
        finished.push_back(std::move(operation));
      } else {
        waiting_.push_front(std::move(operation));
      }
    }
    fill();
  }

  void wait(int timeout_ms) override {
    pollfd poll{.fd = ring_.ring_fd, .events = POLLIN, .revents = 0};
    ::poll(&poll, 1, timeout_ms);
  }

  void cancel_waiting(std::vector<OperationPtr>& cancelled) override {
    const std::lock_guard lock(ring_mutex_);
    for (auto& operation : waiting_) cancelled.push_back(std::move(operation));
    waiting_.clear();
  }

 private:
  // A sandbox may let the ring be created and forbid its use, so one request goes through it.
  Result<> probe() {
    io_uring_probe* probe = io_uring_get_probe_ring(&ring_);
    if (probe == nullptr) return fail("io_uring cannot be probed");
    const bool all = std::ranges::all_of(needed_operations,
                                         [&](int op) { return io_uring_opcode_supported(probe, op) != 0; });
    io_uring_free_probe(probe);
    if (!all) return fail("io_uring lacks operations");
    io_uring_prep_nop(io_uring_get_sqe(&ring_));
    io_uring_cqe* completion = nullptr;
    if (const int result = io_uring_submit_and_wait(&ring_, 1); result < 0)
      return fail_errno("io_uring does not work", -result);
    if (io_uring_peek_cqe(&ring_, &completion) != 0) return fail("io_uring does not complete");
    io_uring_cqe_seen(&ring_, completion);
    return {};
  }

  // Locked. The kernel may refuse for want of memory: then what is prepared goes with the next attempt.
  void fill() {
    while (!waiting_.empty() && in_ring_ < ring_entries) {
      io_uring_sqe* entry = io_uring_get_sqe(&ring_);
      if (entry == nullptr) break;
      OperationPtr operation = std::move(waiting_.front());
      waiting_.pop_front();
      prepare(*entry, *operation);
      io_uring_sqe_set_data(entry, operation.release());
      ++in_ring_;
    }
    if (io_uring_sq_ready(&ring_) == 0) return;
    int result = 0;
    do {
      result = io_uring_submit(&ring_);
    } while (result == -EINTR);
    if (result >= 0) return;
    loop_.post([this, alive = alive_] {
      if (!*alive) return;
      const std::lock_guard lock(ring_mutex_);
      fill();
    });
  }

  static void prepare(io_uring_sqe& entry, const Operation& operation) {
    const IoRequest& request = operation.request;
    const unsigned count = static_cast<unsigned>(std::min<std::size_t>(operation.left.size(), IOV_MAX));
    switch (request.kind) {
      case IoRequest::Kind::nothing: return io_uring_prep_nop(&entry);
      case IoRequest::Kind::read:
        return io_uring_prep_readv(&entry, request.fd, operation.left.data(), count, request.offset);
      case IoRequest::Kind::write:
        return io_uring_prep_writev(&entry, request.fd, operation.left.data(), count, request.offset);
      case IoRequest::Kind::sync_data: return io_uring_prep_fsync(&entry, request.fd, IORING_FSYNC_DATASYNC);
      case IoRequest::Kind::allocate:
        return io_uring_prep_fallocate(&entry, request.fd, request.mode, static_cast<off_t>(request.offset),
                                       static_cast<off_t>(request.bytes));
      // See IoEngine::perform(). A length of 32 bits is enough for what EarlyWriteback gives.
      case IoRequest::Kind::begin_writeback:
        return io_uring_prep_sync_file_range(&entry, request.fd, static_cast<unsigned>(request.bytes), request.offset,
                                             SYNC_FILE_RANGE_WRITE);
    }
  }

  io_uring ring_{};
  bool open_ = false, watched_ = false;
  const std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);  // looked at on the loop's thread, or without one
  std::mutex ring_mutex_;                                             // guards both ends of the ring and what follows
  std::deque<OperationPtr> waiting_;
  unsigned in_ring_ = 0;
};

}  // namespace

Result<std::unique_ptr<IoEngine>> make_uring_engine(EventLoop& loop) {
  auto engine = std::make_unique<UringEngine>(loop);
  TRY(engine->open());
  return engine;
}

}  // namespace doppel::disk
