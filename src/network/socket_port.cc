// See socket_port.h.
#include "network/socket_port.h"

#include <fmt/format.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <random>

#include "base/log.h"
#include "network/checksum.h"

namespace doppel::network {

namespace {

sockaddr_un address_of(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  return address;
}

Result<Fd> stream_socket() {
  Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return fail_errno("cannot make a socket");
  return fd;
}

bool connect_to(const Fd& fd, const std::string& path) {
  const sockaddr_un address = address_of(path);
  return ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
}

}  // namespace

Result<std::unique_ptr<SocketPort>> SocketPort::create(EventLoop& loop, const std::string& path) {
  std::unique_ptr<SocketPort> port(new SocketPort(loop, path));
  TRY(port->join());
  return port;
}

SocketPort::~SocketPort() {
  stop_listening();
  if (peer_) loop_.unwatch(peer_.get());
}

// Both machines may come at the same moment, and one that died leaves its socket: what was seen can be outdated at once.
Result<> SocketPort::join() {
  for (unsigned attempts = 0; attempts < most_attempts; ++attempts) {
    Fd fd = TRY(stream_socket());
    if (connect_to(fd, path_)) return attach(std::move(fd));
    if (errno == ECONNREFUSED) {
      if (TRY(take_away(fd))) return attach(std::move(fd));
    } else if (errno != ENOENT) {
      return fail_errno(fmt::format("--nic socket: cannot use '{}'", path_));
    } else if (TRY(listen())) {
      return {};
    }
  }
  return fail(fmt::format("--nic socket: '{}' changes all the time", path_));
}

// Removes a socket that nobody listens on. True: by now somebody does, and `fd` is connected to them.
Result<bool> SocketPort::take_away(const Fd& fd) {
  struct stat status{};
  if (::lstat(path_.c_str(), &status) == 0 && !S_ISSOCK(status.st_mode))
    return fail(fmt::format("--nic socket: '{}' is no socket", path_));
  const std::string away = temporary_name();
  if (::rename(path_.c_str(), away.c_str()) != 0) return false;
  const bool connected = connect_to(fd, away);
  ::unlink(away.c_str());
  return connected;
}

// The socket gets its name when it listens: who finds the name can connect. False: another machine was first.
Result<bool> SocketPort::listen() {
  Fd fd = TRY(stream_socket());
  const std::string name = temporary_name();
  const sockaddr_un address = address_of(name);
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    return fail_errno(fmt::format("--nic socket: cannot listen on '{}'", path_));
  const bool named = ::listen(fd.get(), 1) == 0 && ::link(name.c_str(), path_.c_str()) == 0;
  const int error = errno;
  ::unlink(name.c_str());
  if (!named && error == EEXIST) return false;
  errno = error;
  if (!named) return fail_errno(fmt::format("--nic socket: cannot listen on '{}'", path_));
  listener_ = std::move(fd);
  TRY(loop_.watch(listener_.get(), EPOLLIN, [this](u32) { accept(); }));
  return true;
}

std::string SocketPort::temporary_name() const {
  std::random_device random;
  return fmt::format("{}.{:08x}", path_, u32{random()});
}

// A third machine shall not find this one: the cable has two ends. Nor shall it find the name without a listener.
void SocketPort::stop_listening() {
  if (!listener_) return;
  ::unlink(path_.c_str());
  loop_.unwatch(listener_.get());
  listener_.reset();
}

void SocketPort::accept() {
  Fd fd(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (!fd) return;
  stop_listening();
  if (auto attached = attach(std::move(fd)); !attached) return log::error("{}", attached.error().message);
  if (receiver_ != nullptr) receiver_->link_changed();
}

Result<> SocketPort::attach(Fd peer) {
  peer_ = std::move(peer);
  unsent_.clear();
  sent_ = first_ = end_ = 0;
  stalled_ = false;
  watched_ = EPOLLIN;
  return loop_.watch(peer_.get(), EPOLLIN, [this](u32 events) { on_events(events); });
}

void SocketPort::send(const PacketHeader& header, std::span<const u8> frame) {
  if (!peer_ || unsent_.size() + length_bytes + frame.size() > most_unsent) return;
  const std::array<u8, length_bytes> length{static_cast<u8>(frame.size() >> 24), static_cast<u8>(frame.size() >> 16),
                                            static_cast<u8>(frame.size() >> 8), static_cast<u8>(frame.size())};
  unsent_.insert(unsent_.end(), length.begin(), length.end());
  unsent_.insert(unsent_.end(), frame.begin(), frame.end());
  complete_checksum(header, std::span(unsent_).last(frame.size()));
}

// That the peer is gone is seen when reading.
void SocketPort::flush() {
  if (!peer_) return;
  while (sent_ < unsent_.size()) {
    const ssize_t sent = ::send(peer_.get(), unsent_.data() + sent_, unsent_.size() - sent_,
                                MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0 && errno != EAGAIN) sent_ = unsent_.size();
    if (sent < 0) break;
    sent_ += static_cast<std::size_t>(sent);
  }
  if (sent_ == unsent_.size()) {
    unsent_.clear();
    sent_ = 0;
  } else if (sent_ > most_unsent / 2) {
    unsent_.erase(unsent_.begin(), unsent_.begin() + static_cast<std::ptrdiff_t>(sent_));
    sent_ = 0;
  }
  watch();
}

void SocketPort::watch() {
  const u32 wanted = (stalled_ ? 0u : u32{EPOLLIN}) | (unsent_.empty() ? 0u : u32{EPOLLOUT});
  if (!peer_ || wanted == watched_) return;
  watched_ = wanted;
  (void)loop_.modify(peer_.get(), wanted);
}

void SocketPort::ready() {
  if (!peer_ || !stalled_) return;
  stalled_ = false;
  loop_.post([this, alive = std::weak_ptr(alive_)] {  // not from here: the caller holds its lock
    if (!alive.expired()) on_events(0);
  });
}

void SocketPort::on_events(u32 events) {
  if (!peer_) return;
  if ((events & EPOLLOUT) != 0) flush();
  if (stalled_ && (events & (EPOLLHUP | EPOLLERR)) != 0) return lost("is gone");
  // A bounded amount, then others get their turn: the socket stays readable.
  for (unsigned rounds = 0; rounds < 8 && peer_ && !stalled_; ++rounds) {
    if (!deliver()) return lost("sends what is no frame");
    if (stalled_ || !read()) break;
  }
  if (peer_ && !stalled_ && !deliver()) return lost("sends what is no frame");
  watch();
}

bool SocketPort::read() {
  std::memmove(received_.data(), received_.data() + first_, end_ - first_);
  end_ -= std::exchange(first_, 0);
  const ssize_t got = ::recv(peer_.get(), received_.data() + end_, received_.size() - end_, MSG_DONTWAIT);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return false;
  if (got <= 0) {
    lost("is gone");
    return false;
  }
  end_ += static_cast<std::size_t>(got);
  return true;
}

bool SocketPort::deliver() {
  bool delivered = false;
  while (end_ - first_ >= length_bytes) {
    const u8* start = received_.data() + first_;
    const u32 bytes = u32{start[0]} << 24 | u32{start[1]} << 16 | u32{start[2]} << 8 | start[3];
    if (bytes < min_frame_bytes || bytes > max_frame_bytes) return false;
    if (end_ - first_ < length_bytes + bytes) break;
    if (receiver_ != nullptr && !receiver_->receive({}, {start + length_bytes, bytes})) {
      stalled_ = true;
      break;
    }
    delivered = true;
    first_ += length_bytes + bytes;
  }
  if (delivered && receiver_ != nullptr) receiver_->end_of_batch();
  return true;
}

void SocketPort::lost(std::string_view why) {
  log::warning("the machine at '{}' {}: the guest's link is down until another one comes", path_, why);
  loop_.unwatch(peer_.get());
  peer_.reset();
  if (auto joined = join(); !joined) log::error("{}", joined.error().message);
  if (receiver_ != nullptr) receiver_->link_changed();
}

}  // namespace doppel::network
