// virtio network device (virtio 1.2 §5.1): several pairs of queues, mergeable receive buffers, checksum and TCP segmentation
// offload as far as the port takes and gives them, and the control queue: receive modes, MAC and VLAN filters, number of
// pairs, announcement, offloads.
// Left out: UDP segmentation, receive-side scaling by hash reports, interrupt coalescing.
#pragma once

#include <array>
#include <bitset>

#include "device/virtio/net_control.h"
#include "device/virtio/virtio_device.h"
#include "network/port.h"

namespace doppel {

class VirtioNet final : public VirtioDevice, private network::Port::Receiver {
 public:
  using MacAddress = std::array<u8, 6>;
  static constexpr unsigned max_pairs = 8;

  // The port must outlive the device. `mtu`: what the driver is advised to use; 0: nothing is said.
  VirtioNet(std::string name, Dma dma, const CompletionPolicy& policy, network::Port& port, const MacAddress& mac,
            unsigned pairs = 1, u16 mtu = 0);
  ~VirtioNet() override;

  // Any thread, after the port's link went up or down.
  void link_changed() override;

 protected:
  u64 features() const override;
  std::span<const u8> config() override { return config_; }
  void work(unsigned queue) override;
  void stopped() override;
  void device_state(state::Archive& archive) override;

 private:
  bool receive(const network::PacketHeader& header, std::span<const u8> frame) override;         // takes the lock
  void end_of_batch() override;                                                                  // takes the lock
  bool deliver(unsigned queue, const network::PacketHeader& header, std::span<const u8> frame);  // false: no room
  bool understood(const network::PacketHeader& header) const;
  bool gather(unsigned queue, u64 needed);
  void transmit(unsigned queue);
  void send(unsigned queue, const Virtqueue::Chain& chain);
  bool acceptable(const network::PacketHeader& header, u64 frame_bytes) const;
  void control();
  u8 command(const Virtqueue::Chain& chain);
  u8 set_mac(std::span<const u8> data);
  u8 set_offloads(std::span<const u8> data);
  u8 set_pairs(std::span<const u8> data);
  void allow_offloads(u64 features);
  void set_link();
  unsigned control_queue() const;
  u16 mtu() const;

  network::Port& port_;
  const unsigned pairs_;
  const MacAddress factory_mac_;
  std::array<u8, 12> config_{};  // +0 MAC  +6 status  +8 pairs  +a MTU
  net_control::Filter filter_;
  unsigned active_pairs_ = 1;
  std::array<u8, 256> steering_{};  // by flow: the pair that last sent in it
  u64 offloads_ = 0;                // what the driver takes now, as feature bits
  bool offloads_known_ = false;     // since the driver is ready
  bool wanting_room_ = false;       // the port holds a frame

  std::vector<u8> frame_;                 // scratch
  std::vector<Virtqueue::Chain> chains_;  // scratch
  std::bitset<2 * max_pairs> delivered_;  // queues that were pushed to in this batch
};

}  // namespace doppel
