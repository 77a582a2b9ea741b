// What the host cannot show: random numbers that repeat, locked operations between vCPUs, 16-bit code, dispatch without a stack.
#include <gtest/gtest.h>

#include <cstring>
#include <thread>

#include "engine/interpreter/interpreter.h"
#include "support/flat_guest.h"

namespace doppel {
namespace {

using testing::FlatGuest;

constexpr u64 code_at = FlatGuest::base + 0x1000, data_at = FlatGuest::base + 0x1'0000;

x86::X86State state_at(u64 rip) {
  x86::X86State state = FlatGuest::initial_state();
  state.rip = rip;
  state.gpr[x86::rsp] = data_at + 0x1000;
  return state;
}

std::array<u64, 2> draw_two(bool repeatable, u64 budget) {
  auto engine = make_interpreter({.repeatable = repeatable});
  FlatGuest guest(*engine);
  constexpr u8 code[] = {0x48, 0x0f, 0xc7, 0xf0, 0x48, 0x0f, 0xc7, 0xfb, 0xeb, 0xfe};  // rdrand rax; rdseed rbx
  guest.write(code_at, code);
  auto outcome = guest.run(state_at(code_at), budget);
  EXPECT_TRUE(outcome.state.rflags & x86::rflags::cf);
  if (budget == 1) outcome = guest.run(outcome.state, 1);
  return {outcome.state.gpr[x86::rax], outcome.state.gpr[x86::rbx]};
}

TEST(Random, RepeatsUnderAnInstructionClock) {
  const auto numbers = draw_two(true, 10);
  EXPECT_NE(numbers[0], numbers[1]);
  EXPECT_EQ(numbers, draw_two(true, 10));
  EXPECT_EQ(numbers, draw_two(true, 1)) << "however the instructions are grouped";
  EXPECT_NE(numbers, draw_two(false, 10));
}

// Both vCPUs add to one counter and take a spin lock around another; nothing may be lost.
TEST(Lock, HoldsBetweenProcessors) {
  constexpr u64 rounds = 200'000;
  constexpr u8 code[] = {
      0xf0, 0x48, 0xff, 0x03,        // again: lock inc qword [rbx]
      0xb8, 0x01, 0x00, 0x00, 0x00,  // spin: mov eax, 1
      0x87, 0x43, 0x10,              //       xchg [rbx + 16], eax
      0x85, 0xc0,                    //       test eax, eax
      0x75, 0xf4,                    //       jnz spin
      0x48, 0xff, 0x43, 0x08,        // inc qword [rbx + 8]
      0x89, 0x43, 0x10,              // mov [rbx + 16], eax
      0x48, 0xff, 0xc9,              // dec rcx
      0x75, 0xe4,                    // jnz again
      0xeb, 0xfe,
  };
  auto engine = make_interpreter();
  FlatGuest guest(*engine, 2);
  guest.write(code_at, code);
  auto work = [&](unsigned index) {
    Vcpu& vcpu = guest.vcpu(index);
    x86::X86State state = state_at(code_at);
    state.gpr[x86::rbx] = data_at;
    state.gpr[x86::rcx] = rounds;
    vcpu.set_state(state);
    for (int i = 0; i < 10'000 && vcpu.get_state().gpr[x86::rcx] != 0; ++i) static_cast<void>(vcpu.run(100'000));
  };
  std::thread other(work, 1);
  work(0);
  other.join();
  u64 counters[2];
  std::memcpy(counters, guest.memory(data_at), sizeof(counters));
  EXPECT_EQ(counters[0], 2 * rounds);
  EXPECT_EQ(counters[1], 2 * rounds);
}

// Handlers must leave by tail calls: if one does not, a loop of it without attention in between overflows the stack.
TEST(Dispatch, NeedsNoStack) {
  auto engine = make_interpreter();
  FlatGuest guest(*engine);
  constexpr u8 body[] = {
      0xf0, 0x48, 0x0f, 0xc1, 0x03,  // lock xadd [rbx], rax
      0x48, 0x0f, 0xc7, 0x0b,        // cmpxchg16b [rbx]
      0x48, 0x0f, 0xab, 0x13,        // bts [rbx], rdx
      0x65, 0x48, 0x8b, 0x03,        // mov rax, gs:[rbx]
      0x67, 0x48, 0x89, 0x43, 0x10,  // mov [ebx + 16], rax
      0x48, 0xd3, 0x1b,              // rcr qword [rbx], cl
      0xf3, 0xa4,                    // rep movsb (of nothing)
      0xc8, 0x10, 0x00, 0x02, 0xc9,  // enter 16, 2; leave
      0xff, 0x33, 0x8f, 0x03,        // push [rbx]; pop [rbx]
      0xeb, 0xda,                    // again
  };
  guest.write(code_at, body);
  x86::X86State state = state_at(code_at);
  state.gpr[x86::rbx] = data_at;
  state.gpr[x86::rbp] = data_at + 0x2000;
  const auto outcome = guest.run(state, 3'000'000);
  EXPECT_TRUE(std::holds_alternative<BudgetSpent>(outcome.exit));
  EXPECT_EQ(outcome.state.instruction_count, 3'000'000u);
}

// Real mode: 16-bit operands and addresses, targets truncated to 16 bits, the limit of CS.
TEST(Branch, TruncatesAndChecksInRealMode) {
  auto engine = make_interpreter();
  FlatGuest guest(*engine);
  x86::X86State state;
  x86::reset(state);
  state.segments[x86::cs] = {.base = 0, .limit = 0xffff, .selector = 0, .attributes = 0x9b};
  constexpr u8 code[] = {0xe9, 0xfe, 0xff};  // jmp to itself + 1, wrapping
  constexpr u8 call[] = {0xe8, 0x10, 0x00};
  guest.write(FlatGuest::base + 0x1000, call);
  guest.write(FlatGuest::base + 0x1013, code);
  state.rip = 0x1000;
  state.gpr[x86::rsp] = 0xabcd'0000;
  auto outcome = guest.run(state, 1);
  EXPECT_EQ(outcome.state.rip, 0x1013u);
  EXPECT_EQ(outcome.state.gpr[x86::rsp], 0xabcd'fffeu);
  EXPECT_EQ(guest.memory(FlatGuest::base)[0xffff], 0x10);
  outcome = guest.run(outcome.state, 1);
  EXPECT_EQ(outcome.state.rip, 0x1014u);

  constexpr u8 far_jump[] = {0x66, 0xe9, 0x00, 0x00, 0x01, 0x00};  // jmp near, 32 bits, beyond the limit
  guest.write(FlatGuest::base + 0x2000, far_jump);
  state.rip = 0x2000;
  outcome = guest.run(state, 1);
  EXPECT_EQ(outcome.exception, x86::general_protection);
  EXPECT_EQ(outcome.state.rip, 0x2000u);
}

}  // namespace
}  // namespace doppel
