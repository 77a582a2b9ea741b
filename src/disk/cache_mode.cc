// See cache_mode.h.
#include "disk/cache_mode.h"

#include <fmt/format.h>

#include <array>
#include <utility>

namespace doppel::disk {

namespace {

constexpr std::array<std::pair<std::string_view, CacheMode>, 5> names{{
    {"writeback", CacheMode::writeback},
    {"writethrough", CacheMode::writethrough},
    {"none", CacheMode::none},
    {"directsync", CacheMode::directsync},
    {"unsafe", CacheMode::unsafe},
}};

// Passes everything on, but for what the two modes below change.
class Passing : public BlockImage {
 public:
  explicit Passing(std::unique_ptr<BlockImage> image) : image_(std::move(image)) {}

  const std::string& path() const override { return image_->path(); }
  u64 size_bytes() const override { return image_->size_bytes(); }
  bool read_only() const override { return image_->read_only(); }
  u32 preferred_bytes() const override { return image_->preferred_bytes(); }
  void read(u64 offset, std::span<const iovec> buffers, Completion done) override {
    image_->read(offset, buffers, std::move(done));
  }
  void write(u64 offset, std::span<const iovec> buffers, Completion done) override {
    image_->write(offset, buffers, std::move(done));
  }
  bool read_at_once(u64 offset, std::span<const iovec> buffers) override {
    return image_->read_at_once(offset, buffers);
  }
  bool write_at_once(u64 offset, std::span<const iovec> buffers) override {
    return image_->write_at_once(offset, buffers);
  }
  void flush(Completion done) override { image_->flush(std::move(done)); }
  void discard(u64 offset, u64 bytes, Completion done) override { image_->discard(offset, bytes, std::move(done)); }
  void write_zeroes(u64 offset, u64 bytes, bool may_unmap, Completion done) override {
    image_->write_zeroes(offset, bytes, may_unmap, std::move(done));
  }
  void resize(u64 bytes, Completion done) override { image_->resize(bytes, std::move(done)); }
  void drain() override { image_->drain(); }
  void cancel() override { image_->cancel(); }
  void state(state::Archive& archive) override { image_->state(archive); }

 protected:
  const std::unique_ptr<BlockImage> image_;
};

class WriteThrough final : public Passing {
 public:
  using Passing::Passing;
  void write(u64 offset, std::span<const iovec> buffers, Completion done) override {
    image_->write(offset, buffers, then_flush(std::move(done)));
  }
  bool write_at_once(u64, std::span<const iovec>) override { return false; }  // the flush waits for the medium
  void discard(u64 offset, u64 bytes, Completion done) override {
    image_->discard(offset, bytes, then_flush(std::move(done)));
  }
  void write_zeroes(u64 offset, u64 bytes, bool may_unmap, Completion done) override {
    image_->write_zeroes(offset, bytes, may_unmap, then_flush(std::move(done)));
  }

 private:
  Completion then_flush(Completion done) {
    return [this, done = std::move(done)](int error) mutable {
      if (error != 0) return done(error);
      image_->flush(std::move(done));
    };
  }
};

class Unsafe final : public Passing {
 public:
  Unsafe(std::unique_ptr<BlockImage> image, IoEngine& engine) : Passing(std::move(image)), engine_(engine) {}
  void flush(Completion done) override { engine_.complete(0, std::move(done)); }

 private:
  IoEngine& engine_;
};

}  // namespace

Result<CacheMode> parse_cache_mode(std::string_view text) {
  for (const auto& [name, mode] : names) {
    if (name == text) return mode;
  }
  return usage_error(
      fmt::format("unknown cache mode '{}': use writeback, writethrough, none, directsync or unsafe", text));
}

std::unique_ptr<BlockImage> with_cache_mode(std::unique_ptr<BlockImage> image, CacheMode mode, IoEngine& engine) {
  if (image->read_only()) return image;
  switch (mode) {
    case CacheMode::writethrough:
    case CacheMode::directsync: return std::make_unique<WriteThrough>(std::move(image));
    case CacheMode::unsafe: return std::make_unique<Unsafe>(std::move(image), engine);
    default: return image;
  }
}

}  // namespace doppel::disk
