// The process of user-mode networking; see process.h. One thread: frames from the machine, libslirp's sockets, one timer.
//
//   10.0.2.0/24, fec0::/64    .2 the host   .3 its name server   .15 the guest, by DHCP
#include "network/user/process.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <poll.h>
#include <slirp/libslirp.h>
#include <sys/socket.h>
#include <time.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "network/checksum.h"
#include "network/frame_queue.h"
#include "network/user/coalesce.h"
#include "network/user/reassembly.h"

namespace doppel::network {

namespace {

i64 now_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return i64{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

struct Timer {
  SlirpTimerId id;
  void* opaque;
  i64 expires_ms = -1;  // -1: not set
};

class Nat {
 public:
  explicit Nat(int socket) : socket_(socket) {}
  ~Nat() {
    if (slirp_ != nullptr) slirp_cleanup(slirp_);
  }
  Result<> start(const UserNetwork& network);
  void run();

 private:
  static Nat& of(void* opaque) { return *static_cast<Nat*>(opaque); }
  static const SlirpCb callbacks;

  bool take_frames();  // false: the machine is gone
  unsigned fill();
  void fire_timers();

  const int socket_;
  Slirp* slirp_ = nullptr;
  FrameQueue to_guest_;
  FrameBatch from_guest_;
  Reassembly reassembly_;
  Offloads joins_;  // the long TCP segments that the guest takes
  std::vector<pollfd> polled_;
  std::vector<std::unique_ptr<Timer>> timers_;
};

const SlirpCb Nat::callbacks = [] {
  SlirpCb calls{};
  calls.send_packet = [](const void* frame, size_t bytes, void* opaque) -> ssize_t {
    Nat& nat = of(opaque);
    const std::span its(static_cast<const u8*>(frame), bytes);
    if (bytes > max_frame_bytes || (join_tcp_segment(nat.to_guest_, its, nat.joins_)))
      return static_cast<ssize_t>(bytes);
    PacketHeader header;
    header.flags = PacketHeader::data_valid;  // libslirp computed it, and it came through no wire
    nat.to_guest_.add(header, its);
    return static_cast<ssize_t>(bytes);
  };
  calls.guest_error = [](const char*, void*) {};
  calls.clock_get_ns = [](void*) -> int64_t { return now_ns(); };
  calls.timer_free = [](void* timer, void* opaque) {
    std::erase_if(of(opaque).timers_, [&](const auto& t) { return t.get() == timer; });
  };
  calls.timer_mod = [](void* timer, int64_t when, void*) { static_cast<Timer*>(timer)->expires_ms = when; };
  calls.register_poll_fd = [](int, void*) {};
  calls.unregister_poll_fd = [](int, void*) {};
  calls.notify = [](void*) {};
  calls.init_completed = [](Slirp*, void*) {};
  calls.timer_new_opaque = [](SlirpTimerId id, void* its, void* opaque) -> void* {
    return of(opaque).timers_.emplace_back(std::make_unique<Timer>(Timer{id, its})).get();
  };
  return calls;
}();

Result<> Nat::start(const UserNetwork& network) {
  SlirpConfig config{};
  config.version = 4;
  config.in_enabled = config.in6_enabled = true;
  config.vnetwork.s_addr = ::inet_addr("10.0.2.0");
  config.vnetmask.s_addr = ::inet_addr("255.255.255.0");
  config.vhost.s_addr = ::inet_addr("10.0.2.2");
  config.vnameserver.s_addr = ::inet_addr("10.0.2.3");
  config.vdhcp_start.s_addr = ::inet_addr("10.0.2.15");
  ::inet_pton(AF_INET6, "fec0::", &config.vprefix_addr6);
  ::inet_pton(AF_INET6, "fec0::2", &config.vhost6);
  ::inet_pton(AF_INET6, "fec0::3", &config.vnameserver6);
  config.vprefix_len = 64;
  config.if_mtu = config.if_mru = network.mtu;
  slirp_ = slirp_new(&config, &callbacks, this);
  if (slirp_ == nullptr) return fail("cannot start libslirp");
  for (const Publish& port : network.publish) {
    in_addr host{}, guest{};
    std::memcpy(&host, port.address.data(), sizeof host);
    if (slirp_add_hostfwd(slirp_, port.udp, host, port.host_port, guest, port.guest_port) != 0)
      return fail_errno(fmt::format("--publish: cannot listen on {}", format_publish(port)));
  }
  return {};
}

// What the guest sent: checksums that it left are completed here; long TCP segments suit libslirp as they are.
bool Nat::take_frames() {
  if (from_guest_.read(socket_) < 0) return false;
  for (; !from_guest_.empty(); from_guest_.pop()) {
    const auto [header, frame] = from_guest_.front();
    if (frame.empty()) {
      joins_.tso4 = (header.gso_type & PacketHeader::gso_tcp4) != 0;
      joins_.tso6 = (header.gso_type & PacketHeader::gso_tcp6) != 0;
    }
    if (frame.size() < min_frame_bytes || !checksum_fits(header, frame.size())) continue;
    complete_checksum(header, frame);
    if (const auto whole = reassembly_.pass(frame)) slirp_input(slirp_, whole->data(), static_cast<int>(whole->size()));
  }
  return true;
}

// What to wait for; while the machine takes nothing, nothing is read from the network.
unsigned Nat::fill() {
  u32 timeout = 1000;
  const bool full = !to_guest_.empty();
  polled_.assign(1, {socket_, static_cast<short>(full ? POLLIN | POLLOUT : POLLIN), 0});
  if (!full) {
    const auto add = [](int fd, int events, void* opaque) {
      short wanted = 0;
      if ((events & SLIRP_POLL_IN) != 0) wanted |= POLLIN;
      if ((events & SLIRP_POLL_OUT) != 0) wanted |= POLLOUT;
      if ((events & SLIRP_POLL_PRI) != 0) wanted |= POLLPRI;
      auto& polled = of(opaque).polled_;
      polled.push_back({fd, wanted, 0});
      return static_cast<int>(polled.size() - 1);
    };
    slirp_pollfds_fill(slirp_, &timeout, add, this);
  }
  for (const auto& timer : timers_) {
    if (timer->expires_ms >= 0)
      timeout = static_cast<u32>(std::clamp<i64>(timer->expires_ms - now_ns() / 1'000'000, 0, timeout));
  }
  return timeout;
}

void Nat::fire_timers() {
  const i64 now = now_ns() / 1'000'000;
  for (std::size_t i = 0; i < timers_.size(); ++i) {
    if (timers_[i]->expires_ms < 0 || timers_[i]->expires_ms > now) continue;
    timers_[i]->expires_ms = -1;
    slirp_handle_timer(slirp_, timers_[i]->id, timers_[i]->opaque);
  }
}

void Nat::run() {
  for (;;) {
    const unsigned timeout = fill();
    const bool filled = to_guest_.empty();
    const int found = ::poll(polled_.data(), polled_.size(), static_cast<int>(timeout));
    if (found < 0 && errno != EINTR) return;
    if (filled) {
      const auto events = [](int index, void* opaque) {
        const short got = of(opaque).polled_[static_cast<std::size_t>(index)].revents;
        int result = 0;
        if ((got & POLLIN) != 0) result |= SLIRP_POLL_IN;
        if ((got & POLLOUT) != 0) result |= SLIRP_POLL_OUT;
        if ((got & POLLPRI) != 0) result |= SLIRP_POLL_PRI;
        if ((got & POLLERR) != 0) result |= SLIRP_POLL_ERR;
        if ((got & POLLHUP) != 0) result |= SLIRP_POLL_HUP;
        return result;
      };
      slirp_pollfds_poll(slirp_, found < 0 ? 1 : 0, events, this);
    }
    fire_timers();
    if (found > 0 && polled_[0].revents != 0 && !take_frames()) return;
    if (!to_guest_.flush(socket_)) return;
  }
}

}  // namespace

int run_user_process(int socket) {
  u32 mtu = 0;
  std::vector<u8> request(sizeof mtu + sizeof(Publish) * most_published);
  const ssize_t got = ::recv(socket, request.data(), request.size(), 0);
  if (got < static_cast<ssize_t>(sizeof mtu)) return 1;
  std::memcpy(&mtu, request.data(), sizeof mtu);
  UserNetwork network{.mtu = static_cast<u16>(mtu), .publish = {}};
  network.publish.resize((static_cast<std::size_t>(got) - sizeof mtu) / sizeof(Publish));
  if (!network.publish.empty())
    std::memcpy(network.publish.data(), request.data() + sizeof mtu, network.publish.size() * sizeof(Publish));
  Nat nat(socket);
  auto started = nat.start(network);
  if (started) started = confine_user_process();
  const std::string answer = started ? " " : " " + started.error().message;
  if (::send(socket, answer.data(), answer.size(), MSG_NOSIGNAL) < 0 || !started) return 1;
  nat.run();
  return 0;
}

}  // namespace doppel::network
