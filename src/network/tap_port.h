// A tap device of Linux (Documentation/networking/tuntap.rst), with the header that leaves checksums and segmentation to
// the other side, in both directions.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/event_loop.h"
#include "base/fd.h"
#include "network/port.h"

namespace doppel::network {

class TapPort final : public Port {
 public:
  static Result<std::unique_ptr<TapPort>> create(EventLoop& loop, const std::string& device);
  ~TapPort() override;

  bool link_up() const override { return up_; }
  Offloads takes() const override { return all; }
  Offloads gives() const override { return all; }
  void allow(const Offloads& offloads) override;
  void send(const PacketHeader& header, std::span<const u8> frame) override;
  void set_receiver(Receiver* receiver) override { receiver_ = receiver; }
  void ready() override;

 private:
  static constexpr Offloads all{.checksum = true, .tso4 = true, .tso6 = true, .ecn = true};
  TapPort(EventLoop& loop, std::string device, Fd fd) : loop_(loop), device_(std::move(device)), fd_(std::move(fd)) {}
  void on_readable();
  void lost();

  EventLoop& loop_;
  const std::string device_;
  Fd fd_;
  Receiver* receiver_ = nullptr;
  std::vector<u8> frame_ = std::vector<u8>(max_frame_bytes);
  PacketHeader header_;
  std::size_t held_ = 0;  // bytes of a frame that the receiver had no room for
  bool up_ = true;
};

}  // namespace doppel::network
