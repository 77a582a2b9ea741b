// virtio block device (virtio 1.2 §5.2): read, write, flush, get ID, discard, write zeroes; several queues.
//
// What the guest flushed is on stable storage before the flush completes. A driver that does not negotiate
// VIRTIO_BLK_F_FLUSH gets every write on stable storage before it completes (§5.2.6.2).
// Left out: switching the cache mode, lifetime, secure erase, zones.
#pragma once

#include <memory>
#include <string>

#include "device/virtio/virtio_device.h"
#include "disk/block_image.h"

namespace doppel {

class VirtioBlock final : public VirtioDevice {
 public:
  struct Options {
    std::string serial;   // up to 20 characters, for the guest's /dev/disk/by-id
    unsigned queues = 1;  // as many as vCPUs are useful; at most 64
    u16 queue_size = 256;
  };

  // The image is drained whenever the device is paused or reset. With a synchronous policy each request is performed to its
  // end before the next one starts, so that completions have the order of the queue.
  VirtioBlock(std::string name, Dma dma, const CompletionPolicy& policy, std::unique_ptr<disk::BlockImage> image,
              const Options& options);
  ~VirtioBlock() override;

  const disk::BlockImage& image() const { return *image_; }

 protected:
  u64 features() const override;
  std::span<const u8> config() override { return config_; }
  void work(unsigned queue) override;
  void work_at_once(unsigned queue) override;
  unsigned under_way() const override { return under_way_; }
  void drain() override { image_->drain(); }
  void device_state(state::Archive& archive) override { image_->state(archive); }

 private:
  struct Request;
  using RequestPtr = std::shared_ptr<Request>;

  void fill_config(const Options& options);
  void begin(unsigned queue, Virtqueue::Chain chain);
  bool finish_at_once(unsigned queue, Virtqueue::Chain& chain, u64& bytes_left);
  bool transfer_at_once(Request& request);
  u8 parse(Request& request) const;
  u8 parse_transfer(Request& request, u64 sector, bool write) const;
  u8 parse_ranges(Request& request, bool zeroes) const;
  bool in_disk(u64 sector, u64 sectors) const;
  void run_to_end(Request& request);
  void start_next(const RequestPtr& request);
  void complete(Request& request, u8 status);
  void report(int error);

  const std::unique_ptr<disk::BlockImage> image_;
  std::string serial_;
  std::vector<u8> config_;
  unsigned under_way_ = 0;
  bool reported_ = false;
};

}  // namespace doppel
