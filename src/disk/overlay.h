// A disk whose writes vanish: they go to an unlinked temporary file, and the image beneath is only read. Which sectors were
// written is a bitmap in memory, one bit per 512 bytes, allocated where it is touched.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "disk/block_image.h"
#include "disk/io_engine.h"

namespace doppel::disk {

class Overlay final : public BlockImage {
 public:
  // The file is made in $TMPDIR, or /var/tmp; the engine must outlive the overlay.
  static Result<std::unique_ptr<Overlay>> create(std::unique_ptr<BlockImage> base, IoEngine& engine);
  ~Overlay() override;

  const std::string& path() const override { return base_->path(); }
  u64 size_bytes() const override { return base_->size_bytes(); }
  bool read_only() const override { return false; }
  u32 preferred_bytes() const override { return base_->preferred_bytes(); }

  void read(u64 offset, std::span<const iovec> buffers, Completion done) override;
  void write(u64 offset, std::span<const iovec> buffers, Completion done) override;
  void flush(Completion done) override;
  void discard(u64 offset, u64 bytes, Completion done) override;
  void write_zeroes(u64 offset, u64 bytes, bool may_unmap, Completion done) override;
  void resize(u64 bytes, Completion done) override;  // refused: EOPNOTSUPP
  void drain() override;
  void cancel() override;
  // Holds the contents of all written sectors.
  void state(state::Archive& archive) override;

 private:
  Overlay(std::unique_ptr<BlockImage> base, IoEngine& engine) : base_(std::move(base)), engine_(engine) {}

  bool written(u64 sector) const { return (bitmap_[sector / 64] >> (sector % 64) & 1) != 0; }
  void mark_written(u64 offset, u64 bytes);
  // The end, at most `end`, of the run of sectors from `sector` that are all in the same place.
  u64 run_end(u64 sector, u64 end) const;
  void save(state::Archive& archive);
  void load(state::Archive& archive);

  std::unique_ptr<BlockImage> base_;
  IoEngine& engine_;
  Fd file_;
  u64 sectors_ = 0;
  mutable std::mutex mutex_;  // guards the bitmap
  u64* bitmap_ = nullptr;
  u64 bitmap_bytes_ = 0;
};

}  // namespace doppel::disk
