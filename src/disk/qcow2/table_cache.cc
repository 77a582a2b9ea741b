// See table_cache.h.
#include "disk/qcow2/table_cache.h"

#include <algorithm>

#include "disk/buffers.h"

namespace doppel::disk::qcow2 {

namespace {

struct Suspend {  // until somebody resumes what is put in `waiting`
  std::vector<std::coroutine_handle<>>& waiting;
  static bool await_ready() { return false; }
  void await_suspend(std::coroutine_handle<> waiter) const { waiting.push_back(waiter); }
  static void await_resume() {}
};

}  // namespace

void TableCache::configure(u64 cluster_bytes, u64 max_bytes) {
  clear();
  page_bytes_ = std::min<u64>(cluster_bytes, 4096);
  max_pages_ = std::max<u64>(max_bytes / page_bytes_, 16);
}

void TableCache::clear() {
  CHECK(being_read_.empty());
  pages_.clear();
  used_.clear();
  dirty_ = 0;
}

u8* TableCache::find(u64 page) {
  const auto found = pages_.find(page);
  if (found == pages_.end()) return nullptr;
  used_.splice(used_.end(), used_, found->second.use);
  return found->second.bytes.data();
}

Task TableCache::get(u64 page, u8*& bytes) {
  while ((bytes = find(page)) == nullptr) {
    if (const auto reading = being_read_.find(page); reading != being_read_.end()) {
      Suspend suspend{reading->second};
      co_await suspend;
      continue;
    }
    being_read_[page];
    std::vector<u8> read(page_bytes_);
    const iovec list = buffer_of(read);
    const int error = co_await file_.read(strand_, page, {&list, 1});
    for (const auto waiter : being_read_[page]) strand_.ready(waiter);
    being_read_.erase(page);
    if (error != 0) co_return error;
    if (find(page) == nullptr) insert(page, std::move(read));
  }
  co_return 0;
}

u8* TableCache::add_zero(u64 page) {
  if (u8* there = find(page)) {  // of what the cluster was before
    std::fill_n(there, page_bytes_, u8{0});
  } else {
    insert(page, std::vector<u8>(page_bytes_));
  }
  mark_dirty(page);
  return find(page);
}

void TableCache::insert(u64 page, std::vector<u8> bytes) {
  for (auto old = used_.begin(); pages_.size() >= max_pages_ && old != used_.end();) {
    const auto found = pages_.find(*old);
    if (found->second.dirty || found->second.writing != 0) {
      ++old;
    } else {
      old = used_.erase(old);
      pages_.erase(found);
    }
  }
  const auto use = used_.insert(used_.end(), page);
  pages_.emplace(page, Page{.bytes = std::move(bytes), .use = use});
}

void TableCache::mark_dirty(u64 page) {
  Page& marked = pages_.at(page);
  if (!std::exchange(marked.dirty, true)) ++dirty_;
}

void TableCache::forget(u64 offset, u64 bytes) {
  for (u64 page = offset; page < offset + bytes; page += page_bytes_) {
    const auto found = pages_.find(page);
    if (found == pages_.end()) continue;
    if (found->second.dirty) --dirty_;
    used_.erase(found->second.use);
    pages_.erase(found);
  }
}

std::vector<TableCache::Copy> TableCache::take_dirty() {
  std::vector<Copy> copies;
  if (dirty_ == 0) return copies;
  for (auto& [offset, page] : pages_) {
    if (!page.dirty) continue;
    copies.push_back({offset, page.bytes});
    page.dirty = false;
    ++page.writing;
  }
  dirty_ = 0;
  std::ranges::sort(copies, {}, &Copy::page);
  return copies;
}

void TableCache::written(const std::vector<Copy>& copies, bool successfully) {
  for (const Copy& copy : copies) {
    const auto found = pages_.find(copy.page);
    if (found == pages_.end()) continue;
    --found->second.writing;
    if (!successfully && !std::exchange(found->second.dirty, true)) ++dirty_;
  }
}

}  // namespace doppel::disk::qcow2
