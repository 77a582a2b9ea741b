// A split virtqueue, the device's side (virtio 1.2 §2.7), with indirect descriptors and event indices. Everything in the
// rings is the guest's and is checked: chains that loop or are too long, buffers outside of memory, indices that run
// away. The first violation breaks the queue, with a reason; it then yields nothing until it is reset.
//
// Not locked: its device is. Rings and buffers are in guest memory, which vCPUs change at any time: every field is read once.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "base/types.h"
#include "memory/physical_memory.h"
#include "state/archive.h"

namespace doppel {

class Virtqueue {
 public:
  static constexpr u16 max_size = 1024;        // of any of our queues
  static constexpr unsigned max_chain = 1024;  // descriptors, indirect ones included

  struct Features {
    bool indirect = false;
    bool event_index = false;
  };

  // A chain of buffers that the driver made available, with its memory already resolved and checked.
  struct Chain {
    u16 head = 0;
    std::vector<std::span<u8>> readable;  // by the device
    std::vector<std::span<u8>> writable;  // by the device; report it with Virtqueue::push
    u64 readable_bytes = 0, writable_bytes = 0;

    // Copies from the readable part, or into the writable part, from byte `from` on; the number of bytes copied.
    u64 read(u64 from, void* data, u64 bytes) const;
    u64 write(u64 from, const void* data, u64 bytes) const;

   private:
    friend class Virtqueue;
    struct Piece {
      GuestPhysical address;
      u32 bytes;
    };
    std::vector<Piece> written_;  // the writable part as the guest addresses it
  };

  Virtqueue(Dma dma, u16 largest) : dma_(dma), largest_(largest) { reset(); }

  // ---- the registers of the transport (§4.1.4.3) ----
  u16 largest() const { return largest_; }
  u16 size() const { return size_; }
  void set_size(u16 size);  // ignored unless a power of two that is no larger than `largest`, and while enabled
  enum class Part { descriptors, driver, device };
  u64 address(Part part) const { return addresses_[static_cast<unsigned>(part)]; }
  void set_address(Part part, u64 address);  // ignored while enabled
  bool enabled() const { return enabled_; }
  // Looks at the rings' places; broken() when they are misaligned or not in memory.
  void enable(const Features& features);
  void reset();

  const char* broken() const { return broken_; }  // the reason, or nullptr

  // ---- the device's work ----
  // The next available chain. Nothing: there is none, or the queue is (now) broken.
  std::optional<Chain> pop();
  // Puts the last popped chain back: pop() returns it again. Only while none popped before it was pushed meanwhile.
  void unpop() {
    --next_available_;
    --under_way_;
  }
  // Returns a chain to the driver, of which the device wrote the first `bytes` bytes.
  void push(const Chain& chain, u64 bytes) {
    use(chain, bytes);
    publish();
  }
  // The same in two steps, for chains that the driver must see at once: those that were used, from publish() on.
  void use(const Chain& chain, u64 bytes);
  void publish();
  // For a chain that the device wrote to and does not push: the writes are made known to whoever watches memory.
  void note_written(const Chain& chain, u64 bytes);
  unsigned under_way() const { return under_way_; }  // popped and not pushed

  // Asks the driver not to notify while the device is looking anyway; then to notify again. The latter returns true when
  // something came in between: look once more.
  void disable_notifications();
  bool enable_notifications();

  // After pushes: whether the driver wants an interrupt for them (§2.7.7, §2.7.10).
  bool should_interrupt();

  void state(state::Archive& archive);

 private:
  bool fail(const char* reason);  // always false
  bool map_rings();
  bool walk(std::span<const u8> table, u16 first, Chain& chain, unsigned& descriptors, bool inside_indirect);
  bool add_buffer(u64 address, u32 bytes, bool writable, Chain& chain);
  u16 load(const u8* ring, u64 offset) const;
  void store_device(u64 offset, u16 value);

  Dma dma_;
  const u16 largest_;

  u16 size_ = 0;
  u64 addresses_[3] = {};
  bool enabled_ = false;
  Features features_;
  u16 next_available_ = 0;  // index of the next entry of the available ring to look at
  u16 next_used_ = 0;
  u16 signalled_used_ = 0;  // used index at the last should_interrupt
  bool notify_wanted_ = true;
  u16 under_way_ = 0;
  const char* broken_ = nullptr;

  std::span<u8> descriptors_, driver_, device_;  // host memory of the rings, while enabled and not broken
};

}  // namespace doppel
