// See user_port.h.
#include "network/user/user_port.h"

#include <signal.h>
#include <sys/epoll.h>
#include <sys/wait.h>

#include "base/log.h"

namespace doppel::network {

Result<std::unique_ptr<UserPort>> UserPort::create(EventLoop& loop, std::span<const Publish> publish,
                                                   const std::string& program) {
  std::unique_ptr<UserPort> port(new UserPort(loop, TRY(start_user_process(publish, program))));
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
      // Of its header only the verdict on checksums counts: the process is not trusted with more.
      PacketHeader checked;
      checked.flags = header.flags & PacketHeader::data_valid;
      if (frame.size() < min_frame_bytes || receiver_ == nullptr) continue;
      if (!receiver_->receive(checked, frame)) {
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
