// virtio entropy device (virtio 1.2 §5.4): fills whatever buffers the driver offers with random bytes.
#pragma once

#include "device/entropy_source.h"
#include "device/virtio/virtio_device.h"

namespace doppel {

class VirtioEntropy final : public VirtioDevice {
 public:
  // The source must outlive the device; it is saved with it.
  VirtioEntropy(std::string name, Dma dma, const CompletionPolicy& policy, EntropySource& source);
  ~VirtioEntropy() override { shut_down(); }

 protected:
  u64 features() const override { return 0; }
  std::span<const u8> config() override { return {}; }
  void work(unsigned queue) override;
  void device_state(state::Archive& archive) override { source_.state(archive); }

 private:
  EntropySource& source_;
};

}  // namespace doppel
