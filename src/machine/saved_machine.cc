// See saved_machine.h.
#include "machine/saved_machine.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>

#include "base/units.h"

namespace doppel {

namespace {

constexpr std::array<char, 8> magic{'D', 'O', 'P', 'P', 'E', 'L', 'V', 'M'};
constexpr u32 version = 1;
constexpr u64 end_of_ram = ~u64{0};
constexpr u64 largest_state = 256 * MiB;
constexpr u32 chunk_bytes = 1 * MiB;
constexpr int compression_level = 1;

bool is_zero(const u8* page) {
  static constexpr std::array<u8, page_size> zeros{};
  return std::memcmp(page, zeros.data(), page_size) == 0;
}

// Buffers what is written to the temporary file, and removes it unless it was committed.
class Writer {
 public:
  static Result<Writer> create(const std::string& path) {
    std::string temporary = path + ".XXXXXX";
    Fd fd(::mkostemp(temporary.data(), O_CLOEXEC));
    if (!fd) return fail_errno(fmt::format("cannot create '{}'", path));
    // mkstemp makes it private; a saved machine gets the mode that any new file of this user gets.
    const mode_t mask = ::umask(0);
    ::umask(mask);
    ::fchmod(fd.get(), 0666 & ~mask);
    return Writer(path, std::move(temporary), std::move(fd));
  }
  Writer(Writer&&) = default;
  ~Writer() {
    if (fd_) ::unlink(temporary_.c_str());
  }

  Result<> write(const void* data, std::size_t size) {
    const u8* bytes = static_cast<const u8*>(data);
    if (auto result = write_all(fd_.get(), {bytes, size}); !result) {
      return fail(fmt::format("'{}': {}", path_, result.error().message));
    }
    return {};
  }
  template <class T>
  Result<> write(const T& value) {
    return write(&value, sizeof value);
  }
  Result<> commit() {
    if (::fsync(fd_.get()) != 0 || ::rename(temporary_.c_str(), path_.c_str()) != 0) {
      return fail_errno(fmt::format("cannot write '{}'", path_));
    }
    fd_.reset();
    return {};
  }

 private:
  Writer(std::string path, std::string temporary, Fd fd)
      : path_(std::move(path)), temporary_(std::move(temporary)), fd_(std::move(fd)) {}
  std::string path_, temporary_;
  Fd fd_;
};

// Calls visit(offset, bytes) for runs of pages that are not zero, at most chunk_bytes long.
template <class Visit>
Result<> for_each_chunk(const PhysicalMemory& memory, Visit visit) {
  for (const auto& extent : memory.populated()) {
    const u64 end = extent.offset + extent.size;
    u64 offset = extent.offset;
    while (offset < end) {
      if (is_zero(memory.ram() + offset)) {
        offset += page_size;
        continue;
      }
      const u64 start = offset;
      while (offset < end && offset - start < chunk_bytes && !is_zero(memory.ram() + offset)) offset += page_size;
      TRY(visit(start, static_cast<u32>(offset - start)));
    }
  }
  return {};
}

}  // namespace

Result<> write_saved_machine(const std::string& path, const std::vector<u8>& state, const PhysicalMemory& memory) {
  Writer file = TRY(Writer::create(path));
  TRY(file.write(magic));
  TRY(file.write(version));
  TRY(file.write(u32{0}));
  TRY(file.write(u64{state.size()}));
  TRY(file.write(state.data(), state.size()));
  TRY(file.write(memory.ram_bytes()));
  const std::unique_ptr<ZSTD_CCtx, decltype(&ZSTD_freeCCtx)> context(ZSTD_createCCtx(), ZSTD_freeCCtx);
  std::vector<u8> packed(ZSTD_compressBound(chunk_bytes));
  const auto write_chunk = [&](u64 offset, u32 bytes) -> Result<> {
    const std::size_t stored = ZSTD_compressCCtx(context.get(), packed.data(), packed.size(), memory.ram() + offset,
                                                 bytes, compression_level);
    if (ZSTD_isError(stored)) return fail(fmt::format("cannot compress guest memory: {}", ZSTD_getErrorName(stored)));
    TRY(file.write(offset));
    TRY(file.write(bytes));
    TRY(file.write(static_cast<u32>(stored)));
    return file.write(packed.data(), stored);
  };
  TRY(for_each_chunk(memory, write_chunk));
  TRY(file.write(end_of_ram));
  TRY(file.write(memory.hash()));
  return file.commit();
}

Result<> SavedMachine::read(void* data, std::size_t size) {
  u8* to = static_cast<u8*>(data);
  while (size != 0) {
    const ssize_t count = ::read(fd_.get(), to, size);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return fail_errno(fmt::format("cannot read '{}'", path_));
    if (count == 0) return fail(fmt::format("'{}' ends too early", path_));
    to += count;
    size -= static_cast<std::size_t>(count);
  }
  return {};
}

Result<SavedMachine> SavedMachine::open(const std::string& path) {
  SavedMachine file(path, TRY(open_file(path, O_RDONLY)));
  struct stat info{};
  if (::fstat(file.fd_.get(), &info) != 0) return fail_errno(fmt::format("cannot examine '{}'", path));
  if (!S_ISREG(info.st_mode)) return fail(fmt::format("'{}' is not a saved machine: not a regular file", path));
  const auto found = file.read<std::array<char, 8>>();
  if (!found || *found != magic) return fail(fmt::format("'{}' is not a saved machine", path));
  const u32 number = TRY(file.read<u32>());
  TRY(file.read<u32>());
  if (number != version)
    return fail(fmt::format("'{}' has format {}, this program reads format {}", path, number, version));
  const u64 length = TRY(file.read<u64>());
  if (length > std::min<u64>(largest_state, static_cast<u64>(info.st_size)))
    return fail(fmt::format("'{}' is damaged: state too long", path));
  file.state_.resize(length);
  TRY(file.read(file.state_.data(), length));
  return file;
}

Result<> SavedMachine::load_ram(PhysicalMemory& memory) {
  const u64 bytes = TRY(read<u64>());
  if (bytes != memory.ram_bytes()) {
    return fail(fmt::format("'{}' holds {} of memory, this machine has {}", path_, format_size(bytes),
                            format_size(memory.ram_bytes())));
  }
  const auto damaged = [&] { return fail(fmt::format("'{}' is damaged: its memory does not unpack", path_)); };
  std::vector<u8> packed;
  u64 filled = 0;  // chunks rise, so each byte is written once at most
  for (;;) {
    const u64 offset = TRY(read<u64>());
    if (offset == end_of_ram) break;
    const u32 size = TRY(read<u32>());
    const u32 stored = TRY(read<u32>());
    if (offset < filled || offset % page_size != 0 || size == 0 || size % page_size != 0 || size > chunk_bytes ||
        offset > bytes || size > bytes - offset || stored > ZSTD_compressBound(chunk_bytes)) {
      return damaged();
    }
    packed.resize(stored);
    TRY(read(packed.data(), stored));
    if (ZSTD_decompress(memory.ram() + offset, size, packed.data(), stored) != size) return damaged();
    filled = offset + size;
  }
  if (TRY(read<u64>()) != memory.hash()) return damaged();
  return {};
}

}  // namespace doppel
