// A virtio 1.2 device without its transport (virtio 1.2 §2, §3): status, feature negotiation, virtqueues, notifications
// and the configuration space. A kind of device derives from it; a transport (virtio_pci.h) drives it.
//
// Threads: the transport calls from vCPU threads, work on queues runs as Deferred says. One mutex guards the device; what
// derives from it is called with that mutex held unless it says otherwise. A driver's error makes the device need a reset.
#pragma once

#include <atomic>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "device/device.h"
#include "device/virtio/deferred.h"
#include "device/virtio/virtqueue.h"
#include "memory/physical_memory.h"

namespace doppel {

namespace virtio {
// Device types, §5.
constexpr u16 type_network = 1, type_block = 2, type_console = 3, type_entropy = 4, type_scsi = 8, type_9p = 9;
// Device status, §2.1.
constexpr u8 status_acknowledge = 1, status_driver = 2, status_driver_ok = 4, status_features_ok = 8;
constexpr u8 status_needs_reset = 64, status_failed = 128;
// Feature bits of every device, §6.
constexpr u64 feature_indirect = u64{1} << 28, feature_event_index = u64{1} << 29, feature_version_1 = u64{1} << 32;
}  // namespace virtio

class VirtioDevice : public Device {
 public:
  // What a transport does for its device. Called with the device's lock held.
  class Transport {
   public:
    virtual ~Transport() = default;
    virtual void queue_interrupt(unsigned queue) = 0;
    virtual void config_interrupt() = 0;
    virtual bool dma_allowed() const = 0;  // bus mastering; turning on is followed by dma_turned_on()
  };

  VirtioDevice(std::string name, u16 type, Dma dma, const CompletionPolicy& policy, std::span<const u16> queue_sizes);

  u16 type() const { return type_; }
  void connect(Transport& transport) { transport_ = &transport; }
  unsigned queue_count() const { return static_cast<unsigned>(queues_.size()); }

  // ---- for the transport; any thread ----
  u32 device_features(u32 select);
  u32 driver_features(u32 select);
  void set_driver_features(u32 select, u32 value);
  u8 status();
  void set_status(u8 value);  // 0 resets; complete when status() reads 0
  u8 config_generation();
  u64 read_config(Access access);  // device configuration, §2.5
  void write_config(Access access, u64 value);
  void notify(unsigned queue);  // cheap: the work is done elsewhere
  void dma_turned_on();

  u16 queue_largest(unsigned queue);
  u16 queue_size(unsigned queue);
  void set_queue_size(unsigned queue, u16 size);
  u64 queue_address(unsigned queue, Virtqueue::Part part);
  void set_queue_address(unsigned queue, Virtqueue::Part part, u64 address);
  bool queue_enabled(unsigned queue);
  void enable_queue(unsigned queue);

  // ---- Device ----
  std::string_view name() const override { return name_; }
  void reset() final;
  void pause() final;
  void resume() final;
  void state(state::Archive& archive) final;

 protected:
  // ---- what a kind of device defines ----
  virtual u64 features() const = 0;          // of its own, beyond those of every device
  virtual std::span<const u8> config() = 0;  // little endian; beyond its end reads as zero
  virtual void config_written(u64 /*offset*/, unsigned /*bytes*/, u64 /*value*/) {}
  virtual void work(unsigned queue) = 0;  // the driver made something available, or the device was resumed
  // The same within the driver's notification, on its vCPU's thread: what takes no longer than a hand-over to another thread
  // would. What is left is asked for with request_work().
  virtual void work_at_once(unsigned queue) { request_work(queue); }
  virtual void after_work() {}                      // without the lock, on the thread that works
  virtual void stopped() {}                         // reset: forget everything that belongs to the driver
  virtual unsigned under_way() const { return 0; }  // requests that the host still works on
  virtual void drain() {}                           // without the lock: returns when none is under way
  virtual void device_state(state::Archive&) {}

  // ---- what it uses ----
  std::mutex& mutex() { return mutex_; }
  bool live() const;     // the driver is ready and nothing went wrong: requests may be completed
  bool running() const;  // moreover, new ones may be started now
  bool negotiated(u64 feature) const { return (accepted_features_ & feature) != 0; }
  bool synchronous() const { return policy_.synchronous(); }
  Virtqueue& queue(unsigned index) { return queues_[index]; }
  // Asks for work(queue) later, on the thread that works.
  void request_work(unsigned queue);
  // Pops chains and hands them over until there are none, notifications disabled meanwhile. A queue's worth of
  // chains at a time: then others get their turn.
  template <class Handle>
  void consume(unsigned index, Handle handle);
  // The same until handle(chain) returns false: that chain and those behind it are left to work(queue).
  template <class Handle>
  void consume_while(unsigned index, Handle handle);
  void push(unsigned queue, const Virtqueue::Chain& chain, u64 written) { queues_[queue].push(chain, written); }
  void use(unsigned queue, const Virtqueue::Chain& chain, u64 written) { queues_[queue].use(chain, written); }
  void publish(unsigned queue) { queues_[queue].publish(); }
  void interrupt_if_wanted(unsigned queue);
  void needs_reset(std::string_view reason);
  void config_changed();
  // A request that was under way has ended: a reset may have been waiting for that.
  void request_ended();
  // First in every destructor, without the lock: no work() runs afterwards, and nothing is under way.
  void shut_down();

 private:
  void work_on_queues();  // takes the lock
  bool try_at_once(unsigned queue);
  void reset_locked();
  void finish_reset();
  bool check_queue(unsigned queue);  // true, or the device needs a reset now

  const std::string name_;
  const u16 type_;
  const CompletionPolicy policy_;
  Transport* transport_ = nullptr;

  std::mutex mutex_;  // guards what follows, and what derives
  std::vector<Virtqueue> queues_;
  u8 status_ = 0;
  u64 accepted_features_ = 0;
  u8 config_generation_ = 0;
  bool resetting_ = false;
  bool paused_ = false;

  std::atomic<u64> notified_ = 0;  // one bit per queue
  Deferred deferred_;              // last: its destruction ends the work
};

template <class Handle>
void VirtioDevice::consume(unsigned index, Handle handle) {
  consume_while(index, [&](Virtqueue::Chain& chain) {
    handle(std::move(chain));
    return true;
  });
}

template <class Handle>
void VirtioDevice::consume_while(unsigned index, Handle handle) {
  Virtqueue& ring = queues_[index];
  unsigned budget = ring.size();
  do {
    ring.disable_notifications();
    while (budget != 0 && running()) {
      auto chain = ring.pop();
      if (!chain) break;
      --budget;
      if (handle(*chain)) continue;
      ring.unpop();
      return request_work(index);
    }
    if (!check_queue(index) || !running()) return;
    if (budget == 0) return request_work(index);
  } while (ring.enable_notifications());
}

}  // namespace doppel
