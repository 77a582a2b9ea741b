// Guest RAM: anonymous memory between guard pages, regions over it, and what is known per page. See physical_memory.h.
//
// It is anonymous because the host then backs it with huge pages: most hosts do not for a memfd (transparent_hugepage/shmem_enabled is
// `never` by default), and the guest's accesses would miss the host's TLB everywhere.
//
// How a store and mark_code cannot miss each other:
// - Devices, and engines out of line, do "store; load flags" without a fence. mark_code does "set lines and flag; membarrier; (caller) load
//   bytes"; the membarrier is the full fence that the storing thread left out (membarrier(2), PRIVATE_EXPEDITED).
// - Engines in line store by translations that they remember, of pages that had no flags when they were entered. mark_code tells of the
//   page (note_flagged) and begins a grace period: until that is over, and with it such translations, the caller does not keep what it
//   decodes.
// How a block that overwrites itself cannot miss that another thread has just done so: the flag outlives the lines by a grace period, so
// that its stores come to note_write, behind which the generation is the new one.
#include "memory/physical_memory.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/membarrier.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstring>

#include "base/bits.h"
#include "base/check.h"
#include "base/units.h"

namespace doppel {

namespace {

constexpr unsigned line_shift = 6;
constexpr u64 huge_page = u64{2} << 20;

// Zeroed and populated on first use, however large.
template <class T>
T* map_array(u64 count) {
  void* array = ::mmap(nullptr, count * sizeof(T), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                       -1, 0);
  return array == MAP_FAILED ? nullptr : static_cast<T*>(array);
}

template <class T>
void unmap_array(T* array, u64 count) {
  if (array != nullptr) ::munmap(static_cast<void*>(array), count * sizeof(T));
}

void register_membarrier() { (void)::syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0); }

// A full fence on every running thread of this process.
void fence_all_threads() {
  std::atomic_thread_fence(std::memory_order_seq_cst);
  (void)::syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0);
}

// The 64-byte lines of a page that [first_byte, last_byte] touches.
u64 lines_of(u64 first_byte, u64 last_byte) {
  const unsigned first = static_cast<unsigned>(first_byte) >> line_shift;
  const unsigned last = static_cast<unsigned>(last_byte) >> line_shift;
  return low_bits(last - first + 1) << first;
}

u64 mix(u64 hash, u64 word) {
  hash = (hash ^ word) * 0x9e37'79b9'7f4a'7c15u;
  return hash ^ hash >> 29;
}

}  // namespace

Result<std::unique_ptr<PhysicalMemory>> PhysicalMemory::create(u64 bytes, Bus& mmio) {
  CHECK(bytes != 0 && bytes % page_size == 0);
  const auto refused = [&] { return fail_errno(fmt::format("cannot reserve {} of guest memory", format_size(bytes))); };
  if (bytes > u64{1} << 46)
    return fail(fmt::format("cannot reserve {} of guest memory: more than the host can address", format_size(bytes)));
  std::unique_ptr<PhysicalMemory> memory(new PhysicalMemory(bytes, mmio));
  void* window = ::mmap(nullptr, memory->window_bytes(), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (window == MAP_FAILED) return refused();
  memory->window_ = window;
  memory->ram_ = reinterpret_cast<u8*>(align_up(reinterpret_cast<u64>(window) + page_size, huge_page));
  if (::mprotect(memory->ram_, bytes, PROT_READ | PROT_WRITE) != 0) return refused();
  ::madvise(memory->ram_, bytes, MADV_HUGEPAGE);  // a host without them refuses
  ::madvise(memory->ram_, bytes, MADV_DONTFORK);
  const u64 pages = memory->pages_;
  memory->page_flags_ = map_array<std::atomic<u8>>(pages);
  memory->code_generations_ = map_array<std::atomic<u32>>(pages);
  memory->code_lines_ = map_array<std::atomic<u64>>(pages);
  memory->code_periods_ = map_array<u64>(pages);
  memory->dirty_ = map_array<std::atomic<u64>>((pages + 63) / 64);
  if (!memory->page_flags_ || !memory->code_generations_ || !memory->code_lines_ || !memory->code_periods_ ||
      !memory->dirty_)
    return refused();
  register_membarrier();
  return memory;
}

u64 PhysicalMemory::window_bytes() const { return bytes_ + huge_page + 2 * page_size; }

PhysicalMemory::~PhysicalMemory() {
  if (window_ != nullptr) ::munmap(window_, window_bytes());
  unmap_array(page_flags_, pages_);
  unmap_array(code_generations_, pages_);
  unmap_array(code_lines_, pages_);
  unmap_array(code_periods_, pages_);
  unmap_array(dirty_, (pages_ + 63) / 64);
}

Result<> PhysicalMemory::map(GuestPhysical base, u64 offset, u64 size, Kind kind, std::string name) {
  if (size == 0 || (base | offset | size) % page_size != 0 || offset > bytes_ || size > bytes_ - offset ||
      base + size < base) {
    return fail(
        fmt::format("memory region '{}' at {:#x}, {:#x} bytes, is not a run of whole pages of RAM", name, base, size));
  }
  const auto next = std::find_if(regions_.begin(), regions_.end(),
                                 [&](const Region& region) { return region.base > base; });
  const Region* other = nullptr;
  if (next != regions_.end() && next->base - base < size) other = &*next;
  if (next != regions_.begin() && base - std::prev(next)->base < std::prev(next)->size) other = &*std::prev(next);
  if (other != nullptr) {
    return fail(fmt::format("memory region '{}' at {:#x} overlaps '{}' at {:#x}", name, base, other->name, other->base));
  }
  regions_.insert(next, Region{base, size, offset, kind, std::move(name)});
  return {};
}

const PhysicalMemory::Region* PhysicalMemory::find(GuestPhysical address) const {
  for (const Region& region : regions_) {
    if (address - region.base < region.size) return &region;
  }
  return nullptr;
}

PhysicalMemory::HostRange PhysicalMemory::host_range(GuestPhysical address) const {
  const Region* region = find(address);
  if (region == nullptr) return {nullptr, 0, false};
  const u64 offset = address - region->base;
  return {ram_ + region->offset + offset, region->size - offset, region->kind == Kind::ram};
}

bool PhysicalMemory::mark_code(u64 page, unsigned first_byte, unsigned last_byte, const GracePeriods::Member* self) {
  CHECK(page < pages_ && first_byte <= last_byte && last_byte < page_size);
  const u64 lines = lines_of(first_byte, last_byte);
  constexpr u8 settled = page_flag::holds_code | page_flag::code_settled;
  // Loads first: decoding the same lines again is frequent and must not write shared memory. The caller read the generation before them,
  // and who overwrites code clears the lines before it bumps the generation.
  if ((code_lines_[page].load() & lines) == lines && (page_flags_[page].load() & settled) == settled) return true;
  const std::lock_guard lock(code_mutex_);
  code_lines_[page].fetch_or(lines);
  const u8 flags = page_flags_[page].fetch_or(page_flag::holds_code);
  // On a page that all threads know as code every store comes to note_code_write, which fences for itself.
  if ((flags & settled) == settled) return true;
  if ((flags & page_flag::holds_code) == 0) {
    note_flagged(page);
    code_periods_[page] = grace_periods_.start(self);
    fence_all_threads();
  }
  if (!grace_periods_.over(code_periods_[page], self)) return false;
  page_flags_[page].fetch_or(page_flag::code_settled);
  return true;
}

// By one thread at a time.
void PhysicalMemory::note_flagged(u64 page) {
  const u64 count = flagged_count_.load();
  flagged_[count % flagged_remembered].store(page, std::memory_order_relaxed);
  flagged_count_.store(count + 1);
}

// The order matters: lines, then generation. Whoever finds the lines as they were read the generation before it was bumped, so that what
// it decodes is not valid; whoever finds them empty waits for the lock, behind which the generation is bumped.
bool PhysicalMemory::note_code_write(u64 page, u64 first_byte, u64 last_byte) {
  std::atomic_thread_fence(std::memory_order_seq_cst);  // the store that brought us here, before the lines are looked at
  const u64 lines = lines_of(first_byte, last_byte);
  if (const u64 now = code_lines_[page].load(); now != 0 && (now & lines) == 0) return false;
  const std::lock_guard lock(code_mutex_);
  const u64 now = code_lines_[page].load();
  const bool overwritten = (now & lines) != 0;
  if (overwritten) {
    code_lines_[page].store(0);
    code_generations_[page].fetch_add(1);
    // They hear of it before the period begins: whoever has passed since knows it.
    for (CodeWatcher* watcher : watchers_) watcher->code_changed(page);
    code_periods_[page] = grace_periods_.start();
  }
  if ((overwritten || now == 0) && grace_periods_.over(code_periods_[page]))
    page_flags_[page].fetch_and(static_cast<u8>(~(page_flag::holds_code | page_flag::code_settled)));
  return overwritten;
}

bool PhysicalMemory::note_write(u64 offset, u64 size) {
  if (size == 0) return false;
  CHECK(offset < bytes_ && size <= bytes_ - offset);
  bool bumped = false;
  const u64 last_page = (offset + size - 1) >> page_shift;
  for (u64 page = offset >> page_shift; page <= last_page; ++page) {
    const u8 flags = page_flags_[page].load(std::memory_order_relaxed);
    if (flags == 0) continue;
    const u64 start = page << page_shift;
    const u64 first = std::max(offset, start) - start;
    const u64 last = std::min(offset + size - start, page_size) - 1;
    if ((flags & page_flag::holds_code) != 0) bumped |= note_code_write(page, first, last);
    if ((flags & page_flag::log_dirty) != 0) {
      // Flag before bit: take_dirty_pages takes bits before it sets flags, so that no page ends with neither.
      page_flags_[page].fetch_and(static_cast<u8>(~page_flag::log_dirty));
      dirty_[page / 64].fetch_or(u64{1} << (page % 64));
    }
  }
  return bumped;
}

void PhysicalMemory::watch_code(CodeWatcher& watcher) { watchers_.push_back(&watcher); }
void PhysicalMemory::unwatch_code(CodeWatcher& watcher) { std::erase(watchers_, &watcher); }

void PhysicalMemory::start_dirty_log() {
  for (u64 word = 0; word < (pages_ + 63) / 64; ++word) dirty_[word].store(0);
  for (u64 page = 0; page < pages_; ++page) page_flags_[page].fetch_or(page_flag::log_dirty);
  logging_ = true;
  flagged_count_.fetch_add(flagged_remembered);
  fence_all_threads();
}

std::vector<u64> PhysicalMemory::take_dirty_pages() {
  CHECK(logging_);
  std::vector<u64> pages;
  for (u64 word = 0; word < (pages_ + 63) / 64; ++word) {
    if (dirty_[word].load() == 0) continue;
    for (u64 bits = dirty_[word].exchange(0); bits != 0; bits &= bits - 1) {
      const u64 page = word * 64 + static_cast<u64>(std::countr_zero(bits));
      pages.push_back(page);
      page_flags_[page].fetch_or(page_flag::log_dirty);
    }
  }
  flagged_count_.fetch_add(flagged_remembered);
  fence_all_threads();  // stores that still found no flag are visible to whoever now copies these pages
  return pages;
}

void PhysicalMemory::stop_dirty_log() {
  logging_ = false;
  for (u64 page = 0; page < pages_; ++page) page_flags_[page].fetch_and(static_cast<u8>(~page_flag::log_dirty));
}

// From the page map (Documentation/admin-guide/mm/pagemap.rst); where the host does not show it, all of the RAM.
std::vector<PhysicalMemory::Extent> PhysicalMemory::populated() const {
  constexpr u64 present = u64{1} << 63, swapped = u64{1} << 62;
  const Fd map(::open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC));
  const u64 first = reinterpret_cast<u64>(ram_) / page_size;
  std::vector<Extent> extents;
  std::vector<u64> entries(std::min<u64>(pages_, 1 << 15));
  for (u64 page = 0; page < pages_;) {
    const std::size_t wanted = std::min<u64>(entries.size(), pages_ - page) * sizeof(u64);
    const ssize_t got = ::pread(map.get(), entries.data(), wanted, static_cast<off_t>((first + page) * sizeof(u64)));
    if (got != static_cast<ssize_t>(wanted)) return {{0, bytes_}};
    for (std::size_t i = 0; i < wanted / sizeof(u64); ++i, ++page) {
      if (!(entries[i] & (present | swapped))) continue;
      const u64 offset = page * page_size;
      if (!extents.empty() && extents.back().offset + extents.back().size == offset)
        extents.back().size += page_size;
      else
        extents.push_back({offset, page_size});
    }
  }
  return extents;
}

// A sum over the pages that are not all zero, so that a hole and a page of zeros count the same.
u64 PhysicalMemory::hash() const {
  u64 total = 0;
  for (const Extent& extent : populated()) {
    for (u64 offset = extent.offset; offset < extent.offset + extent.size; offset += page_size) {
      std::array<u64, page_size / sizeof(u64)> words;
      std::memcpy(words.data(), ram_ + offset, page_size);
      u64 any = 0;
      for (const u64 word : words) any |= word;
      if (any == 0) continue;
      u64 hash = 0xcbf2'9ce4'8422'2325u ^ offset;
      for (const u64 word : words) hash = mix(hash, word);
      total += hash;
    }
  }
  return total;
}

}  // namespace doppel
