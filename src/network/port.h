// One end of a virtual Ethernet cable, as a network device sees what it is plugged into.
//
// Threads: everything runs on the I/O thread (or the machine's only thread). A frame is Ethernet without checksum, 14 to
// max_frame_bytes long. A port never calls its receiver inside send(), flush() or ready().
#pragma once

#include <span>

#include "base/types.h"

namespace doppel::network {

constexpr u64 min_frame_bytes = 14, max_frame_bytes = 65'550;

// What sender and receiver leave to each other: virtio 1.2 §5.1.6 without num_buffers, which is also what Linux' tap
// devices speak. Little endian, as the host is.
struct PacketHeader {
  static constexpr u8 needs_checksum = 1, data_valid = 2;                                     // flags
  static constexpr u8 gso_none = 0, gso_tcp4 = 1, gso_udp = 3, gso_tcp6 = 4, gso_ecn = 0x80;  // gso_type
  u8 flags = 0, gso_type = gso_none;
  u16 hdr_len = 0, gso_size = 0, csum_start = 0, csum_offset = 0;
};
static_assert(sizeof(PacketHeader) == 10);

// Work that one side may leave to the other: checksums that are not complete, TCP segments longer than the MTU.
struct Offloads {
  bool checksum = false, tso4 = false, tso6 = false, ecn = false;
};

class Port {
 public:
  class Receiver {
   public:
    virtual ~Receiver() = default;
    // Takes a frame for the guest; false: no room now, keep it and wait for ready().
    virtual bool receive(const PacketHeader& header, std::span<const u8> frame) = 0;
    virtual void end_of_batch() = 0;  // after one or more receive(): nothing more for now
    virtual void link_changed() = 0;
  };

  virtual ~Port() = default;

  virtual bool link_up() const = 0;
  // What frames to send() may leave undone, and what those to the receiver can.
  virtual Offloads takes() const { return {}; }
  virtual Offloads gives() const { return {}; }
  // What the receiver can deal with: a part of gives(). Nothing, until this is called.
  virtual void allow(const Offloads&) {}

  // From the guest. Never blocks; a port that is full drops. Frames may wait for flush().
  virtual void send(const PacketHeader& header, std::span<const u8> frame) = 0;
  virtual void flush() {}
  // Where frames to the guest go. Set before the machine starts; nullptr unplugs the device.
  virtual void set_receiver(Receiver* receiver) = 0;
  // The receiver has room again after it returned false.
  virtual void ready() = 0;
};

// A cable at whose other end nobody listens: drops what is sent and never receives.
class NoPort final : public Port {
 public:
  bool link_up() const override { return true; }
  Offloads takes() const override { return {}; }
  void send(const PacketHeader&, std::span<const u8>) override {}
  void set_receiver(Receiver*) override {}
  void ready() override {}
};

}  // namespace doppel::network
