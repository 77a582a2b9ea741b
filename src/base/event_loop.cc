// The event loop on epoll, woken from other threads through an eventfd. See event_loop.h.
#include "base/event_loop.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "base/check.h"

namespace doppel {

Result<std::unique_ptr<EventLoop>> EventLoop::create() {
  std::unique_ptr<EventLoop> loop(new EventLoop);
  loop->epoll_ = Fd(::epoll_create1(EPOLL_CLOEXEC));
  if (!loop->epoll_) return fail_errno("cannot create an epoll instance");
  loop->wakeup_ = Fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!loop->wakeup_) return fail_errno("cannot create an eventfd");
  EventLoop& self = *loop;
  TRY(loop->watch(loop->wakeup_.get(), EPOLLIN, [&self](u32) {
    u64 count;
    (void)!::read(self.wakeup_.get(), &count, sizeof count);
  }));
  return loop;
}

EventLoop::~EventLoop() = default;

Result<> EventLoop::watch(int fd, u32 events, FdCallback callback) {
  struct epoll_event event{.events = events, .data = {.fd = fd}};
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0) return fail_errno("cannot watch a file descriptor");
  watched_[fd] = std::make_shared<FdCallback>(std::move(callback));
  return {};
}

Result<> EventLoop::modify(int fd, u32 events) {
  struct epoll_event event{.events = events, .data = {.fd = fd}};
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, fd, &event) != 0)
    return fail_errno("cannot change a watched file descriptor");
  return {};
}

void EventLoop::unwatch(int fd) {
  if (watched_.erase(fd) != 0) ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);
}

void EventLoop::post(Callback callback) {
  {
    const std::lock_guard lock(mutex_);
    posted_.push_back(std::move(callback));
  }
  const u64 one = 1;
  (void)!::write(wakeup_.get(), &one, sizeof one);  // fails only when the counter is full: then it is readable anyway
}

void EventLoop::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  const u64 one = 1;
  (void)!::write(wakeup_.get(), &one, sizeof one);
}

void EventLoop::run() {
  for (;;) {
    {
      const std::lock_guard lock(mutex_);
      if (std::exchange(stopping_, false)) return;
    }
    run_once(-1);
  }
}

void EventLoop::run_once(int timeout_ms) {
  thread_ = std::this_thread::get_id();
  drain_posted();
  std::array<struct epoll_event, 32> events;
  const int count = ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), timeout_ms);
  CHECK(count >= 0 || errno == EINTR);
  for (int i = 0; i < count; ++i) {
    const auto found = watched_.find(events[i].data.fd);
    if (found == watched_.end()) continue;  // unwatched by an earlier callback of this round
    const auto callback = found->second;    // keeps it alive while it unwatches itself
    (*callback)(events[i].events);
  }
  drain_posted();
}

void EventLoop::drain_posted() {
  std::vector<Callback> work;
  {
    const std::lock_guard lock(mutex_);
    work.swap(posted_);
  }
  for (auto& callback : work) callback();
}

}  // namespace doppel
