// See compression.h.
#include "disk/qcow2/compression.h"

#include <zlib.h>
#include <zstd.h>

#include <memory>

namespace doppel::disk::qcow2 {

namespace {

constexpr int window_bits = -12;  // no zlib header; the window that every reader of the format has

bool inflate_all(std::span<const u8> bytes, std::span<u8> cluster) {
  z_stream stream{};
  stream.next_in = const_cast<u8*>(bytes.data());
  stream.avail_in = static_cast<uInt>(bytes.size());
  stream.next_out = cluster.data();
  stream.avail_out = static_cast<uInt>(cluster.size());
  if (inflateInit2(&stream, window_bits) != Z_OK) return false;
  const int result = inflate(&stream, Z_FINISH);
  inflateEnd(&stream);
  return stream.avail_out == 0 && (result == Z_STREAM_END || result == Z_BUF_ERROR);
}

std::vector<u8> deflate_all(std::span<const u8> cluster, u64 most) {
  z_stream stream{};
  if (deflateInit2(&stream, Z_DEFAULT_COMPRESSION, Z_DEFLATED, window_bits, 9, Z_DEFAULT_STRATEGY) != Z_OK) return {};
  std::vector<u8> result(most);
  stream.next_in = const_cast<u8*>(cluster.data());
  stream.avail_in = static_cast<uInt>(cluster.size());
  stream.next_out = result.data();
  stream.avail_out = static_cast<uInt>(result.size());
  const int status = deflate(&stream, Z_FINISH);
  result.resize(stream.total_out);
  deflateEnd(&stream);
  if (status != Z_STREAM_END || result.size() >= most) result.clear();
  return result;
}

// As a stream: frames need not say how much they hold.
bool unpack_zstd(std::span<const u8> bytes, std::span<u8> cluster) {
  const std::unique_ptr<ZSTD_DCtx, std::size_t (*)(ZSTD_DCtx*)> context(ZSTD_createDCtx(), ZSTD_freeDCtx);
  if (!context) return false;
  ZSTD_DCtx_setParameter(context.get(), ZSTD_d_windowLogMax, 22);  // a window of 4 MiB: no cluster needs more
  ZSTD_inBuffer in{bytes.data(), bytes.size(), 0};
  ZSTD_outBuffer out{cluster.data(), cluster.size(), 0};
  while (out.pos < out.size) {
    const std::size_t before_in = in.pos, before_out = out.pos;
    if (ZSTD_isError(ZSTD_decompressStream(context.get(), &out, &in)) != 0) return false;
    if (in.pos == before_in && out.pos == before_out) return false;
  }
  return true;
}

}  // namespace

bool decompress(Compression method, std::span<const u8> bytes, std::span<u8> cluster) {
  return method == Compression::zlib ? inflate_all(bytes, cluster) : unpack_zstd(bytes, cluster);
}

std::vector<u8> compress(Compression method, std::span<const u8> cluster, u64 most) {
  if (method == Compression::zlib) return deflate_all(cluster, most);
  std::vector<u8> result(ZSTD_compressBound(cluster.size()));
  const std::size_t bytes = ZSTD_compress(result.data(), result.size(), cluster.data(), cluster.size(), 3);
  if (ZSTD_isError(bytes) != 0 || bytes >= most) return {};
  result.resize(bytes);
  return result;
}

}  // namespace doppel::disk::qcow2
