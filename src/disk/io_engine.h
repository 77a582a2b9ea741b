// How files are read and written without blocking the caller: io_uring where the host allows it, else threads.
//
// Threads: submit() and cancel() from any thread; completions run on the event loop's thread or inside drain(), never
// inside submit(). One engine serves all images of a machine. Idle, it uses no CPU.
#pragma once

#include <sys/uio.h>

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <string_view>
#include <vector>

#include "base/event_loop.h"
#include "base/fd.h"
#include "base/result.h"
#include "base/types.h"
#include "disk/early_writeback.h"

namespace doppel::disk {

struct IoRequest {
  // begin_writeback: what lies there in the page cache is sent on its way to the medium; nothing is promised.
  enum class Kind : u8 { nothing, read, write, sync_data, allocate, begin_writeback };
  Kind kind = Kind::nothing;
  int fd = -1;
  u64 offset = 0;
  std::span<const iovec> buffers;       // read, write: valid until completion
  u64 bytes = 0;                        // allocate, begin_writeback
  int mode = 0;                         // allocate: FALLOC_FL_…
  bool cached = false;                  // write: of a disk's data through the page cache, see early_writeback.h
  std::function<void(int error)> done;  // 0 or errno. A read past the file's end fails with EIO
};

class IoEngine {
 public:
  enum class Kind { automatic, io_uring, threads, immediate };

  // `automatic`: io_uring if a request really goes through it here, else threads. `immediate` performs requests inside
  // submit(), one after another, so that their order is that of submission: for machines that must be deterministic.
  // Before the loop runs, or on its thread; destroyed likewise, drained.
  static Result<std::unique_ptr<IoEngine>> create(EventLoop& loop, Kind kind = Kind::automatic);
  virtual ~IoEngine();
  IoEngine(const IoEngine&) = delete;
  IoEngine& operator=(const IoEngine&) = delete;

  virtual std::string_view name() const = 0;

  void submit(IoRequest request);
  // A transfer through the page cache within the call, on the caller's thread: true, and all of it is done. A read never
  // waits for the medium. A write of whole pages does so rarely: after one that took long, they are refused for a while.
  // False: submit() is the way; of a write, a part may have been done. `done` is not called.
  virtual bool transfer_at_once(const IoRequest& request);
  // Completes with `error` (0: success) as a request does, without doing anything.
  void complete(int error, std::function<void(int error)> done);
  // Returns when nothing is under way and no completion is running. Not from a completion.
  void drain();
  void cancel();

 protected:
  // A request under way: its buffers are consumed from the front as pieces complete.
  struct Operation {
    IoRequest request;
    std::vector<iovec> left;  // read, write: what is still to do, starting at request.offset
    int error = 0;
  };
  using OperationPtr = std::unique_ptr<Operation>;

  explicit IoEngine(EventLoop& loop) : loop_(loop) {}

  // With no lock held. start() takes ownership until the operation comes back from reap().
  virtual void start(OperationPtr operation) = 0;
  virtual void reap(std::vector<OperationPtr>& finished) = 0;  // does not block; any thread
  virtual void wait(int timeout_ms) = 0;                       // until reap() may find something
  virtual void cancel_waiting(std::vector<OperationPtr>& cancelled) = 0;

  // Performs one step with ordinary system calls: the number of bytes, or -errno.
  static i64 perform(const Operation& operation);
  // Takes note of a step's result. True when the operation is finished, with its error set.
  static bool advance(Operation& operation, i64 result);

  void run_finished();                          // reaps and runs completions
  void note_written(const IoRequest& request);  // as it was submitted

  EventLoop& loop_;

 private:
  bool write_at_once(const IoRequest& request);

  EarlyWriteback early_writeback_;
  std::atomic<i64> writes_wait_until_ = 0;  // of the steady clock, in nanoseconds: until then no write is done at once
  std::mutex mutex_;                        // guards under_way_
  std::condition_variable idle_;
  u64 under_way_ = 0;  // submitted, and completion not yet returned
};

Result<std::unique_ptr<IoEngine>> make_thread_engine(EventLoop& loop);
Result<std::unique_ptr<IoEngine>> make_uring_engine(EventLoop& loop);  // fails where io_uring is missing or forbidden
std::unique_ptr<IoEngine> make_immediate_engine(EventLoop& loop);

}  // namespace doppel::disk
