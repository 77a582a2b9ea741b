// The host's end of the 16550A: output on its way to the sink, input from the I/O thread. See uart16550.h.
#include <algorithm>

#include "device/serial/uart16550.h"
#include "device/serial/uart16550_registers.h"

namespace doppel {

using namespace uart16550;

void Uart16550::connect(Sink sink, std::function<void()> input_wanted) {
  sink_ = std::move(sink);
  input_wanted_ = std::move(input_wanted);
}

void Uart16550::put_output(u8 byte) {
  if (!sink_ || output_.size() >= output_bytes) return;
  output_.push_back(byte);
  if (sink_full_) return;
  if (flush_at_ == 0) flush_within(gather_time);
  if (output_.size() == gather_bytes) flush_within(urgent_time);
}

// The alarm brings the bytes to the I/O thread: a little later, so that they come in batches.
void Uart16550::flush_within(Nanoseconds time) {
  flush_at_ = clock_.now() + time;
  alarm_->set(flush_at_);
}

void Uart16550::flush() {
  std::vector<u8> batch;
  {
    const std::lock_guard lock(mutex_);
    batch = output_;
  }
  const std::size_t taken = batch.empty() || !sink_ ? 0 : std::min(sink_(batch), batch.size());
  const std::lock_guard lock(mutex_);
  const bool was_empty = transmitter_empty();
  sink_full_ = taken < batch.size();
  // A vCPU may have added bytes behind; only this thread takes any away.
  output_.erase(output_.begin(), output_.begin() + static_cast<long>(taken));
  if (!sink_full_ && !output_.empty() && flush_at_ == 0) flush_within(gather_time);
  if (!was_empty && transmitter_empty()) {
    thre_pending_ = true;
    update_interrupt();
  }
}

// Whether to ask for what receive() refused: once, when there is room.
bool Uart16550::wants_refused_input() {
  if (!refused_input_ || loopback() || received_count_ >= receiver_capacity()) return false;
  refused_input_ = false;
  return true;
}

std::size_t Uart16550::can_receive() {
  const std::lock_guard lock(mutex_);
  return loopback() ? 0 : receiver_capacity() - received_count_;
}

std::size_t Uart16550::receive(std::span<const u8> bytes) {
  const std::lock_guard lock(mutex_);
  const std::size_t room = loopback() ? 0 : receiver_capacity() - received_count_;
  const std::size_t taken = std::min(room, bytes.size());
  for (std::size_t i = 0; i < taken; ++i) received_[received_count_++] = {bytes[i], 0};
  refused_input_ = taken < bytes.size();
  update_interrupt();
  return taken;
}

void Uart16550::receive_break() {
  const std::lock_guard lock(mutex_);
  if (loopback() || received_count_ >= receiver_capacity()) return;
  received_[received_count_++] = {0, lsr::BreakInterrupt::mask | lsr::FramingError::mask};
  update_interrupt();
}

}  // namespace doppel
