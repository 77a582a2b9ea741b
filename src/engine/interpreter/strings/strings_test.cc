// Repetition: what interrupts, traps and budgets see of it. What the instructions do is checked in integer/rows_test.cc.
#include <gtest/gtest.h>

#include "engine/interpreter/interpreter.h"
#include "support/flat_guest.h"

namespace doppel {
namespace {

using testing::FlatGuest;

constexpr u64 code_at = FlatGuest::base + 0x1000, data_at = FlatGuest::base + 0x1'0000;
constexpr u64 device_at = FlatGuest::base + 0x8000;
constexpr u8 rep_movsb[] = {0xf3, 0xa4, 0xeb, 0xfe}, rep_stosb[] = {0xf3, 0xaa, 0xeb, 0xfe};
constexpr u8 repne_scasb[] = {0xf2, 0xae, 0xeb, 0xfe};

class Repetition : public ::testing::Test {
 protected:
  x86::X86State prepare(std::span<const u8> code, u64 source, u64 destination, u64 count) {
    guest_.write(code_at, code);
    x86::X86State state = FlatGuest::initial_state();
    state.rip = code_at;
    state.gpr[x86::rsi] = source;
    state.gpr[x86::rdi] = destination;
    state.gpr[x86::rcx] = count;
    return state;
  }

  std::unique_ptr<Engine> engine_ = make_interpreter();
  FlatGuest guest_{*engine_};
};

TEST_F(Repetition, RetiresAsOneInstruction) {
  const auto outcome = guest_.run(prepare(rep_stosb, 0, data_at, 0x5000), 1);
  EXPECT_TRUE(std::holds_alternative<BudgetSpent>(outcome.exit));
  EXPECT_EQ(outcome.state.gpr[x86::rcx], 0u);
  EXPECT_EQ(outcome.state.gpr[x86::rdi], data_at + 0x5000);
  EXPECT_EQ(outcome.state.rip, code_at + 2);
  EXPECT_EQ(outcome.state.instruction_count, 1u);
}

// Slow elements, as from a device, must not hold off a kick; what was done shows, and the rest follows.
TEST_F(Repetition, IsInterruptedBetweenElements) {
  guest_.set_device(device_at);
  int reads = 0;
  guest_.hooks().mmio = [&](bool, u64, unsigned, u64, u64) {
    if (++reads == 5) guest_.vcpu().kick();
  };
  auto outcome = guest_.run(prepare(rep_movsb, device_at, data_at, 64), 10);
  EXPECT_TRUE(std::holds_alternative<Kicked>(outcome.exit));
  EXPECT_EQ(outcome.state.rip, code_at);
  EXPECT_EQ(outcome.state.gpr[x86::rcx], 59u);
  EXPECT_EQ(outcome.state.gpr[x86::rsi], device_at + 5);
  EXPECT_EQ(outcome.state.gpr[x86::rdi], data_at + 5);
  EXPECT_EQ(outcome.state.instruction_count, 0u);
  outcome = guest_.run(outcome.state, 1);
  EXPECT_EQ(outcome.state.gpr[x86::rcx], 0u);
  EXPECT_EQ(outcome.state.rip, code_at + 2);
  EXPECT_EQ(reads, 64);
  EXPECT_EQ(guest_.memory(data_at)[63], 0xff);
}

TEST_F(Repetition, TrapsAfterEachElementWhenSingleStepping) {
  x86::X86State state = prepare(rep_stosb, 0, data_at, 3);
  state.rflags |= x86::rflags::tf;
  const auto outcome = guest_.run(state, 10);
  ASSERT_EQ(outcome.exception, x86::debug);
  EXPECT_EQ(outcome.state.rip, code_at);
  EXPECT_EQ(outcome.state.gpr[x86::rcx], 2u);
}

TEST_F(Repetition, FaultsAtTheElementThatFaults) {
  guest_.set_writable(data_at + 0x1000, false);
  const auto outcome = guest_.run(prepare(rep_stosb, 0, data_at + 0xff0, 0x100), 10);
  ASSERT_EQ(outcome.exception, x86::page_fault);
  EXPECT_EQ(outcome.state.rip, code_at);
  EXPECT_EQ(outcome.state.gpr[x86::rcx], 0xf0u);
  EXPECT_EQ(outcome.state.gpr[x86::rdi], data_at + 0x1000);
}

// 16-bit address size wraps its registers at 64 KiB: DI in the middle of an element run.
TEST_F(Repetition, WrapsAtTheAddressSize) {
  constexpr u8 code[] = {0x67, 0xf3, 0xaa, 0xeb, 0xfe};  // in 32-bit code: 16-bit addresses
  x86::X86State state = FlatGuest::initial_state(true);
  guest_.write(code_at, code);
  state.rip = code_at;
  state.segments[x86::es].base = FlatGuest::base;
  state.gpr[x86::rax] = 0x5a;
  state.gpr[x86::rdi] = 0x1234'fffe;
  state.gpr[x86::rcx] = 0x7777'0004;
  const auto outcome = guest_.run(state, 1);
  EXPECT_EQ(outcome.state.gpr[x86::rdi], 0x1234'0002u);
  EXPECT_EQ(outcome.state.gpr[x86::rcx], 0x7777'0000u);
  EXPECT_EQ(guest_.memory(FlatGuest::base)[0xffff], 0x5a);
  EXPECT_EQ(guest_.memory(FlatGuest::base)[1], 0x5a);
  EXPECT_EQ(guest_.memory(FlatGuest::base)[2], 0);
}

TEST_F(Repetition, ScanStopsBehindWhatItFinds) {
  guest_.write(data_at + 0x1801, std::array<u8, 1>{0x42});
  x86::X86State state = prepare(repne_scasb, 0, data_at, 0x3000);
  state.gpr[x86::rax] = 0x42;
  const auto outcome = guest_.run(state, 1);
  EXPECT_EQ(outcome.state.gpr[x86::rdi], data_at + 0x1802);
  EXPECT_EQ(outcome.state.gpr[x86::rcx], 0x3000u - 0x1802);
  EXPECT_TRUE(outcome.state.rflags & x86::rflags::zf);
}

}  // namespace
}  // namespace doppel
