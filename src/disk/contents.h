// A read-only disk whose contents lie in memory: for small disks that are made, not kept, such as cloud-init's seed.
#pragma once

#include <string>

#include "disk/block_image.h"
#include "disk/io_engine.h"

namespace doppel::disk {

class Contents final : public BlockImage {
 public:
  // `name` stands where others have a path. Filled up to whole sectors.
  Contents(std::string name, std::string bytes, IoEngine& engine);

  const std::string& path() const override { return name_; }
  u64 size_bytes() const override { return bytes_.size(); }
  bool read_only() const override { return true; }
  u32 preferred_bytes() const override { return 2048; }
  void read(u64 offset, std::span<const iovec> buffers, Completion done) override;
  void write(u64 offset, std::span<const iovec> buffers, Completion done) override;
  void flush(Completion done) override;
  void discard(u64 offset, u64 bytes, Completion done) override;
  void write_zeroes(u64 offset, u64 bytes, bool may_unmap, Completion done) override;
  void resize(u64 bytes, Completion done) override;
  void drain() override { engine_.drain(); }
  void cancel() override { engine_.cancel(); }
  void state(state::Archive& archive) override;

 private:
  const std::string name_;
  std::string bytes_;
  IoEngine& engine_;
};

}  // namespace doppel::disk
