// --verify finds what is wrong with translated code: code that is right passes, and a translation that a test breaks is reported.
#include "engine/translator/verifier.h"

#include <gtest/gtest.h>
#include <xbyak/xbyak.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "engine/translator/host_signals.h"
#include "engine/translator/translator_vcpu.h"
#include "support/flat_guest.h"

namespace doppel::test {
namespace {

using namespace Xbyak::util;
using doppel::testing::FlatGuest;

// A verifying engine whose code cache a test can write to.
class OpenEngine final : public Engine {
 public:
  std::string_view name() const override { return "translator"; }
  Result<std::unique_ptr<Vcpu>> create_vcpu(const VcpuWiring& wiring) override {
    constexpr u64 bytes = u64{1} << 20;
    CodeCache cache = TRY(CodeCache::create(bytes, translator::data_bytes(bytes)));
    code = {cache.writable(), cache.bytes()};
    return std::make_unique<translator::TranslatorVcpu>(
        wiring, decoder_,
        translator::VcpuSettings{
            .block_cache_bytes = u64{4} << 20, .repeatable = true, .verify = true, .longest_block = 48, .warm_up = 1},
        std::move(cache));
  }

  std::span<u8> code;

 private:
  x86::Decoder decoder_{x86::host_cpu_model()};
};

constexpr u64 code_at = FlatGuest::base, data_at = FlatGuest::base + 0x6000, device_at = FlatGuest::base + 0x9000;
constexpr u32 added = 0x1357'9bdf, stored = 0x2468'ace0;

class Loop : public Xbyak::CodeGenerator {
 public:
  Loop() {
    Xbyak::Label again;
    L(again);
    add(eax, added);
    mov(dword[rbx + 16], stored);
    push(rax);
    mov(edx, dword[rbx + 0xffe]);  // two pages
    mov(ecx, dword[rsi]);          // a device
    add(dword[rbx + 0x20], eax);
    pop(rdi);
    imul(rdi, rdi);
    paddd(xmm1, xmm2);
    mov(byte[rbp], al);  // a page of code
    dec(r8d);
    jnz(again);
    hlt();
  }
};

class Verify : public ::testing::Test {
 protected:
  void SetUp() override {
    translator::handle_faults();
    const Loop loop;
    guest_.write(code_at, {loop.getCode(), loop.getSize()});
    guest_.set_device(device_at);
    state_ = FlatGuest::initial_state();
    state_.cr4 |= x86::cr4::osfxsr;
    state_.rip = code_at;
    state_.gpr[x86::rsp] = FlatGuest::base + 0x8000;
    state_.gpr[x86::rbx] = data_at;
    state_.gpr[x86::rbp] = code_at + 0x800;
    state_.gpr[x86::rsi] = device_at;
    state_.gpr[8] = 1000;
    guest_.hooks().mmio = [&](bool, u64, unsigned, u64, u64) { ++accesses_; };
  }
  // Replaces a 32-bit immediate in all translations.
  unsigned break_code(u32 immediate, u32 by) {
    unsigned found = 0;
    for (std::size_t at = 0; at + 4 <= engine_.code.size(); ++at)
      if (std::memcmp(&engine_.code[at], &immediate, 4) == 0) {
        std::memcpy(&engine_.code[at], &by, 4);
        ++found;
      }
    return found;
  }
  std::string report(const FlatGuest::Outcome& outcome) {
    const auto* difference = std::get_if<Diverged>(&outcome.exit);
    return difference ? difference->report : "no difference";
  }

  OpenEngine engine_;
  FlatGuest guest_{engine_};
  x86::X86State state_;
  unsigned accesses_ = 0;
};

TEST_F(Verify, PassesWhatIsRight) {
  const auto outcome = guest_.run(state_, 1'000'000);
  EXPECT_TRUE(std::holds_alternative<Halted>(outcome.exit)) << report(outcome);
  EXPECT_EQ(accesses_, 1000u);  // devices once
  EXPECT_EQ(outcome.state.instruction_count, 12'001u);
  EXPECT_EQ(static_cast<u32>(outcome.state.gpr[x86::rax]), static_cast<u32>(1000u * added));
  u32 sum = 0;
  for (u32 i = 1; i <= 1000; ++i) sum += i * added;
  EXPECT_EQ(std::memcmp(guest_.memory(data_at + 0x20), &sum, 4), 0);
}

TEST_F(Verify, FindsARegisterThatDiffers) {
  const auto first = guest_.run(state_, 120);
  ASSERT_TRUE(std::holds_alternative<BudgetSpent>(first.exit)) << report(first);
  ASSERT_GT(break_code(added, added + 1), 0u);
  const std::string text = report(guest_.run(first.state, 1000));
  EXPECT_NE(text.find("differs from the interpreter in the block at 0x10000000"), std::string::npos) << text;
  EXPECT_NE(text.find("add eax, 0x13579BDF"), std::string::npos) << text;
  EXPECT_NE(text.find("* rax"), std::string::npos) << text;
  EXPECT_EQ(text.find("* rbx"), std::string::npos) << text;
}

TEST_F(Verify, FindsAByteOfMemoryThatDiffers) {
  const auto first = guest_.run(state_, 120);
  ASSERT_TRUE(std::holds_alternative<BudgetSpent>(first.exit)) << report(first);
  ASSERT_GT(break_code(stored, stored ^ 0x0400'0000), 0u);
  const std::string text = report(guest_.run(first.state, 1000));
  EXPECT_NE(text.find("* RAM 0x6013: before 24, interpreted 24, translated 20"), std::string::npos) << text;
  EXPECT_EQ(text.find("* rax"), std::string::npos) << text;
}

// One PAUSE in many is left to the interpreter; the others are translated.
TEST(VerifySpinning, FollowsPauses) {
  translator::handle_faults();
  struct Spin : Xbyak::CodeGenerator {
    Spin() {
      Xbyak::Label again;
      L(again);
      inc(eax);
      pause();
      add(edx, eax);
      dec(r8d);
      jnz(again);
      hlt();
    }
  } const spin;
  OpenEngine engine;
  FlatGuest guest(engine, 2);
  guest.write(code_at, {spin.getCode(), spin.getSize()});
  x86::X86State state = FlatGuest::initial_state();
  state.rip = code_at;
  state.gpr[8] = 1000;
  const auto outcome = guest.run(state, 1'000'000);
  const auto* difference = std::get_if<Diverged>(&outcome.exit);
  EXPECT_TRUE(std::holds_alternative<Halted>(outcome.exit)) << (difference ? difference->report : "");
  EXPECT_EQ(outcome.state.instruction_count, 5'001u);
}

}  // namespace
}  // namespace doppel::test
