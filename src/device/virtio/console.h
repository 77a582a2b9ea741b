// virtio console (virtio 1.2 §5.3): one port, emergency write, optional window size.
// Left out: several ports and their control queue.
#pragma once

#include <array>
#include <deque>

#include "device/serial/character_port.h"
#include "device/virtio/virtio_device.h"

namespace doppel {

class VirtioConsole final : public VirtioDevice, public CharacterPort {
 public:
  static constexpr std::size_t input_limit = 4096;    // bytes held for a guest that does not read
  static constexpr std::size_t output_limit = 65536;  // held for a sink that does not take them; then the guest waits

  // With `resizable` the guest is told the window's size.
  VirtioConsole(std::string name, Dma dma, const CompletionPolicy& policy, bool resizable = false);
  ~VirtioConsole() override { shut_down(); }

  // Any thread.
  void resize(u16 columns, u16 rows);

  // ---- CharacterPort ----
  void connect(Sink sink, std::function<void()> input_wanted) override;
  void flush() override;
  std::size_t can_receive() override;
  std::size_t receive(std::span<const u8> bytes) override;

 protected:
  u64 features() const override;
  std::span<const u8> config() override { return config_; }
  void config_written(u64 offset, unsigned bytes, u64 value) override;
  void work(unsigned queue) override;
  void after_work() override;
  void device_state(state::Archive& archive) override;

 private:
  void to_guest();
  void from_guest();

  const bool resizable_;
  Sink sink_;
  std::function<void()> input_wanted_;

  std::deque<u8> input_;
  std::vector<u8> output_;
  bool refused_input_ = false;  // receive() had no room for all
  bool room_again_ = false;     // and now there is some: input_wanted_ is to be called
  bool output_waits_ = false;   // chains were left in the ring for want of room
  bool sink_full_ = false;
  bool flushing_ = false, flush_again_ = false;
  std::array<u8, 12> config_{};  // +0 columns  +2 rows  +4 max_nr_ports  +8 emerg_wr
};

}  // namespace doppel
