// A port whose frames are also written to a file: pcap with nanoseconds (draft-ietf-opsawg-pcap), Ethernet. Frames are as
// the device sees them: what was left to the other side, checksums and segmentation, is not done yet.
#pragma once

#include <cstdio>
#include <memory>
#include <string>

#include "base/result.h"
#include "network/port.h"

namespace doppel::network {

class CapturePort final : public Port, private Port::Receiver {
 public:
  static Result<std::unique_ptr<CapturePort>> create(std::unique_ptr<Port> port, const std::string& path);

  bool link_up() const override { return port_->link_up(); }
  Offloads takes() const override { return port_->takes(); }
  Offloads gives() const override { return port_->gives(); }
  void allow(const Offloads& offloads) override { port_->allow(offloads); }
  void send(const PacketHeader& header, std::span<const u8> frame) override;
  void flush() override;
  void set_receiver(Port::Receiver* receiver) override;
  void ready() override { port_->ready(); }

 private:
  CapturePort() = default;
  bool receive(const PacketHeader& header, std::span<const u8> frame) override;
  void end_of_batch() override;
  void link_changed() override { receiver_->link_changed(); }
  void record(std::span<const u8> frame);
  void write_out();

  std::string path_;
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> file_{nullptr, std::fclose};  // none after it failed
  Port::Receiver* receiver_ = nullptr;
  std::unique_ptr<Port> port_;
};

}  // namespace doppel::network
