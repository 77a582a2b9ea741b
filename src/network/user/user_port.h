// A port into the network of the host's user; the work is done by a process of its own (process.h). Should that end, the
// link goes down, which is said once.
#pragma once

#include <memory>

#include "base/event_loop.h"
#include "network/frame_queue.h"
#include "network/port.h"
#include "network/user/process.h"

namespace doppel::network {

class UserPort final : public Port {
 public:
  static Result<std::unique_ptr<UserPort>> create(EventLoop& loop, const UserNetwork& network,
                                                  const std::string& program = "/proc/self/exe");
  ~UserPort() override;

  bool link_up() const override { return up_; }
  Offloads takes() const override { return {.checksum = true, .tso4 = true, .tso6 = true}; }
  Offloads gives() const override { return takes(); }
  void allow(const Offloads& offloads) override;
  void send(const PacketHeader& header, std::span<const u8> frame) override;
  void flush() override;
  void set_receiver(Receiver* receiver) override { receiver_ = receiver; }
  void ready() override;

  pid_t pid() const { return process_.pid; }

 private:
  UserPort(EventLoop& loop, UserProcess process) : loop_(loop), process_(std::move(process)) {}
  void on_events(u32 events);
  void deliver();
  void watch();  // what there is to wait for
  void lost();

  EventLoop& loop_;
  UserProcess process_;
  Receiver* receiver_ = nullptr;
  FrameQueue to_process_;
  FrameBatch from_process_;
  u32 watched_ = 0;
  bool up_ = true;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>();  // for what is posted
  bool stalled_ = false;                                    // the receiver has no room
};

}  // namespace doppel::network
