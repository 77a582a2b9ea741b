// virtio network device (virtio 1.2 §5.1): one pair of queues, mergeable receive buffers, MAC address, link status.
// Left out: checksum and segmentation offload, the control queue, several queue pairs.
#pragma once

#include <array>

#include "device/virtio/virtio_device.h"
#include "network/port.h"

namespace doppel {

class VirtioNet final : public VirtioDevice {
 public:
  using MacAddress = std::array<u8, 6>;

  // The port must outlive the device.
  VirtioNet(std::string name, Dma dma, const CompletionPolicy& policy, network::Port& port, const MacAddress& mac);
  ~VirtioNet() override;

  // Any thread, after the port's link went up or down.
  void link_changed();

 protected:
  u64 features() const override;
  std::span<const u8> config() override { return config_; }
  void work(unsigned queue) override;
  void stopped() override { wanting_room_ = false; }
  void device_state(state::Archive& archive) override;

 private:
  bool receive(std::span<const u8> frame);  // takes the lock
  bool deliver(std::span<const u8> frame);  // false: no room
  void transmit();
  void set_status();

  network::Port& port_;
  std::array<u8, 8> config_{};  // +0 MAC  +6 status, bit 0: link up
  std::vector<u8> frame_;       // scratch
  bool wanting_room_ = false;   // the port holds a frame
};

}  // namespace doppel
