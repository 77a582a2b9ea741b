// Joins TCP segments on their way to the guest, as a network card's large receive does (over IPv4 and IPv6, no options that differ): the
// guest then handles one packet of up to 64 KB instead of many.
#pragma once

#include <span>

#include "network/frame_queue.h"
#include "network/port.h"

namespace doppel::network {

// Appends a segment to the queue's last packet, if that goes on where the packet ends and the guest takes
// long segments of its kind. False: it stays a frame of its own.
bool join_tcp_segment(FrameQueue& queue, std::span<const u8> frame, const Offloads& wanted);

}  // namespace doppel::network
