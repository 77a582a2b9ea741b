// See copy.h. Pieces go in batches: a batch is read, looked at, and written.
#include "disk/copy.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <vector>

#include "base/units.h"
#include "disk/buffers.h"
#include "disk/raw.h"

namespace doppel::disk {

namespace {

constexpr u64 piece_bytes = 1 * MiB, most_bytes = 1 * GiB;
constexpr std::size_t batch_pieces = 8;

struct Piece {
  u64 offset;
  std::vector<u8> bytes;
};

// Runs requests on several pieces at once: the first error.
Result<> for_all(BlockImage& image, const char* what, std::vector<Piece>& pieces,
                 const std::function<void(Piece&, const iovec&, Completion)>& start) {
  std::vector<iovec> lists;
  for (const Piece& piece : pieces) lists.push_back(buffer_of(piece.bytes));
  int error = 0;
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    start(pieces[i], lists[i], [&error](int failed) {
      if (error == 0) error = failed;
    });
  }
  image.drain();
  if (error != 0) return fail_errno(fmt::format("cannot {} disk '{}'", what, image.path()), error);
  return {};
}

Result<> read_all(BlockImage& image, std::vector<Piece>& pieces) {
  return for_all(image, "read", pieces, [&](Piece& piece, const iovec& list, Completion done) {
    image.read(piece.offset, {&list, 1}, std::move(done));
  });
}

Result<> write_all(BlockImage& image, std::vector<Piece>& pieces) {
  return for_all(image, "write", pieces, [&](Piece& piece, const iovec& list, Completion done) {
    image.write(piece.offset, {&list, 1}, std::move(done));
  });
}

// Reads a range of an image that may end before it: zeroes then.
Result<std::vector<u8>> read_range(BlockImage* image, u64 offset, u64 bytes) {
  std::vector<u8> result(bytes);
  if (image == nullptr || offset >= image->size_bytes()) return result;
  const iovec list{result.data(), std::min(bytes, image->size_bytes() - offset)};
  TRY(wait_for(*image, "read", [&](Completion done) { image->read(offset, {&list, 1}, std::move(done)); }));
  return result;
}

}  // namespace

Result<> wait_for(BlockImage& image, const char* what, const std::function<void(Completion)>& start) {
  int result = EIO;
  start([&result](int error) { result = error; });
  image.drain();
  if (result != 0) return fail_errno(fmt::format("cannot {} disk '{}'", what, image.path()), result);
  return {};
}

Result<Extent> extent_at(BlockImage& image, u64 offset, u64 most) {
  Extent extent{.offset = offset, .bytes = most, .place = offset};
  if (auto* raw = dynamic_cast<RawImage*>(&image)) {
    const auto [bytes, hole] = raw->run_at(offset, most);
    extent.bytes = bytes;
    if (hole) extent.kind = Extent::Kind::zero, extent.place.reset();
    return extent;
  }
  qcow2::Image* qcow2 = qcow2::as_qcow2(&image);
  if (qcow2 == nullptr) return extent;
  const auto run = TRY(qcow2->look_up(offset, most));
  extent.bytes = run.bytes;
  extent.place.reset();
  switch (run.kind) {
    case qcow2::Kind::data: extent.place = run.host; return extent;
    case qcow2::Kind::compressed: extent.kind = Extent::Kind::compressed; return extent;
    default: break;
  }
  BlockImage* backing = qcow2->backing();
  if (run.kind != qcow2::Kind::unallocated || backing == nullptr || offset >= backing->size_bytes()) {
    extent.kind = Extent::Kind::zero;
    return extent;
  }
  extent = TRY(extent_at(*backing, offset, std::min(run.bytes, backing->size_bytes() - offset)));
  ++extent.depth;
  return extent;
}

Result<> copy_image(BlockImage& from, BlockImage& to, bool compress, const Progress& progress) {
  qcow2::Image* packed = compress ? qcow2::as_qcow2(&to) : nullptr;
  const u64 size = from.size_bytes();
  const u64 piece = packed != nullptr ? packed->header().cluster_bytes() : piece_bytes;
  std::vector<Piece> pieces;
  const auto transfer = [&]() -> Result<> {
    TRY(read_all(from, pieces));
    std::erase_if(pieces, [](const Piece& one) { return all_zero(one.bytes); });
    if (packed == nullptr) {
      TRY(write_all(to, pieces));
    } else {
      TRY(for_all(to, "write", pieces, [&](Piece& one, const iovec&, Completion done) {
        packed->write_compressed(one.offset, one.bytes, std::move(done));
      }));
    }
    pieces.clear();
    return {};
  };
  for (u64 at = 0; at < size;) {
    const Extent extent = TRY(extent_at(from, at, std::min(size - at, most_bytes)));
    u64 end = at + extent.bytes;
    if (extent.kind == Extent::Kind::zero) {
      end = packed == nullptr ? end : std::max(align_down(end, piece), at);  // compressed pieces are whole clusters
      if (end > at) {
        at = end;
        progress(at, size);
        continue;
      }
    }
    const u64 bytes = std::min(piece - at % piece, size - at);
    pieces.push_back({at, std::vector<u8>(packed != nullptr ? bytes : std::min(bytes, extent.bytes))});
    at += pieces.back().bytes.size();
    if (pieces.size() < batch_pieces) continue;
    TRY(transfer());
    progress(at, size);
  }
  TRY(transfer());
  progress(size, size);
  return wait_for(to, "write", [&](Completion done) { to.flush(std::move(done)); });
}

Result<std::optional<u64>> compare_images(BlockImage& one, BlockImage& other, const Progress& progress) {
  const u64 size = std::max(one.size_bytes(), other.size_bytes());
  for (u64 at = 0; at < size;) {
    const auto zero_bytes = [&](BlockImage& image) -> Result<u64> {
      if (at >= image.size_bytes()) return size - at;
      const Extent extent = TRY(extent_at(image, at, image.size_bytes() - at));
      return extent.kind == Extent::Kind::zero ? extent.bytes : 0;
    };
    const u64 both_zero = std::min(TRY(zero_bytes(one)), TRY(zero_bytes(other)));
    const u64 bytes = both_zero != 0 ? both_zero : std::min(piece_bytes, size - at);
    if (both_zero == 0) {
      const auto left = TRY(read_range(&one, at, bytes)), right = TRY(read_range(&other, at, bytes));
      const auto differs = std::ranges::mismatch(left, right).in1;
      if (differs != left.end()) return at + static_cast<u64>(differs - left.begin());
    }
    at += bytes;
    progress(at, size);
  }
  return std::nullopt;
}

Result<> commit_image(qcow2::Image& image, const Progress& progress) {
  BlockImage& backing = *image.backing();
  const u64 size = image.size_bytes();
  if (backing.size_bytes() < size)
    TRY(wait_for(backing, "enlarge", [&](Completion done) { backing.resize(size, std::move(done)); }));
  for (u64 at = 0; at < size;) {
    const auto run = TRY(image.look_up(at, std::min(size - at, most_bytes)));
    if (run.kind == qcow2::Kind::unallocated) {
      at += run.bytes;
    } else if (run.kind == qcow2::Kind::zero) {
      TRY(wait_for(backing, "write",
                   [&](Completion done) { backing.write_zeroes(at, run.bytes, true, std::move(done)); }));
      at += run.bytes;
    } else {
      std::vector<Piece> pieces;
      for (u64 left = run.bytes; left != 0 && pieces.size() < batch_pieces;) {
        pieces.push_back({at, std::vector<u8>(std::min(left, piece_bytes))});
        at += pieces.back().bytes.size();
        left -= pieces.back().bytes.size();
      }
      TRY(read_all(image, pieces));
      TRY(write_all(backing, pieces));
    }
    progress(at, size);
  }
  return wait_for(backing, "write", [&](Completion done) { backing.flush(std::move(done)); });
}

Result<> keep_contents(qcow2::Image& image, BlockImage* next, const Progress& progress) {
  const u64 size = image.size_bytes(), cluster = image.header().cluster_bytes();
  const auto reads_zero = [](BlockImage* backing, u64 offset, u64 bytes) -> Result<u64> {
    if (backing == nullptr || offset >= backing->size_bytes()) return bytes;
    const Extent extent = TRY(extent_at(*backing, offset, std::min(bytes, backing->size_bytes() - offset)));
    return extent.kind == Extent::Kind::zero ? extent.bytes : 0;
  };
  for (u64 at = 0; at < size;) {
    auto run = TRY(image.look_up(at, std::min(size - at, most_bytes)));
    if (run.kind == qcow2::Kind::unallocated) {
      const u64 before = TRY(reads_zero(image.backing(), at, run.bytes)), after = TRY(reads_zero(next, at, run.bytes));
      if (before != 0 && after != 0) {
        run.bytes = std::min(before, after);
      } else {
        run.bytes = std::min({run.bytes, std::max(piece_bytes, cluster), size - at});
        const auto old = TRY(read_range(image.backing(), at, run.bytes));
        const auto now = TRY(read_range(next, at, run.bytes));
        for (u64 from = 0; from < run.bytes;) {
          const u64 bytes = std::min(cluster - (at + from) % cluster, run.bytes - from);
          if (!std::equal(&old[from], &old[from] + bytes, &now[from])) {
            const iovec list{const_cast<u8*>(&old[from]), bytes};
            TRY(wait_for(image, "write", [&](Completion done) { image.write(at + from, {&list, 1}, std::move(done)); }));
          }
          from += bytes;
        }
      }
    }
    at += run.bytes;
    progress(at, size);
  }
  return wait_for(image, "write", [&](Completion done) { image.flush(std::move(done)); });
}

}  // namespace doppel::disk
