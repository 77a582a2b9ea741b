// The virtio console; see console.h.
#include "device/virtio/console.h"

#include <algorithm>

namespace doppel {

namespace {
constexpr unsigned receive_queue = 0, transmit_queue = 1;
constexpr std::array<u16, 2> queue_sizes{128, 128};
constexpr u64 feature_size = 1 << 0, feature_emergency_write = 1 << 2;
constexpr u64 emergency_offset = 8;
}  // namespace

VirtioConsole::VirtioConsole(std::string name, Dma dma, const CompletionPolicy& policy, bool resizable)
    : VirtioDevice(std::move(name), virtio::type_console, dma, policy, queue_sizes), resizable_(resizable) {
  config_[4] = 1;  // one port
}

u64 VirtioConsole::features() const { return feature_emergency_write | (resizable_ ? feature_size : 0); }

void VirtioConsole::connect(Sink sink, std::function<void()> input_wanted) {
  const std::lock_guard lock(mutex());
  sink_ = std::move(sink);
  input_wanted_ = std::move(input_wanted);
}

void VirtioConsole::resize(u16 columns, u16 rows) {
  const std::lock_guard lock(mutex());
  const std::array<u8, 4> size{static_cast<u8>(columns), static_cast<u8>(columns >> 8), static_cast<u8>(rows),
                               static_cast<u8>(rows >> 8)};
  if (!resizable_ || std::ranges::equal(size, std::span(config_).first(4))) return;
  std::ranges::copy(size, config_.begin());
  config_changed();
}

// §5.3.4: a character before any queue works.
void VirtioConsole::config_written(u64 offset, unsigned, u64 value) {
  if (offset != emergency_offset || output_.size() >= output_limit) return;
  output_.push_back(static_cast<u8>(value));
  request_work(transmit_queue);
}

void VirtioConsole::work(unsigned index) { index == receive_queue ? to_guest() : from_guest(); }

// ---- host to guest ----

std::size_t VirtioConsole::can_receive() {
  const std::lock_guard lock(mutex());
  return input_limit - input_.size();
}

std::size_t VirtioConsole::receive(std::span<const u8> bytes) {
  const std::lock_guard lock(mutex());
  const std::size_t taken = std::min(bytes.size(), input_limit - input_.size());
  input_.insert(input_.end(), bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(taken));
  if (taken < bytes.size()) refused_input_ = true;
  if (taken != 0) request_work(receive_queue);
  return taken;
}

// Buffers are taken only when there is something to put in; a notification that there are some must then come.
void VirtioConsole::to_guest() {
  Virtqueue& ring = queue(receive_queue);
  do {
    while (!input_.empty()) {
      const auto chain = ring.pop();
      if (!chain) break;
      std::vector<u8> bytes(std::min<u64>(input_.size(), chain->writable_bytes));
      std::copy_n(input_.begin(), bytes.size(), bytes.begin());
      input_.erase(input_.begin(), input_.begin() + static_cast<std::ptrdiff_t>(bytes.size()));
      chain->write(0, bytes.data(), bytes.size());
      push(receive_queue, *chain, bytes.size());
    }
    if (ring.broken() != nullptr) return needs_reset(ring.broken());
  } while (ring.enable_notifications() && !input_.empty());
  interrupt_if_wanted(receive_queue);
  if (refused_input_ && input_.size() < input_limit) {
    refused_input_ = false;
    room_again_ = true;
  }
}

// ---- guest to host ----

// A chain is taken when there is room for all of it, or when nothing waits before it.
void VirtioConsole::from_guest() {
  Virtqueue& ring = queue(transmit_queue);
  unsigned budget = ring.size();
  output_waits_ = false;
  do {
    ring.disable_notifications();
    for (; budget != 0; --budget) {
      const auto chain = ring.pop();
      if (!chain) break;
      if (chain->readable_bytes > output_limit) return needs_reset("console output of more than 64 KiB at once");
      if (output_.size() + chain->readable_bytes > output_limit) {
        ring.unpop();
        output_waits_ = true;
        return interrupt_if_wanted(transmit_queue);
      }
      for (const auto& piece : chain->readable) output_.insert(output_.end(), piece.begin(), piece.end());
      push(transmit_queue, *chain, 0);
    }
    if (ring.broken() != nullptr) return needs_reset(ring.broken());
    if (budget == 0) {
      request_work(transmit_queue);
      break;
    }
  } while (ring.enable_notifications());
  interrupt_if_wanted(transmit_queue);
}

void VirtioConsole::after_work() {
  bool wanted = false;
  bool full = false;
  {
    const std::lock_guard lock(mutex());
    wanted = std::exchange(room_again_, false);
    full = sink_full_;
  }
  if (wanted && input_wanted_) input_wanted_();
  if (!full) flush();
}

// The sink is called without the lock. Whoever comes while another thread is at it leaves the work to that one.
void VirtioConsole::flush() {
  std::unique_lock lock(mutex());
  sink_full_ = false;
  flush_again_ = true;
  if (flushing_) return;
  flushing_ = true;
  while (!output_.empty() && !sink_full_) {
    flush_again_ = false;
    std::vector<u8> bytes;
    bytes.swap(output_);
    lock.unlock();
    const std::size_t taken = sink_ ? std::min(sink_(bytes), bytes.size()) : bytes.size();
    lock.lock();
    if (taken == bytes.size()) continue;
    sink_full_ = !flush_again_;  // it may have got room while it said no
    output_.insert(output_.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(taken), bytes.end());
  }
  flushing_ = false;
  if (output_waits_ && output_.size() < output_limit) request_work(transmit_queue);
}

void VirtioConsole::device_state(state::Archive& archive) {
  std::vector<u8> pending(input_.begin(), input_.end());
  archive(pending, input_limit);
  archive(output_, 2 * output_limit);
  archive(output_waits_);
  archive(config_);
  if (archive.loading()) input_.assign(pending.begin(), pending.end());
}

}  // namespace doppel
