#include "engine/code_cache.h"

#include <sys/mman.h>
#include <unistd.h>

#include <utility>

#include "base/fd.h"

namespace doppel {

Result<CodeCache> CodeCache::create(u64 bytes) {
  const Fd file(memfd_create("guest-code", MFD_CLOEXEC));
  if (!file || ftruncate(file.get(), static_cast<off_t>(bytes)) != 0)
    return fail_errno("cannot make memory for code of the guest");
  const auto map = [&](int protection) {
    void* mapping = mmap(nullptr, bytes, protection, MAP_SHARED | MAP_NORESERVE, file.get(), 0);
    return mapping == MAP_FAILED ? nullptr : static_cast<u8*>(mapping);
  };
  u8* writable = map(PROT_READ | PROT_WRITE);
  if (!writable) return fail_errno("cannot map memory for code of the guest");
  u8* executable = map(PROT_READ | PROT_EXEC);
  if (!executable) {
    const auto error = fail_errno("cannot map executable memory for code of the guest");
    munmap(writable, bytes);
    return error;
  }
  return CodeCache(writable, executable, bytes);
}

CodeCache::CodeCache(CodeCache&& other) noexcept
    : writable_(std::exchange(other.writable_, nullptr)),
      executable_(std::exchange(other.executable_, nullptr)),
      bytes_(std::exchange(other.bytes_, 0)) {}

CodeCache::~CodeCache() {
  if (!writable_) return;
  munmap(writable_, bytes_);
  munmap(executable_, bytes_);
}

}  // namespace doppel
