// Descriptors, posted work and stopping, from the loop's thread and from others.
#include "base/event_loop.h"

#include <gtest/gtest.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <array>

namespace doppel {
namespace {

TEST(EventLoop, WatchesAndUnwatchesInsideTheCallback) {
  auto loop = std::move(*EventLoop::create());
  std::array<int, 2> ends{};
  ASSERT_EQ(::pipe(ends.data()), 0);
  const Fd reading(ends[0]), writing(ends[1]);
  int calls = 0;
  ASSERT_TRUE(loop->watch(reading.get(), EPOLLIN, [&](u32 events) {
    EXPECT_TRUE(events & EPOLLIN);
    ++calls;
    loop->unwatch(reading.get());
  }));
  loop->run_once(0);
  EXPECT_EQ(calls, 0);
  ASSERT_EQ(::write(writing.get(), "x", 1), 1);
  loop->run_once(0);
  loop->run_once(0);
  EXPECT_EQ(calls, 1);
  EXPECT_FALSE(loop->watch(-1, EPOLLIN, [](u32) {}));
}

TEST(EventLoop, PostedWorkRunsInOrderOnTheLoopThread) {
  auto loop = std::move(*EventLoop::create());
  std::vector<int> order;
  std::thread thread([&] { loop->run(); });
  for (int i = 0; i < 100; ++i) {
    loop->post([&, i] {
      EXPECT_TRUE(loop->on_loop_thread());
      order.push_back(i);
      if (i == 99) loop->stop();
    });
  }
  thread.join();
  ASSERT_EQ(order.size(), 100u);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(order[static_cast<std::size_t>(i)], i);
  loop->stop();
  loop->run();  // a stop that came before is not lost
}

}  // namespace
}  // namespace doppel
