#include "engine/interpreter/tlb.h"

#include <sys/mman.h>

#include <algorithm>
#include <new>
#include <utility>

#include "base/bits.h"

namespace doppel::interpreter {
namespace {

constexpr u64 last_id = 0xffe;  // ids have 12 bits in Cpu::code_context
constexpr u64 frame_2m = u64{2} << 20;
constexpr u64 frame_1g = u64{1} << 30;
constexpr std::size_t frame_limit = 8192;  // remembered before a page flush means a full one

// False if there is no room for it.
bool remember(std::vector<u64>& frames, u64 frame) {
  const auto at = std::lower_bound(frames.begin(), frames.end(), frame);
  if (at != frames.end() && *at == frame) return true;
  if (frames.size() >= frame_limit) return false;
  frames.insert(at, frame);
  return true;
}

bool remembered(const std::vector<u64>& frames, u64 frame) {
  return std::binary_search(frames.begin(), frames.end(), frame);
}

// Zeroes, aligned for T.
template <class T>
T* map_zeroes() {
  constexpr u64 room = sizeof(T) + alignof(T);
  void* mapped = ::mmap(nullptr, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapped == MAP_FAILED) throw std::bad_alloc();
  auto* const first = static_cast<u8*>(mapped);
  auto* const at = reinterpret_cast<u8*>(align_up(reinterpret_cast<u64>(first), alignof(T)));
  if (at != first) ::munmap(first, static_cast<u64>(at - first));
  ::munmap(at + sizeof(T), static_cast<u64>(first + room - (at + sizeof(T))));
  return reinterpret_cast<T*>(at);
}

}  // namespace

Tlb::OwnedSet Tlb::make_set() {
  OwnedSet set(map_zeroes<Set>());
  for (const u64 slot : {0, 1}) set->invalidate(slot);
  return set;
}

Tlb::OwnedTable Tlb::make_table() {
  OwnedTable table(map_zeroes<TlbEntries>());
  for (const u64 slot : {0, 1}) table->read_tag[slot] = table->write_tag[slot] = invalid_tag(slot);
  return table;
}

void Tlb::unmap(void* memory, u64 bytes) { ::munmap(memory, bytes); }

void Tlb::Set::empty() {
  for (u64 slot = 0; slot < Tlb::entries; ++slot)
    if (table.host[slot]) table.host[slot] = 0, invalidate(slot);  // memory that was never used stays that
  noted = 0;
}

void Tlb::Set::drop_noted() {
  if (noted > listed) return empty();
  for (unsigned i = 0; i < noted; ++i) invalidate(filled[i]);
  noted = 0;
}

Tlb::Tlb(u64 ram_pages)
    : guarded_(make_set()), stores_(static_cast<u64*>(std::calloc(ram_pages, sizeof(u64))), &std::free) {
  if (!stores_) throw std::bad_alloc();
  for (Space& space : spaces_) {
    space.supervisor = make_set();
    space.user = make_set();
  }
  current_ = &spaces_[0];
  start(*current_, 0);
}

TlbEntries* Tlb::blind_table() {
  static const OwnedTable table = make_table();
  return table.get();
}

u64 Tlb::fresh_id() {
  if (next_id_ > last_id) {
    for (Space& space : spaces_) space.known = false;
    next_id_ = 1;
  }
  return next_id_++;
}

Tlb::Space* Tlb::find(u16 pcid) {
  const auto at = std::find_if(spaces_.begin(), spaces_.end(),
                               [&](const Space& space) { return space.known && space.pcid == pcid; });
  return at == spaces_.end() ? nullptr : &*at;
}

// Empties a space for `pcid`.
void Tlb::start(Space& space, u16 pcid) {
  space.supervisor->drop_noted();
  space.user->drop_noted();
  space.id = fresh_id();
  space.pcid = pcid;
  space.known = true;
  space.used = ++clock_;
}

void Tlb::switch_address_space(u16 pcid, bool keep) {
  Space* space = find(pcid);
  if (keep && space == current_) return;
  guarded_->drop_noted();
  if (keep && space) {
    space->used = ++clock_;
  } else {
    if (!space)
      space = &*std::min_element(spaces_.begin(), spaces_.end(),
                                 [](const Space& a, const Space& b) { return a.used < b.used; });
    start(*space, pcid);
    ++flushes;
  }
  current_ = space;
}

void Tlb::flush_all() {
  guarded_->empty();
  for (Space& space : spaces_)
    if (&space != current_) space.known = false;  // emptied when it is next used
  start(*current_, current_->pcid);
  large_.clear();
  huge_.clear();
  large_overflow_ = pairs_ = false;
  ++flushes;
}

void Tlb::flush_pcid(u16 pcid) {
  Space* space = find(pcid);
  if (!space) return;
  if (space == current_) {
    guarded_->drop_noted();
    start(*space, pcid);
    ++flushes;
  } else {
    space->known = false;
  }
}

Tlb::Range Tlb::flush_page(u64 linear) {
  if (large_overflow_ || remembered(huge_, align_down(linear, frame_1g))) return flush_all(), Range{};
  const u64 size = pairs_ ? 2 * frame_2m : frame_2m;
  const u64 first = align_down(linear, size);
  const auto large = std::lower_bound(large_.begin(), large_.end(), first);
  const auto beyond = std::find_if(large, large_.end(), [&](u64 frame) { return frame - first >= size; });
  if (large == beyond) {
    flush_slot(linear);
    return {align_down(linear, 4096), 1};
  }
  large_.erase(large, beyond);  // until they are filled from again
  for (u64 page = first; page != first + size; page += 4096) flush_slot(page);
  return {first, size / 4096};
}

// Few slots have the page.
void Tlb::flush_slot(u64 linear) {
  const u64 slot = slot_of(linear);
  for_each_set([&](Set& set) {
    if ((linear ^ set.table.read_tag[slot]) <= page_mask) set.invalidate(slot);
  });
}

void Tlb::fill(TlbTable which, u64 linear, const TlbFill& page) {
  Set& into = set(which);
  const u64 slot = slot_of(linear), tag = linear & ~u64{0xfff};
  const u64 host = reinterpret_cast<u64>(page.host_page);
  const bool again = into.table.read_tag[slot] == tag && into.table.host[slot] == host && page.executable &&
                     page.readable;
  if (!again) into.table.code_tag[slot] = 0;
  into.table.read_tag[slot] = page.readable ? tag : invalid_tag(slot);
  const bool writable = page.writable && page.readable;  // flush_slot looks at one tag
  into.table.write_tag[slot] = !writable ? invalid_tag(slot) : page.watched ? watched_tag(tag) : tag;
  into.table.host[slot] = host;
  if (writable && !page.watched) remember_store(page.page, host, slot);
  into.executable[slot] = page.executable && page.readable;
  into.global[slot] = page.global;
  if (which != TlbTable::supervisor_smap || !page.global) into.note(slot);
}

// Should there be more slots than can be known, the page is watched in the one that was noted first.
void Tlb::remember_store(u64 page, u64 host, u64 slot) {
  u64& known = stores_[page];
  for (u64 rest = known; rest != 0; rest >>= store_bits)
    if ((rest & low_bits(store_bits)) == (store_known | slot)) return;
  if (const u64 first = known >> (64 - store_bits)) watch_slot(first & mask, host);
  known = known << store_bits | store_known | slot;
}

void Tlb::watch_slot(u64 slot, u64 host) {
  for_each_set([&](Set& set) {
    if (set.table.host[slot] == host) set.watch(slot);
  });
}

void Tlb::watch(u64 page, const u8* host_page) {
  for (u64 rest = std::exchange(stores_[page], 0); rest != 0; rest >>= store_bits)
    watch_slot(rest & mask, reinterpret_cast<u64>(host_page));
}

void Tlb::watch_all() {
  for_each_set([](Set& set) {
    for (u64 slot = 0; slot < entries; ++slot)
      if (set.table.host[slot]) set.watch(slot);
  });
}

void Tlb::forget_code() {
  for_each_set([](Set& set) {
    for (u64& tag : set.table.code_tag)
      if (tag) tag = 0;  // memory that was never used stays that
  });
}

void Tlb::note_large_page(u64 linear, u64 size) {
  bool room;
  if (size >= frame_1g) {
    room = remember(huge_, align_down(linear, frame_1g));
  } else {
    const u64 base = align_down(linear, size);
    pairs_ |= size > frame_2m;
    room = remember(large_, base) && (size == frame_2m || remember(large_, base + frame_2m));
  }
  if (!room) large_overflow_ = true;
}

}  // namespace doppel::interpreter
