// Instructions that go through C++ without translated code being left: RDTSC, SYSCALL and SYSRET (TranslatorVcpu::system).
#include <gtest/gtest.h>

#include <cstdio>

#include "support/small_program.h"

namespace doppel::test {
namespace {

using namespace Xbyak::util;

constexpr u64 system_code = at::inner_code, user_code = at::code + 0x400;
constexpr u32 calls = 2000;

void allow_system_calls(SmallGuest& guest, u64 masked) {
  x86::X86State& state = guest.state();
  state.efer |= x86::efer::sce;
  state.star = u64{sel::user_code64 - 16} << 48 | u64{sel::code64} << 32;
  state.lstar = system_code;
  state.fmask = masked;
}

void rdtsc(Program& p) { p.db(0x0f), p.db(0x31); }
void syscall(Program& p) { p.db(0x0f), p.db(0x05); }
void sysret(Program& p) { p.db(0x48), p.db(0x0f), p.db(0x07); }

// RBX gathers the flags, and where they were.
void gather(Program& p) {
  p.pushfq();
  p.pop(p.rsi);
  p.add(p.rbx, p.rsi);
  p.rol(p.rbx, 5);
}

// A user that makes system calls, with all flags as they come, until R15 is 0.
void put_user(SmallGuest& guest, const std::function<void(Program&)>& between) {
  Program([&](Program& p) {
    p.mov(p.ecx, static_cast<u32>(user_code));
    p.mov(p.r11d, 0x202);
    p.mov(p.r15d, calls);
    sysret(p);
    p.pad_to(user_code);
    Xbyak::Label again;
    p.L(again);
    p.imul(p.edx, p.r15d, 0x1234'5677);
    p.add(p.eax, p.edx);
    syscall(p);
    gather(p);
    p.xor_(p.rbx, p.rcx);
    p.adc(p.rbx, p.r11);
    between(p);
    p.jmp(again);
  }).put(guest);
  Program(
      [](Program& p) {
        Xbyak::Label last;
        gather(p);
        p.dec(p.r15d);
        p.jz(last);
        sysret(p);
        p.L(last);
        p.hlt();
      },
      system_code)
      .put(guest);
}

void now_and_then(Program& p, u32 flags) {
  Xbyak::Label not_now;
  p.test(p.r15b, 7);
  p.jnz(not_now);
  p.pushfq();
  p.xor_(p.qword[p.rsp], flags);
  p.popfq();
  p.L(not_now);
}

TEST(System, CallsAndReturns) {
  constexpr u32 ac = x86::rflags::ac, df = x86::rflags::df, id = x86::rflags::id, status = x86::rflags::status;
  for (const u64 masked : {u64{0}, u64{0x257fd5 & ~x86::rflags::tf}, u64{status}, u64{x86::rflags::if_ | ac}}) {
    const auto run = [&](const char* what, const std::function<void(Program&)>& between) {
      const std::string end = expect_alike(what, [&](SmallGuest& guest) {
        allow_system_calls(guest, masked);
        put_user(guest, between);
      });
      EXPECT_TRUE(end.starts_with("halt")) << what << ": " << end;
    };
    run("plain", [](Program&) {});
    run("with the time", [](Program& p) {
      rdtsc(p);
      p.adc(p.ebx, p.eax);
    });
    run("flags that are not the arithmetic's", [](Program& p) { now_and_then(p, df | id); });
    run("alignment checks", [](Program& p) { now_and_then(p, ac); });
    run("vectors and x87", [](Program& p) {
      p.cvtsi2sd(p.xmm1, p.ebx);
      p.fld1();
      p.fstp(p.qword[p.rsp - 64]);
      p.movq(p.rsi, p.xmm1);
      p.add(p.rbx, p.rsi);
    });
  }
}

TEST(System, IsLeftOnlyNowAndThen) {
  SmallGuest guest(Mode::long64, eager_translator());
  allow_system_calls(guest, 0);
  put_user(guest, rdtsc);
  EXPECT_TRUE(guest.run(unlimited_budget).starts_with("halt"));
  const std::string statistics = guest.vcpu().statistics();
  unsigned left = calls;
  const auto at = statistics.find("left translated code: ");
  ASSERT_NE(at, std::string::npos);
  ASSERT_EQ(std::sscanf(statistics.c_str() + at, "left translated code: %u for an instruction", &left), 1);
  EXPECT_LT(left, 20u) << statistics;
}

TEST(System, IsRefused) {
  const auto run = [](const std::function<void(SmallGuest&)>& prepare, const std::function<void(Program&)>& between) {
    return expect_alike("refused", [&](SmallGuest& guest) {
      allow_system_calls(guest, 0);
      put_user(guest, between);
      prepare(guest);
    });
  };
  const auto nothing = [](SmallGuest&) {};
  EXPECT_TRUE(run([](SmallGuest& guest) { guest.state().cr4 |= x86::cr4::tsd; }, rdtsc).starts_with("#13(0)"));
  EXPECT_TRUE(run(nothing, sysret).starts_with("#13(0)"));
  EXPECT_TRUE(run([](SmallGuest& guest) { guest.state().efer &= ~x86::efer::sce; }, rdtsc).starts_with("#6"));
  // Back to an address that is not canonical.
  const std::string end = run(
      [](SmallGuest& guest) {
        Program(
            [](Program& p) {
              p.dec(p.r15d);
              p.test(p.r15d, 0xff);
              p.setz(p.sil);
              p.shl(p.rsi, 50);
              p.or_(p.rcx, p.rsi);
              p.mov(p.esi, 0);
              sysret(p);
            },
            system_code)
            .put(guest);
      },
      [](Program&) {});
  EXPECT_TRUE(end.starts_with("#13(0)")) << end;
}

// Nothing but system calls, which an event ends all the same.
TEST(System, IsInterrupted) {
  SmallGuest guest(Mode::long64, eager_translator());
  allow_system_calls(guest, 0);
  put_user(guest, [](Program& p) { p.add(p.r15d, 1); });
  const std::string end = end_of_kicked(guest);
  EXPECT_TRUE(end.starts_with("running")) << end;
}

}  // namespace
}  // namespace doppel::test
