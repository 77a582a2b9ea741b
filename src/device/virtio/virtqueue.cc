// The device's side of a split virtqueue; see virtqueue.h.
//
//   descriptor  +0 address  +8 length  +c flags  +e next           16 bytes each            §2.7.5
//   driver      +0 flags  +2 index  +4 ring[size] of u16  +4+2*size used_event              §2.7.6
//   device      +0 flags  +2 index  +4 ring[size] of {u32 id, u32 length}  … avail_event    §2.7.8
#include "device/virtio/virtqueue.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstring>

#include "base/check.h"

namespace doppel {

namespace {

constexpr u64 descriptor_bytes = 16;
constexpr u16 flag_next = 1, flag_write = 2, flag_indirect = 4;
constexpr u16 driver_no_interrupt = 1, device_no_notify = 1;
constexpr u64 ring_start = 4;

struct Descriptor {
  u64 address;
  u32 length;
  u16 flags;
  u16 next;
};
static_assert(sizeof(Descriptor) == descriptor_bytes);

u64 driver_bytes(u16 size) { return ring_start + u64{2} * size + 2; }
u64 device_bytes(u16 size) { return ring_start + u64{8} * size + 2; }

u64 copy_pieces(std::span<const std::span<u8>> pieces, u64 from, u64 bytes, auto copy) {
  u64 done = 0;
  for (const auto& piece : pieces) {
    if (done == bytes) break;
    if (from >= piece.size()) {
      from -= piece.size();
      continue;
    }
    const u64 part = std::min<u64>(bytes - done, piece.size() - from);
    copy(piece.data() + from, done, part);
    done += part;
    from = 0;
  }
  return done;
}

}  // namespace

u64 Virtqueue::Chain::read(u64 from, void* data, u64 bytes) const {
  return copy_pieces(readable, from, bytes,
                     [&](const u8* guest, u64 at, u64 part) { std::memcpy(static_cast<u8*>(data) + at, guest, part); });
}

u64 Virtqueue::Chain::write(u64 from, const void* data, u64 bytes) const {
  return copy_pieces(writable, from, bytes,
                     [&](u8* guest, u64 at, u64 part) { std::memcpy(guest, static_cast<const u8*>(data) + at, part); });
}

// ---- registers ----

void Virtqueue::set_size(u16 size) {
  if (!enabled_ && std::has_single_bit(size) && size <= largest_) size_ = size;
}

void Virtqueue::set_address(Part part, u64 address) {
  if (!enabled_) addresses_[static_cast<unsigned>(part)] = address;
}

void Virtqueue::reset() {
  size_ = largest_;
  std::ranges::fill(addresses_, 0);
  enabled_ = false;
  features_ = {};
  next_available_ = next_used_ = signalled_used_ = under_way_ = 0;
  notify_wanted_ = true;
  broken_ = nullptr;
  descriptors_ = driver_ = device_ = {};
}

void Virtqueue::enable(const Features& features) {
  if (enabled_) return;
  enabled_ = true;
  features_ = features;
  map_rings();
}

bool Virtqueue::fail(const char* reason) {
  if (broken_ == nullptr) broken_ = reason;
  descriptors_ = driver_ = device_ = {};
  return false;
}

// Rings must be contiguous in host memory: they are, unless they cross from one kind of memory into another.
bool Virtqueue::map_rings() {
  const auto map = [&](Part part, u64 bytes, u64 alignment, bool writable, std::span<u8>& out) {
    std::vector<std::span<u8>> found;
    if (address(part) % alignment != 0) return false;
    if (!dma_.ranges(address(part), bytes, writable, found) || found.empty()) return false;
    u64 together = found[0].size();
    for (std::size_t i = 1; i < found.size(); ++i) {
      if (found[i].data() != found[0].data() + together) return false;
      together += found[i].size();
    }
    out = {found[0].data(), together};
    return true;
  };
  if (!map(Part::descriptors, descriptor_bytes * size_, 16, false, descriptors_))
    return fail("descriptor table is not in memory");
  if (!map(Part::driver, driver_bytes(size_), 2, false, driver_)) return fail("driver area is not in memory");
  if (!map(Part::device, device_bytes(size_), 4, true, device_)) return fail("device area is not in memory");
  return true;
}

// ---- rings ----

u16 Virtqueue::load(const u8* ring, u64 offset) const {
  return std::atomic_ref<u16>(*reinterpret_cast<u16*>(const_cast<u8*>(ring + offset))).load(std::memory_order_acquire);
}

void Virtqueue::store_device(u64 offset, u16 value) {
  std::atomic_ref<u16>(*reinterpret_cast<u16*>(device_.data() + offset)).store(value, std::memory_order_release);
  dma_.written(address(Part::device) + offset, sizeof value);
}

std::optional<Virtqueue::Chain> Virtqueue::pop() {
  if (!enabled_ || broken_ != nullptr) return std::nullopt;
  const u16 available = static_cast<u16>(load(driver_.data(), 2) - next_available_);
  if (available == 0) return std::nullopt;
  // More entries than the ring has, or the same ones again before they were used: an index that runs away.
  if (available > size_ || under_way_ >= size_) {
    fail("available index runs away");
    return std::nullopt;
  }
  Chain chain;
  unsigned descriptors = 0;
  chain.head = load(driver_.data(), ring_start + u64{2} * (next_available_ % size_));
  if (!walk(descriptors_, chain.head, chain, descriptors, false)) return std::nullopt;
  ++next_available_;
  ++under_way_;
  return chain;
}

// A table of descriptors: the queue's, or an indirect one. The count of descriptors also ends loops.
bool Virtqueue::walk(std::span<const u8> table, u16 first, Chain& chain, unsigned& descriptors, bool inside_indirect) {
  const u64 entries = table.size() / descriptor_bytes;
  for (u16 index = first;;) {
    if (index >= entries) return fail("descriptor index out of range");
    if (++descriptors > max_chain) return fail("descriptor chain is too long or loops");
    Descriptor descriptor;
    std::memcpy(&descriptor, table.data() + index * descriptor_bytes, sizeof descriptor);
    if ((descriptor.flags & flag_indirect) != 0) {
      if (!features_.indirect || inside_indirect) return fail("indirect descriptor where none is allowed");
      if ((descriptor.flags & flag_next) != 0) return fail("indirect descriptor that goes on");
      if (descriptor.length == 0 || descriptor.length % descriptor_bytes != 0 ||
          descriptor.length > max_chain * descriptor_bytes) {
        return fail("indirect table of impossible length");
      }
      // Copied: it need not be contiguous here, and cannot change while it is looked at.
      std::vector<u8> indirect(descriptor.length);
      if (!dma_.read(descriptor.address, indirect.data(), indirect.size()))
        return fail("indirect table is not in memory");
      return walk(indirect, 0, chain, descriptors, true);
    }
    if (!add_buffer(descriptor.address, descriptor.length, (descriptor.flags & flag_write) != 0, chain)) return false;
    if ((descriptor.flags & flag_next) == 0) return true;
    index = descriptor.next;
  }
}

bool Virtqueue::add_buffer(u64 address, u32 bytes, bool writable, Chain& chain) {
  if (bytes == 0) return fail("buffer of no bytes");
  if (!writable && !chain.writable.empty()) return fail("readable buffer after a writable one");
  if (chain.readable_bytes + chain.writable_bytes + bytes > u64{1} << 32)
    return fail("descriptor chain of more than 4 GiB");
  if (!dma_.ranges(address, bytes, writable, writable ? chain.writable : chain.readable))
    return fail("buffer is not in memory");
  if (writable) chain.written_.push_back({address, bytes});
  (writable ? chain.writable_bytes : chain.readable_bytes) += bytes;
  return true;
}

void Virtqueue::note_written(const Chain& chain, u64 bytes) {
  for (const auto& piece : chain.written_) {
    if (bytes == 0) return;
    const u64 part = std::min<u64>(bytes, piece.bytes);
    dma_.written(piece.address, part);
    bytes -= part;
  }
}

void Virtqueue::use(const Chain& chain, u64 bytes) {
  CHECK(bytes <= chain.writable_bytes);
  note_written(chain, bytes);
  if (!enabled_ || broken_ != nullptr) return;
  CHECK(under_way_ > 0);
  --under_way_;
  const struct {
    u32 id, length;
  } used{chain.head, static_cast<u32>(std::min<u64>(bytes, ~u32{0}))};
  const u64 offset = ring_start + u64{8} * (next_used_ % size_);
  std::memcpy(device_.data() + offset, &used, sizeof used);
  dma_.written(address(Part::device) + offset, sizeof used);
  ++next_used_;
}

void Virtqueue::publish() {
  if (enabled_ && broken_ == nullptr) store_device(2, next_used_);  // releases the data and the entries
}

// ---- notifications ----

void Virtqueue::disable_notifications() {
  if (!enabled_ || broken_ != nullptr || !notify_wanted_) return;
  notify_wanted_ = false;
  if (!features_.event_index)
    store_device(0, device_no_notify);  // with event indices, not moving avail_event is enough
}

bool Virtqueue::enable_notifications() {
  if (!enabled_ || broken_ != nullptr) return false;
  notify_wanted_ = true;
  if (features_.event_index) {
    store_device(ring_start + u64{8} * size_, next_available_);
  } else {
    store_device(0, 0);
  }
  std::atomic_thread_fence(std::memory_order_seq_cst);  // the driver: index first, then what it reads here
  return load(driver_.data(), 2) != next_available_;
}

bool Virtqueue::should_interrupt() {
  if (!enabled_ || broken_ != nullptr) return false;
  std::atomic_thread_fence(std::memory_order_seq_cst);
  const u16 before = signalled_used_;
  signalled_used_ = next_used_;
  if (before == next_used_) return false;
  if (!features_.event_index) return (load(driver_.data(), 0) & driver_no_interrupt) == 0;
  // Whether the index the driver waits for is among those just used.
  const u16 event = load(driver_.data(), ring_start + u64{2} * size_);
  return static_cast<u16>(next_used_ - event - 1) < static_cast<u16>(next_used_ - before);
}

// Drained: nothing is under way, except in queues whose device keeps chains; those unpop them first.
void Virtqueue::state(state::Archive& archive) {
  archive.begin("virtqueue", 1);
  archive(size_);
  archive(addresses_);
  archive(enabled_);
  archive(features_.indirect);
  archive(features_.event_index);
  archive(next_available_);
  archive(next_used_);
  archive(signalled_used_);
  archive(notify_wanted_);
  bool is_broken = broken_ != nullptr;
  archive(is_broken);
  archive.require(std::has_single_bit(size_) && size_ <= largest_, "virtqueue size");
  archive.end();
  if (!archive.loading() || !archive.ok()) return;
  under_way_ = 0;
  broken_ = nullptr;
  if (is_broken) {
    fail("broken when the machine was saved");
  } else if (enabled_) {
    map_rings();
  }
}

}  // namespace doppel
