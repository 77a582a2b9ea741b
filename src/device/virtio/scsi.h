// virtio SCSI host device (virtio 1.2 §5.6): disks and CD-ROM drives, each a target of its own with one logical unit (LUN 0).
// What commands do is the units' business (device/scsi); this carries them: several request queues, task management.
//
// A command that is aborted, or whose unit is reset, ends when the step of it that the host works on does; the answer to
// the task management request comes after that. The event queue stays empty: nothing comes or goes while a machine runs.
// Left out: hot plug, bidirectional commands, protection information; asynchronous notifications are answered with none.
#pragma once

#include <memory>
#include <string>
#include <unordered_set>
#include <vector>

#include "device/scsi/logical_unit.h"
#include "device/virtio/virtio_device.h"

namespace doppel {

class VirtioScsi final : public VirtioDevice {
 public:
  struct Options {
    unsigned queues = 1;  // for requests; as many as vCPUs are useful; at most 32
    u16 queue_size = 256;
  };
  static constexpr std::size_t most_units = 256;

  // units[i] is target i. Images are drained whenever the device is paused or reset.
  VirtioScsi(std::string name, Dma dma, const CompletionPolicy& policy,
             std::vector<std::unique_ptr<scsi::LogicalUnit>> units, const Options& options);
  ~VirtioScsi() override;

 protected:
  u64 features() const override { return 0; }
  std::span<const u8> config() override;
  void config_written(u64 offset, unsigned bytes, u64 value) override;
  void work(unsigned queue) override;
  void stopped() override;
  unsigned under_way() const override { return static_cast<unsigned>(requests_.size()); }
  void drain() override;
  void device_state(state::Archive& archive) override;

 private:
  struct Request;
  struct Management;
  struct Address;
  using RequestPtr = std::shared_ptr<Request>;

  // ---- requests ----
  void begin(unsigned queue, Virtqueue::Chain chain);
  scsi::Task execute(const Request& request, const Address& address);
  void run_to_end(Request& request);
  void start_step(const RequestPtr& request);
  void step_ended(const RequestPtr& request, int error);
  void fail_step(Request& request, int error);
  void complete(Request& request);
  scsi::LogicalUnit* find_target(const Address& address);

  // ---- the control queue ----
  void control(Virtqueue::Chain chain);
  void manage_tasks(Virtqueue::Chain chain);
  u8 reset_unit(const Address& address, std::shared_ptr<Management> management);
  void answer_notification(Virtqueue::Chain chain);
  void answer(const Virtqueue::Chain& chain, u64 at, u8 response);
  template <class Matches>
  bool abort(Matches matches, u8 response, const std::shared_ptr<Management>& management);

  const std::vector<std::unique_ptr<scsi::LogicalUnit>> units_;
  const u32 most_segments_;
  std::vector<u8> config_;
  u32 sense_bytes_, cdb_bytes_;              // as the driver set them
  std::unordered_set<RequestPtr> requests_;  // under way
  bool reported_ = false;
};

}  // namespace doppel
