// virtio 9P transport (device type 9): a folder of the host under a tag that the guest mounts. One queue; a chain is one
// message and room for its answer. Messages are answered in turn on a worker thread, so that a slow disk holds up neither a
// vCPU nor the I/O thread; with the instruction clock where work is done, at the time that the guest alone decides.
#pragma once

#include <condition_variable>
#include <deque>
#include <memory>
#include <thread>

#include "device/share/p9_server.h"
#include "device/virtio/virtio_device.h"

namespace doppel {

class VirtioShare final : public VirtioDevice {
 public:
  static constexpr std::size_t longest_tag = 31;

  VirtioShare(std::string name, Dma dma, const CompletionPolicy& policy, std::unique_ptr<p9::Server> server,
              std::string_view tag);
  ~VirtioShare() override;

 protected:
  u64 features() const override { return 1; }  // VIRTIO_9P_MOUNT_TAG
  std::span<const u8> config() override { return config_; }
  void work(unsigned queue) override;
  void stopped() override { server_->reset(); }
  unsigned under_way() const override { return under_way_; }
  void drain() override;
  void device_state(state::Archive& archive) override { server_->state(archive); }

 private:
  void run();
  u64 answer(Virtqueue::Chain& chain);  // the number of bytes written
  void complete(Virtqueue::Chain& chain, u64 written);

  // Used by whoever works on a message; not while none is under way by anyone else, who holds the lock.
  const std::unique_ptr<p9::Server> server_;
  std::vector<u8> config_;  // +0 tag length  +2 tag

  // Guarded by mutex().
  std::deque<Virtqueue::Chain> waiting_;
  unsigned under_way_ = 0;
  bool stopping_ = false;
  std::condition_variable changed_;
  std::thread worker_;
};

}  // namespace doppel
