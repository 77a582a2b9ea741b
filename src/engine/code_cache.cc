#include "engine/code_cache.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "base/bits.h"
#include "base/fd.h"

namespace doppel {
namespace {

constexpr u64 huge_page = u64{2} << 20;

// madvise(2), Linux 6.1: also where files and memfds get no huge pages by themselves (shmem_enabled).
constexpr int madv_collapse = 25;

// At a multiple of huge_page, with zeroed memory behind it; unmapped when it goes.
class Window {
 public:
  Window(u64 bytes, int protection, int file, u64 data_bytes)
      : bytes_(bytes + data_bytes),
        room_(mmap(nullptr, bytes_ + huge_page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)) {
    if (room_ == MAP_FAILED) return;
    u8* const end = static_cast<u8*>(room_) + bytes_ + huge_page;
    u8* const begin = reinterpret_cast<u8*>(align_up(reinterpret_cast<u64>(room_), huge_page));
    if (begin != room_) munmap(room_, static_cast<std::size_t>(begin - static_cast<u8*>(room_)));
    if (begin + bytes_ != end) munmap(begin + bytes_, static_cast<std::size_t>(end - begin) - bytes_);
    room_ = begin;
    if (data_bytes && mprotect(begin + bytes, data_bytes, PROT_READ | PROT_WRITE) != 0) return;
    if (mmap(begin, bytes, protection, MAP_SHARED | MAP_NORESERVE | MAP_FIXED, file, 0) != MAP_FAILED) mapped_ = begin;
  }
  Window(const Window&) = delete;
  Window& operator=(const Window&) = delete;
  ~Window() {
    if (room_ != MAP_FAILED && !taken_) munmap(room_, bytes_);
  }
  explicit operator bool() const { return mapped_ != nullptr; }
  u8* take() {
    taken_ = true;
    return mapped_;
  }

 private:
  const u64 bytes_;
  void* room_;
  u8* mapped_ = nullptr;
  bool taken_ = false;
};

}  // namespace

Result<CodeCache> CodeCache::create(u64 bytes, u64 data_bytes) {
  const Fd file(memfd_create("guest-code", MFD_CLOEXEC));
  if (!file || ftruncate(file.get(), static_cast<off_t>(bytes)) != 0)
    return fail_errno("cannot make memory for code of the guest");
  Window writable(bytes, PROT_READ | PROT_WRITE, file.get(), 0);
  if (!writable) return fail_errno("cannot map memory for code of the guest");
  Window executable(bytes, PROT_READ | PROT_EXEC, file.get(), data_bytes);
  if (!executable) return fail_errno("cannot map executable memory for code of the guest");
  return CodeCache(writable.take(), executable.take(), bytes, data_bytes);
}

CodeCache::CodeCache(u8* writable, u8* executable, u64 bytes, u64 data_bytes)
    : writable_(writable), executable_(executable), bytes_(bytes), data_bytes_(data_bytes), huge_(bytes / huge_page) {}

CodeCache::CodeCache(CodeCache&& other) noexcept
    : writable_(std::exchange(other.writable_, nullptr)),
      executable_(std::exchange(other.executable_, nullptr)),
      bytes_(std::exchange(other.bytes_, 0)),
      data_bytes_(std::exchange(other.data_bytes_, 0)),
      huge_(std::move(other.huge_)) {}

CodeCache::~CodeCache() {
  if (!writable_) return;
  munmap(writable_, bytes_);
  munmap(executable_, bytes_ + data_bytes_);
}

void CodeCache::forget_from(u64 offset) {
  const u64 kept = std::min(align_up(offset, huge_page), bytes_);
  madvise(writable_ + kept, bytes_ - kept, MADV_REMOVE);  // may be refused: then it is written over
  huge_.assign(huge_.size(), false);
}

void CodeCache::grown_to(u64 end) {
  const u64 page = end / huge_page;
  if (page >= huge_.size() || huge_[page] || end % huge_page < huge_page / 4) return;
  huge_[page] = true;
  madvise(executable_ + page * huge_page, huge_page, madv_collapse);  // may be refused: it was worth a try
  madvise(writable_ + page * huge_page, huge_page, madv_collapse);
}

}  // namespace doppel
