// See tap_port.h.
#include "network/tap_port.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>

#include "base/log.h"

namespace doppel::network {

Result<std::unique_ptr<TapPort>> TapPort::create(EventLoop& loop, const std::string& device) {
  Fd fd = TRY(open_file("/dev/net/tun", O_RDWR | O_NONBLOCK));
  ifreq request{};
  request.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
  device.copy(request.ifr_name, IFNAMSIZ - 1);
  if (::ioctl(fd.get(), TUNSETIFF, &request) != 0) {
    if (errno == EPERM) {
      return fail(
          fmt::format("--nic tap: no right to use '{0}': have it made for you, with "
                      "'ip tuntap add {0} mode tap user YOU'",
                      device));
    }
    return fail_errno(fmt::format("--nic tap: cannot use '{}'", device));
  }
  int header_bytes = sizeof(PacketHeader);
  if (::ioctl(fd.get(), TUNSETVNETHDRSZ, &header_bytes) != 0)
    return fail_errno(fmt::format("--nic tap: cannot use '{}'", device));
  std::unique_ptr<TapPort> port(new TapPort(loop, device, std::move(fd)));
  port->allow({});
  TRY(loop.watch(port->fd_.get(), EPOLLIN, [p = port.get()](u32) { p->on_readable(); }));
  return port;
}

TapPort::~TapPort() {
  if (up_) loop_.unwatch(fd_.get());
}

void TapPort::allow(const Offloads& offloads) {
  unsigned flags = 0;
  if (offloads.checksum) {
    flags |= TUN_F_CSUM;
    if (offloads.tso4) flags |= TUN_F_TSO4;
    if (offloads.tso6) flags |= TUN_F_TSO6;
    if (offloads.ecn && (offloads.tso4 || offloads.tso6)) flags |= TUN_F_TSO_ECN;
  }
  (void)::ioctl(fd_.get(), TUNSETOFFLOAD, flags);
}

// Linux checks header and frame; what it refuses, or has no room for, is dropped.
void TapPort::send(const PacketHeader& header, std::span<const u8> frame) {
  const iovec pieces[] = {{const_cast<PacketHeader*>(&header), sizeof header},
                          {const_cast<u8*>(frame.data()), frame.size()}};
  while (up_ && ::writev(fd_.get(), pieces, 2) < 0 && errno == EINTR) {
  }
}

void TapPort::ready() {
  if (up_ && held_ != 0) (void)loop_.modify(fd_.get(), EPOLLIN);
}

// A bounded number of frames, then others get their turn: the device stays readable.
void TapPort::on_readable() {
  bool delivered = false;
  for (unsigned frames = 0; frames < 64; ++frames) {
    if (held_ == 0) {
      const iovec pieces[] = {{&header_, sizeof header_}, {frame_.data(), frame_.size()}};
      const ssize_t got = ::readv(fd_.get(), pieces, 2);
      if (got < 0 && errno != EAGAIN && errno != EINTR) lost();
      if (got < 0) break;
      held_ = static_cast<std::size_t>(got) - std::min<std::size_t>(static_cast<std::size_t>(got), sizeof header_);
    }
    if (held_ >= min_frame_bytes && receiver_ != nullptr) {
      if (!receiver_->receive(header_, std::span(frame_).first(held_))) {
        (void)loop_.modify(fd_.get(), 0);  // until ready()
        break;
      }
      delivered = true;
    }
    held_ = 0;
  }
  if (delivered && receiver_ != nullptr) receiver_->end_of_batch();
}

void TapPort::lost() {
  log::error("the tap device '{}' is gone: the guest's link is down", device_);
  up_ = false;
  loop_.unwatch(fd_.get());
  if (receiver_ != nullptr) receiver_->link_changed();
}

}  // namespace doppel::network
