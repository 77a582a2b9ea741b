// See open.h.
#include "network/open.h"

#include "network/capture.h"
#include "network/socket_port.h"
#include "network/tap_port.h"
#include "network/user/user_port.h"

namespace doppel::network {

namespace {

Result<std::unique_ptr<Port>> open_uncaptured(EventLoop& loop, const NicSpec& nic) {
  switch (nic.kind) {
    case PortKind::none: break;
    case PortKind::user: return TRY(UserPort::create(loop, {.mtu = nic.mtu, .publish = nic.publish}));
    case PortKind::tap: return TRY(TapPort::create(loop, nic.device));
    case PortKind::socket: return TRY(SocketPort::create(loop, nic.path));
  }
  return std::make_unique<NoPort>();
}

}  // namespace

Result<std::unique_ptr<Port>> open_port(EventLoop& loop, const NicSpec& nic) {
  auto port = TRY(open_uncaptured(loop, nic));
  if (nic.capture.empty()) return port;
  return TRY(CapturePort::create(std::move(port), nic.capture));
}

}  // namespace doppel::network
