// See user_port.h.
#include "network/user/user_port.h"

#include <signal.h>
#include <sys/epoll.h>
#include <sys/wait.h>

#include "base/log.h"
#include "network/checksum.h"

namespace doppel::network {

namespace {

// The process is not trusted with more than it is there for.
bool plausible(const PacketHeader& header, std::size_t frame_bytes) {
  if (header.gso_type == PacketHeader::gso_none) return (header.flags & ~PacketHeader::data_valid) == 0;
  const bool known = header.gso_type == PacketHeader::gso_tcp4 || header.gso_type == PacketHeader::gso_tcp6;
  return known && header.flags == PacketHeader::needs_checksum && checksum_fits(header, frame_bytes) &&
         header.gso_size != 0 && header.hdr_len < frame_bytes;
}

}  // namespace

Result<std::unique_ptr<UserPort>> UserPort::create(EventLoop& loop, const UserNetwork& network,
                                                   const std::string& program) {
  auto process = TRY(start_user_process(network, program));
  std::unique_ptr<UserPort> port(new UserPort(loop, std::move(process)));
  port->watched_ = EPOLLIN;
  TRY(loop.watch(port->process_.socket.get(), EPOLLIN, [p = port.get()](u32 events) { p->on_events(events); }));
  return port;
}

UserPort::~UserPort() {
  if (process_.socket && up_) loop_.unwatch(process_.socket.get());
  if (process_.pid <= 0) return;
  ::kill(process_.pid, SIGKILL);
  ::waitpid(process_.pid, nullptr, 0);
}

void UserPort::send(const PacketHeader& header, std::span<const u8> frame) {
  if (up_) to_process_.add(header, frame);
}

void UserPort::allow(const Offloads& offloads) {
  PacketHeader header;
  if (offloads.checksum && offloads.tso4) header.gso_type |= PacketHeader::gso_tcp4;
  if (offloads.checksum && offloads.tso6) header.gso_type |= PacketHeader::gso_tcp6;
  send(header, {});
  flush();
}

void UserPort::flush() {
  if (!up_) return;
  to_process_.flush(process_.socket.get());  // that the process is gone is seen when reading
  watch();
}

void UserPort::watch() {
  u32 wanted = 0;
  if (!stalled_) wanted |= EPOLLIN;
  if (!to_process_.empty()) wanted |= EPOLLOUT;
  if (wanted == watched_) return;
  watched_ = wanted;
  (void)loop_.modify(process_.socket.get(), wanted);
}

void UserPort::ready() {
  if (!up_ || !stalled_) return;
  // Not from here: the caller holds its lock.
  stalled_ = false;
  if (from_process_.empty()) return watch();
  loop_.post([this, alive = std::weak_ptr(alive_)] {
    if (!alive.expired()) on_events(0);
  });
}

void UserPort::on_events(u32 events) {
  if (!up_) return;
  if ((events & EPOLLOUT) != 0) to_process_.flush(process_.socket.get());
  if (!stalled_) deliver();
  // A process that ended leaves its last frames; with the receiver stalled no one reads that far.
  if (up_ && stalled_ && (events & EPOLLHUP) != 0) return lost();
  if (up_) watch();
}

// At most two batches, then others get their turn: the socket stays readable.
void UserPort::deliver() {
  bool delivered = false;
  for (unsigned batches = 0; batches < 2 && !stalled_; ++batches) {
    if (from_process_.empty()) {
      const int got = from_process_.read(process_.socket.get());
      if (got < 0) lost();
      if (got <= 0) break;
    }
    for (; !from_process_.empty(); from_process_.pop()) {
      const auto [header, frame] = from_process_.front();
      if (frame.size() < min_frame_bytes || !plausible(header, frame.size()) || receiver_ == nullptr) continue;
      if (!receiver_->receive(header, frame)) {
        stalled_ = true;
        break;
      }
      delivered = true;
    }
  }
  if (delivered && receiver_ != nullptr) receiver_->end_of_batch();
}

void UserPort::lost() {
  up_ = false;
  loop_.unwatch(process_.socket.get());
  int status = 0;
  ::kill(process_.pid, SIGKILL);
  ::waitpid(process_.pid, &status, 0);
  process_.pid = -1;
  const bool signalled = WIFSIGNALED(status);
  log::error("the process of the user network ended ({} {}): the guest's link is down", signalled ? "signal" : "status",
             signalled ? WTERMSIG(status) : WEXITSTATUS(status));
  if (receiver_ != nullptr) receiver_->link_changed();
}

}  // namespace doppel::network
