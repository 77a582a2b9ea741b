// The file beneath an image format: opened, locked, its length known. Reads beyond its end give zeroes.
#pragma once

#include <string>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "disk/io_engine.h"
#include "disk/task.h"

namespace doppel::disk {

// Opens and locks a disk image's file or block device. Errors are for the user: missing, a folder, not permitted, in use.
Result<Fd> open_image_file(const std::string& path, bool read_only);
// Of a file or a block device.
Result<u64> image_file_bytes(int fd, const std::string& path);

// A second way to an open file that leaves out the host's page cache, for requests that are aligned.
class DirectPath {
 public:
  // An error where the host's file system has no such thing.
  Result<> open(int fd, const std::string& path, bool read_only);
  // The descriptor for a request that ends at most at `end`: this one's, or `other`.
  int choose(int other, u64 offset, std::span<const iovec> buffers, u64 end) const;

 private:
  Fd fd_;
};

// Performs one request to its end: 0 or errno. Only while nobody else waits for the engine.
int perform_now(IoEngine& engine, IoRequest request);

constexpr int punch_hole = 3;   // FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE
bool not_supported(int error);  // by the host's file system

class HostFile {
 public:
  static Result<HostFile> open(const std::string& path, bool read_only, IoEngine& engine);

  const std::string& path() const { return path_; }
  // For a request of data.
  int fd_for(u64 offset, std::span<const iovec> buffers) const {
    return direct_.choose(fd_.get(), offset, buffers, end_);
  }
  bool is_cached(int fd) const { return fd == fd_.get(); }  // what fd_for() gave leads through the page cache
  Result<> use_direct(bool read_only) { return direct_.open(fd_.get(), path_, read_only); }
  u64 end() const { return end_; }
  // What was written reaches to here.
  void reached(u64 offset) { end_ = std::max(end_, offset); }

  // For steps of a Strand.
  Task read(Strand& strand, u64 offset, std::span<const iovec> buffers) const;
  Task write(Strand& strand, u64 offset, std::span<const iovec> buffers);
  Task write_zeroes(Strand& strand, u64 offset, u64 bytes);
  Task sync(Strand& strand) const;
  Task punch(Strand& strand, u64 offset, u64 bytes) const;  // best effort

  // For an image that nobody uses meanwhile.
  Result<> read_now(u64 offset, std::span<u8> bytes) const;
  Result<> write_now(u64 offset, std::span<const u8> bytes);
  Result<> sync_now() const;
  void punch_now(u64 offset, u64 bytes) const;
  Result<> truncate(u64 bytes);

 private:
  HostFile(std::string path, Fd fd, u64 end, IoEngine& engine)
      : path_(std::move(path)), fd_(std::move(fd)), end_(end), engine_(&engine) {}

  std::string path_;
  Fd fd_;
  DirectPath direct_;
  u64 end_;
  IoEngine* engine_;
};

}  // namespace doppel::disk
