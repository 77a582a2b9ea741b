// virtio over PCI (virtio 1.2 §4.1), modern only. One 32-bit memory BAR holds everything:
//
//   0x0000 common configuration   0x1000 ISR status   0x2000 device configuration   0x3000 notifications, 4 bytes a queue
//   0x4000 MSI-X table            0x5000 MSI-X pending bits
#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "device/pci/pci_function.h"
#include "device/virtio/virtio_device.h"

namespace doppel {

class VirtioPci final : public PciFunction, public IoHandler, private VirtioDevice::Transport {
 public:
  static constexpr u16 vendor = 0x1af4, no_vector = 0xffff;

  VirtioPci(std::unique_ptr<VirtioDevice> device, MsiSink msi);
  ~VirtioPci() override;

  VirtioDevice& device() { return *device_; }

  // The BAR.
  u64 read(Access access) override;
  void write(Access access, u64 value) override;

  void reset() override;
  void pause() override { device_->pause(); }
  void resume() override { device_->resume(); }
  void state(state::Archive& archive) override;

 protected:
  void before_config_read(unsigned offset, unsigned bytes) override;
  void after_config_write(unsigned offset, unsigned bytes) override;

 private:
  void add_capabilities(MsiSink msi);
  u64 read_common(u64 offset);
  void write_common(Access access, u64 value);
  u8 read_isr();
  void forget_driver();
  void interrupt(u16 vector, u8 isr_bit);
  Access window();  // the access that VIRTIO_PCI_CAP_PCI_CFG describes; no bytes: none

  void queue_interrupt(unsigned queue) override;
  void config_interrupt() override;
  bool dma_allowed() const override { return bus_master(); }

  Msix* msix_ = nullptr;
  unsigned window_capability_ = 0;

  std::mutex mutex_;  // guards what follows; after the device's lock, before the function's
  u32 device_feature_select_ = 0, driver_feature_select_ = 0;
  u16 queue_select_ = 0;
  u16 config_vector_ = no_vector;
  std::vector<u16> queue_vectors_;
  u8 isr_ = 0;

  const std::unique_ptr<VirtioDevice> device_;  // the first to go: until then it may interrupt
};

}  // namespace doppel
