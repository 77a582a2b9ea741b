// Makes the port that a network card was said to be connected to.
#pragma once

#include <memory>

#include "base/event_loop.h"
#include "base/result.h"
#include "network/port.h"
#include "network/spec.h"

namespace doppel::network {

// The loop is the I/O thread's and outlives the port.
Result<std::unique_ptr<Port>> open_port(EventLoop& loop, const NicSpec& nic);

}  // namespace doppel::network
