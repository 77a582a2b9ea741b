// What all virtio devices share; see virtio_device.h.
#include "device/virtio/virtio_device.h"

#include <algorithm>

#include "base/bits.h"
#include "base/check.h"
#include "base/log.h"

namespace doppel {

using namespace virtio;

namespace {
constexpr u8 driver_status_bits = status_acknowledge | status_driver | status_driver_ok | status_features_ok |
                                  status_failed;
}

VirtioDevice::VirtioDevice(std::string name, u16 type, Dma dma, const CompletionPolicy& policy,
                           std::span<const u16> queue_sizes)
    : name_(std::move(name)), type_(type), policy_(policy), deferred_(policy, [this] { work_on_queues(); }) {
  CHECK(queue_sizes.size() <= 64);
  for (const u16 size : queue_sizes) queues_.emplace_back(dma, size);
}

// ---- negotiation ----

u32 VirtioDevice::device_features(u32 select) {
  const u64 all = features() | feature_indirect | feature_event_index | feature_version_1;
  return select > 1 ? 0 : static_cast<u32>(all >> (32 * select));
}

u32 VirtioDevice::driver_features(u32 select) {
  const std::lock_guard lock(mutex_);
  return select > 1 ? 0 : static_cast<u32>(accepted_features_ >> (32 * select));
}

void VirtioDevice::set_driver_features(u32 select, u32 value) {
  const std::lock_guard lock(mutex_);
  if (select > 1 || resetting_ || (status_ & status_features_ok) != 0) return;
  const unsigned shift = 32 * select;
  accepted_features_ = (accepted_features_ & ~(u64{0xffffffff} << shift)) | u64{value} << shift;
}

u8 VirtioDevice::status() {
  const std::lock_guard lock(mutex_);
  return status_;
}

// Bits are only ever added (§2.1.2). FEATURES_OK stays off for features that were not offered, and for a legacy driver;
// DRIVER_OK stays off without it (§3.1.1).
void VirtioDevice::set_status(u8 value) {
  const std::lock_guard lock(mutex_);
  if (value == 0) return reset_locked();
  if (resetting_) return;
  u8 added = value & driver_status_bits & static_cast<u8>(~status_);
  const u64 offered = features() | feature_indirect | feature_event_index | feature_version_1;
  const bool acceptable = (accepted_features_ & ~offered) == 0 && negotiated(feature_version_1);
  if ((added & status_features_ok) != 0 && !acceptable) added &= static_cast<u8>(~status_features_ok);
  if (((status_ | added) & status_features_ok) == 0) added &= static_cast<u8>(~status_driver_ok);
  status_ |= added;
  if ((added & status_driver_ok) == 0) return;
  for (unsigned i = 0; i < queues_.size(); ++i) {
    if (check_queue(i)) request_work(i);  // drivers may fill rings before they say that they are ready
  }
}

u8 VirtioDevice::config_generation() {
  const std::lock_guard lock(mutex_);
  return config_generation_;
}

u64 VirtioDevice::read_config(Access access) {
  const std::lock_guard lock(mutex_);
  const auto bytes = config();
  u64 value = 0;
  for (unsigned i = 0; i < access.bytes && access.offset + i < bytes.size(); ++i) {
    value |= u64{bytes[access.offset + i]} << (8 * i);
  }
  return value;
}

void VirtioDevice::write_config(Access access, u64 value) {
  const std::lock_guard lock(mutex_);
  if (!resetting_) config_written(access.offset, access.bytes, value);
}

// ---- queues ----

u16 VirtioDevice::queue_largest(unsigned index) { return index < queues_.size() ? queues_[index].largest() : 0; }

u16 VirtioDevice::queue_size(unsigned index) {
  const std::lock_guard lock(mutex_);
  return index < queues_.size() ? queues_[index].size() : 0;
}

void VirtioDevice::set_queue_size(unsigned index, u16 size) {
  const std::lock_guard lock(mutex_);
  if (index < queues_.size() && !resetting_) queues_[index].set_size(size);
}

u64 VirtioDevice::queue_address(unsigned index, Virtqueue::Part part) {
  const std::lock_guard lock(mutex_);
  return index < queues_.size() ? queues_[index].address(part) : 0;
}

void VirtioDevice::set_queue_address(unsigned index, Virtqueue::Part part, u64 address) {
  const std::lock_guard lock(mutex_);
  if (index < queues_.size() && !resetting_) queues_[index].set_address(part, address);
}

bool VirtioDevice::queue_enabled(unsigned index) {
  const std::lock_guard lock(mutex_);
  return index < queues_.size() && queues_[index].enabled();
}

void VirtioDevice::enable_queue(unsigned index) {
  const std::lock_guard lock(mutex_);
  if (index >= queues_.size() || resetting_) return;
  queues_[index].enable({.indirect = negotiated(feature_indirect), .event_index = negotiated(feature_event_index)});
  check_queue(index);
}

void VirtioDevice::notify(unsigned index) {
  if (index < queues_.size() && !try_at_once(index)) request_work(index);
}

// Not while another thread is at work on the device: that would be waited for.
bool VirtioDevice::try_at_once(unsigned index) {
  if (synchronous()) return false;
  const std::unique_lock lock(mutex_, std::try_to_lock);
  if (!lock || !running() || !queues_[index].enabled()) return false;
  work_at_once(index);
  return true;
}

void VirtioDevice::request_work(unsigned index) {
  notified_.fetch_or(u64{1} << index);
  deferred_.request();
}

void VirtioDevice::dma_turned_on() {
  if (notified_ != 0) deferred_.request();
}

bool VirtioDevice::live() const {
  return (status_ & (status_driver_ok | status_needs_reset)) == status_driver_ok && !resetting_;
}

bool VirtioDevice::running() const { return live() && !paused_ && transport_ != nullptr && transport_->dma_allowed(); }

// What cannot be worked on now stays noted, for resume() and dma_turned_on(); a reset forgets it.
void VirtioDevice::work_on_queues() {
  {
    const std::lock_guard lock(mutex_);
    const u64 notified = running() ? notified_.exchange(0) : 0;
    for (unsigned i = 0; i < queues_.size(); ++i) {
      if ((notified >> i & 1) != 0 && queues_[i].enabled() && running()) work(i);
    }
  }
  after_work();
}

void VirtioDevice::interrupt_if_wanted(unsigned index) {
  if (queues_[index].should_interrupt() && transport_ != nullptr) transport_->queue_interrupt(index);
}

bool VirtioDevice::check_queue(unsigned index) {
  if (queues_[index].broken() == nullptr) return true;
  needs_reset(queues_[index].broken());
  return false;
}

// §2.1.2: the driver is told, if it said that it is ready.
void VirtioDevice::needs_reset(std::string_view reason) {
  if ((status_ & status_needs_reset) != 0) return;
  status_ |= status_needs_reset;
  log::debug("{} needs a reset: {}", name_, reason);
  if ((status_ & status_driver_ok) != 0) config_changed();
}

void VirtioDevice::config_changed() {
  ++config_generation_;
  if ((status_ & status_driver_ok) != 0 && transport_ != nullptr) transport_->config_interrupt();
}

// ---- life cycle ----

// Memory must not change any more once the driver reads status 0, so requests under way end first.
void VirtioDevice::reset_locked() {
  resetting_ = true;
  if (under_way() == 0) finish_reset();
}

void VirtioDevice::finish_reset() {
  stopped();
  for (auto& queue : queues_) queue.reset();
  status_ = 0;
  accepted_features_ = 0;
  notified_ = 0;
  resetting_ = false;
}

void VirtioDevice::request_ended() {
  if (resetting_ && under_way() == 0) finish_reset();
}

void VirtioDevice::reset() {
  drain();
  const std::lock_guard lock(mutex_);
  finish_reset();
  config_generation_ = 0;
  deferred_.reset();
}

void VirtioDevice::shut_down() {
  deferred_.stop();
  drain();
}

void VirtioDevice::pause() {
  {
    const std::lock_guard lock(mutex_);
    paused_ = true;
  }
  drain();
}

void VirtioDevice::resume() {
  const std::lock_guard lock(mutex_);
  paused_ = false;
  if (!synchronous()) deferred_.request();  // with a fixed delay, what is due is armed already
}

void VirtioDevice::state(state::Archive& archive) {
  const std::lock_guard lock(mutex_);
  archive.begin("virtio", 1);
  u16 type = type_;
  u64 notified = notified_;
  u32 count = queue_count();
  archive(type);
  archive(count);
  archive.require(type == type_ && count == queue_count(), "virtio device: the machine has another one in its place");
  archive(status_);
  archive(accepted_features_);
  archive(config_generation_);
  archive(notified);
  archive.require((notified & ~low_bits(count)) == 0, "virtqueue notification");
  if (archive.ok()) notified_ = notified;
  for (auto& queue : queues_) queue.state(archive);
  deferred_.state(archive);
  device_state(archive);
  archive.end();
  if (!archive.loading() || !archive.ok()) return;
  for (unsigned i = 0; i < queues_.size(); ++i) check_queue(i);
}

}  // namespace doppel
