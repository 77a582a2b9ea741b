// One end of a virtual Ethernet cable, as a network device sees what it is plugged into.
//
// Threads: both directions run on the I/O thread (or the machine's only thread). A frame is Ethernet without checksum,
// 14 to max_frame_bytes long. A port never calls the receiver inside send() or ready().
#pragma once

#include <functional>
#include <span>

#include "base/types.h"

namespace doppel::network {

constexpr u64 max_frame_bytes = 65'550;

class Port {
 public:
  // Takes a frame for the guest; false: no room now, keep it and wait for ready().
  using Receiver = std::function<bool(std::span<const u8> frame)>;

  virtual ~Port() = default;

  virtual bool link_up() const = 0;
  // From the guest. Never blocks; a port that is full drops.
  virtual void send(std::span<const u8> frame) = 0;
  // What to call for frames to the guest. Set once, before the machine starts; an empty one unplugs the device.
  virtual void set_receiver(Receiver receiver) = 0;
  // The receiver has room again after it returned false.
  virtual void ready() = 0;
};

// A cable at whose other end nobody listens: drops what is sent and never receives.
class NoPort final : public Port {
 public:
  bool link_up() const override { return true; }
  void send(std::span<const u8>) override {}
  void set_receiver(Receiver) override {}
  void ready() override {}
};

}  // namespace doppel::network
