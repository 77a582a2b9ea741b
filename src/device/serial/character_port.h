// The host's end of a device that carries characters (a UART; any console): who shows what the guest prints and types what it
// reads. Both directions have back-pressure, neither ever blocks a vCPU, and nothing is lost.
//
// Output is gathered by the device and handed to the sink in batches, on the I/O thread. Input is offered by the I/O thread.
#pragma once

#include <cstddef>
#include <functional>
#include <span>

#include "base/types.h"

namespace doppel {

class CharacterPort {
 public:
  // I/O thread, no lock held. Returns how many of the bytes it took. After a short count the device keeps the rest, and calls
  // again only when flush() is called.
  using Sink = std::function<std::size_t(std::span<const u8>)>;

  virtual ~CharacterPort() = default;

  // Before the machine starts. `input_wanted` is called on a vCPU thread, with no lock held, when there is room again after
  // receive() took less than it was given: it should make the I/O thread offer the rest. Without a sink output is dropped.
  virtual void connect(Sink sink, std::function<void()> input_wanted) = 0;

  // I/O thread. Hands over what is gathered: when the sink has room again, and at the end.
  virtual void flush() = 0;

  // I/O thread.
  virtual std::size_t can_receive() = 0;                       // bytes that receive() takes now
  virtual std::size_t receive(std::span<const u8> bytes) = 0;  // returns how many it took
};

}  // namespace doppel
