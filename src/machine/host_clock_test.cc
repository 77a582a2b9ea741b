// Real time with pauses; alarms in order, cancelled, destroyed while they fire.
#include "machine/host_clock.h"

#include <gtest/gtest.h>
#include <unistd.h>

namespace doppel {
namespace {

struct HostClockTest : testing::Test {
  std::unique_ptr<EventLoop> loop = std::move(*EventLoop::create());
  std::unique_ptr<HostClock> clock = std::move(*HostClock::create(*loop));
  std::string log;
  std::unique_ptr<Alarm> named(const char* name) {
    return clock->make_alarm([this, name] { log += name; });
  }
  void serve(Nanoseconds until) {
    while (clock->now() < until) loop->run_once(1);
  }
};

constexpr Nanoseconds ms = 1'000'000;

TEST_F(HostClockTest, StandsWhilePaused) {
  EXPECT_EQ(clock->now(), 0u);
  clock->set_now(5 * ms);
  clock->resume();
  ::usleep(2000);
  EXPECT_GE(clock->now(), 7 * ms);
  clock->pause();
  const Nanoseconds at = clock->now();
  ::usleep(3000);
  EXPECT_EQ(clock->now(), at);
  clock->resume();
  EXPECT_GE(clock->now(), at);
}

TEST_F(HostClockTest, AlarmsFireInOrderOfDeadlines) {
  auto a = named("a"), b = named("b"), c = named("c"), d = named("d");
  clock->resume();
  a->set(3 * ms);
  b->set(1 * ms);
  c->set(2 * ms);
  d->set(2 * ms);
  d->cancel();
  a->set(1);  // replaced, and past
  EXPECT_EQ(log, "") << "never inside set()";
  serve(4 * ms);
  EXPECT_EQ(log, "abc");
  d->set(~u64{0});
  serve(6 * ms);
  EXPECT_EQ(log, "abc");
}

TEST_F(HostClockTest, NothingFiresWhilePaused) {
  auto a = named("a");
  clock->resume();
  a->set(clock->now() + ms);
  clock->pause();
  ::usleep(2000);
  loop->run_once(1);
  EXPECT_EQ(log, "");
  clock->resume();
  serve(clock->now() + 2 * ms);
  EXPECT_EQ(log, "a");
}

TEST_F(HostClockTest, AnAlarmMayEndItselfOrStarveNobody) {
  std::unique_ptr<Alarm> once, forever;
  once = clock->make_alarm([&] { log += "once", once.reset(); });
  forever = clock->make_alarm([&] { forever->set(0); });
  clock->resume();
  once->set(0);
  forever->set(0);
  bool posted = false;
  loop->post([&] { posted = true; });
  for (int round = 0; round < 5000 && !(posted && !once); ++round) loop->run_once(1);  // a busy host may take its time
  EXPECT_EQ(log, "once");
  EXPECT_TRUE(posted);
  EXPECT_EQ(once, nullptr);
}

}  // namespace
}  // namespace doppel
