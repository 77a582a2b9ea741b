// A raw image: the bytes of the disk are the bytes of a file (which may be sparse) or of a block device.
#pragma once

#include <atomic>
#include <memory>
#include <string>

#include "base/fd.h"
#include "base/result.h"
#include "disk/block_image.h"
#include "disk/host_file.h"
#include "disk/io_engine.h"

namespace doppel::disk {

class RawImage final : public BlockImage {
 public:
  // Opens and locks `path`. Errors name the path and say what to do: missing, a folder, not permitted, in use, empty, a
  // size that is not a multiple of 512. The engine must outlive the image.
  static Result<std::unique_ptr<RawImage>> open(const std::string& path, bool read_only, IoEngine& engine);

  Result<> use_direct() { return direct_.open(fd_.get(), path_, read_only_); }

  const std::string& path() const override { return path_; }
  u64 size_bytes() const override { return size_bytes_; }
  bool read_only() const override { return read_only_; }
  u32 preferred_bytes() const override { return preferred_bytes_; }

  void read(u64 offset, std::span<const iovec> buffers, Completion done) override;
  void write(u64 offset, std::span<const iovec> buffers, Completion done) override;
  bool read_at_once(u64 offset, std::span<const iovec> buffers) override;
  bool write_at_once(u64 offset, std::span<const iovec> buffers) override;
  void flush(Completion done) override;
  void discard(u64 offset, u64 bytes, Completion done) override;
  void write_zeroes(u64 offset, u64 bytes, bool may_unmap, Completion done) override;
  void resize(u64 bytes, Completion done) override;
  // How many bytes from `offset` on, at most `most`, are data, or a hole.
  struct Stretch {
    u64 bytes;
    bool hole;
  };
  Stretch run_at(u64 offset, u64 most) const;
  void drain() override { engine_.drain(); }
  void cancel() override { engine_.cancel(); }
  void state(state::Archive& archive) override;

 private:
  RawImage(std::string path, bool read_only, IoEngine& engine)
      : path_(std::move(path)), read_only_(read_only), engine_(engine) {}

  bool transfer_at_once(IoRequest::Kind kind, u64 offset, std::span<const iovec> buffers);
  void zero_by_writing(u64 offset, u64 bytes, Completion done);

  const std::string path_;
  const bool read_only_;
  IoEngine& engine_;
  Fd fd_;
  DirectPath direct_;
  std::atomic<u64> size_bytes_ = 0;
  u32 preferred_bytes_ = 4096;
};

// Whether [offset, offset + bytes) lies in a disk of `size_bytes` and is aligned to sectors: 0 or EINVAL.
int check_range(u64 offset, u64 bytes, u64 size_bytes);

}  // namespace doppel::disk
