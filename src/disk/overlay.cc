// The throw-away overlay; see overlay.h.
#include "disk/overlay.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/falloc.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "base/bits.h"
#include "base/units.h"
#include "disk/buffers.h"
#include "disk/raw.h"

namespace doppel::disk {

namespace {

constexpr u64 state_piece = 1 * MiB;

Result<Fd> temporary_file() {
  const char* chosen = std::getenv("TMPDIR");
  const std::string folder = chosen != nullptr && *chosen != 0 ? chosen : "/var/tmp";
  Fd file(::open(folder.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  if (file) return file;
  std::string name = folder + "/doppel-snapshot-XXXXXX";  // file systems without O_TMPFILE
  file = Fd(::mkostemp(name.data(), O_CLOEXEC));
  if (!file)
    return fail_errno(fmt::format(
        "cannot create a temporary file for the disk's writes in '{}' (TMPDIR chooses another folder)", folder));
  ::unlink(name.c_str());
  return file;
}

// One request made of several: done when all are, with the first error.
struct Parts {
  std::atomic<unsigned> left;
  std::atomic<int> error = 0;
  std::vector<std::vector<iovec>> buffers;
  Completion done;

  void finish(int failed) {
    int none = 0;
    if (failed != 0) error.compare_exchange_strong(none, failed);
    if (left.fetch_sub(1) == 1) done(error.load());
  }
};

}  // namespace

Result<std::unique_ptr<Overlay>> Overlay::create(std::unique_ptr<BlockImage> base, IoEngine& engine) {
  std::unique_ptr<Overlay> overlay(new Overlay(std::move(base), engine));
  overlay->file_ = TRY(temporary_file());
  const u64 size = overlay->base_->size_bytes();
  if (::ftruncate(overlay->file_.get(), static_cast<off_t>(size)) != 0)
    return fail_errno("cannot size the temporary file for the disk's writes");
  overlay->sectors_ = size / sector_bytes;
  const u64 bytes = align_up(overlay->sectors_, 64) / 8;
  void* bitmap = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (bitmap == MAP_FAILED) return fail_errno("cannot allocate the map of written sectors");
  overlay->bitmap_ = static_cast<u64*>(bitmap);
  overlay->bitmap_bytes_ = bytes;
  return overlay;
}

Overlay::~Overlay() {
  if (bitmap_ != nullptr) ::munmap(bitmap_, bitmap_bytes_);
}

void Overlay::mark_written(u64 offset, u64 bytes) {
  const std::lock_guard lock(mutex_);
  const u64 end = (offset + bytes) / sector_bytes;
  for (u64 sector = offset / sector_bytes; sector < end;) {
    if (sector % 64 == 0 && end - sector >= 64) {
      bitmap_[sector / 64] = ~u64{0};
      sector += 64;
    } else {
      bitmap_[sector / 64] |= u64{1} << (sector % 64);
      ++sector;
    }
  }
}

u64 Overlay::run_end(u64 sector, u64 end) const {
  const bool here = written(sector);
  const u64 same = here ? ~u64{0} : 0;
  while (++sector < end) {
    if (sector % 64 == 0 && end - sector >= 64 && bitmap_[sector / 64] == same) {
      sector += 63;
    } else if (written(sector) != here) {
      break;
    }
  }
  return std::min(sector, end);
}

void Overlay::read(u64 offset, std::span<const iovec> buffers, Completion done) {
  const u64 bytes = total_bytes(buffers);
  if (const int error = check_range(offset, bytes, size_bytes())) return engine_.complete(error, std::move(done));
  if (bytes == 0) return engine_.complete(0, std::move(done));
  struct Run {
    u64 first, end;
    bool written;
  };
  std::vector<Run> runs;
  {
    const std::lock_guard lock(mutex_);
    const u64 end = (offset + bytes) / sector_bytes;
    for (u64 sector = offset / sector_bytes; sector < end; sector = runs.back().end) {
      runs.push_back({sector, run_end(sector, end), written(sector)});
    }
  }
  auto parts = std::make_shared<Parts>(static_cast<unsigned>(runs.size()));
  parts->done = std::move(done);
  for (const Run& run : runs) {
    parts->buffers.push_back(slice(buffers, run.first * sector_bytes - offset, (run.end - run.first) * sector_bytes));
  }
  for (std::size_t i = 0; i < runs.size(); ++i) {
    const u64 at = runs[i].first * sector_bytes;
    auto finish = [parts](int error) { parts->finish(error); };
    if (runs[i].written) {
      engine_.submit(
          {.kind = IoRequest::Kind::read, .fd = file_.get(), .offset = at, .buffers = parts->buffers[i], .done = finish});
    } else {
      base_->read(at, parts->buffers[i], finish);
    }
  }
}

// Sectors count as written from the completion on, so that one that fails leaves what was there.
void Overlay::write(u64 offset, std::span<const iovec> buffers, Completion done) {
  const u64 bytes = total_bytes(buffers);
  if (const int error = check_range(offset, bytes, size_bytes())) return engine_.complete(error, std::move(done));
  engine_.submit({.kind = IoRequest::Kind::write,
                  .fd = file_.get(),
                  .offset = offset,
                  .buffers = buffers,
                  .done = [this, offset, bytes, done = std::move(done)](int error) {
                    if (error == 0) mark_written(offset, bytes);
                    done(error);
                  }});
}

void Overlay::flush(Completion done) { engine_.complete(0, std::move(done)); }  // nothing here outlives the machine

void Overlay::discard(u64 offset, u64 bytes, Completion done) { write_zeroes(offset, bytes, true, std::move(done)); }

void Overlay::write_zeroes(u64 offset, u64 bytes, bool, Completion done) {
  if (const int error = check_range(offset, bytes, size_bytes())) return engine_.complete(error, std::move(done));
  if (bytes == 0) return engine_.complete(0, std::move(done));
  engine_.submit({.kind = IoRequest::Kind::allocate,
                  .fd = file_.get(),
                  .offset = offset,
                  .bytes = bytes,
                  .mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                  .done = [this, offset, bytes, done = std::move(done)](int error) {
                    if (error == 0) mark_written(offset, bytes);
                    done(error);
                  }});
}

void Overlay::resize(u64, Completion done) { engine_.complete(EOPNOTSUPP, std::move(done)); }

void Overlay::drain() {
  base_->drain();
  engine_.drain();
}

void Overlay::cancel() {
  base_->cancel();
  engine_.cancel();
}

// ---- saved state: (offset, bytes) pieces of what was written, closed by an empty one ----

void Overlay::state(state::Archive& archive) {
  archive.begin("overlay", 1);
  base_->state(archive);
  if (archive.saving()) {
    save(archive);
  } else {
    load(archive);
  }
  archive.end();
}

void Overlay::save(state::Archive& archive) {
  for (u64 sector = 0; sector < sectors_;) {
    const u64 end = run_end(sector, sectors_);
    if (!written(sector)) {
      sector = end;
      continue;
    }
    u64 offset = sector * sector_bytes;
    std::vector<u8> piece(std::min((end - sector) * sector_bytes, state_piece));
    if (::pread(file_.get(), piece.data(), piece.size(), static_cast<off_t>(offset)) !=
        static_cast<ssize_t>(piece.size())) {
      return archive.reject(fmt::format("cannot read the writes of disk '{}' back", path()));
    }
    archive(offset);
    archive(piece, state_piece);
    sector += piece.size() / sector_bytes;
  }
  u64 offset = size_bytes();
  std::vector<u8> nothing;
  archive(offset);
  archive(nothing, state_piece);
}

void Overlay::load(state::Archive& archive) {
  while (archive.ok()) {
    u64 offset = 0;
    std::vector<u8> piece;
    archive(offset);
    archive(piece, state_piece);
    if (!archive.ok() || piece.empty()) return;
    archive.require(check_range(offset, piece.size(), size_bytes()) == 0, "range of written sectors");
    if (!archive.ok()) return;
    if (::pwrite(file_.get(), piece.data(), piece.size(), static_cast<off_t>(offset)) !=
        static_cast<ssize_t>(piece.size())) {
      return archive.reject(fmt::format("cannot restore the writes of disk '{}': no space?", path()));
    }
    mark_written(offset, piece.size());
  }
}

}  // namespace doppel::disk
