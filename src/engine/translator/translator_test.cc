// Random programs end alike under the translator and the interpreter: registers, flags, memory. What single instructions do is the
// oracle's to check (tests/tools/oracle); here it is what happens between them: groups of accesses, flags that are kept, recomputed or
// saved, guest registers in memory, departures and the way back, chained blocks.
#include "engine/translator/translator.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <xbyak/xbyak.h>

#include <algorithm>
#include <cstdio>
#include <random>

#include "support/flat_guest.h"
#include "support/small_guest.h"

namespace doppel::test {
namespace {

using namespace Xbyak::util;

constexpr u64 data_bytes = 0x4000;
constexpr unsigned program_steps = 60;
constexpr int reserved[] = {3, 4, 5, 13};  // RBX, RBP and R13 point to data, RSP to the stack

class RandomProgram : Xbyak::CodeGenerator {
 public:
  enum class Kind { any, loops };
  explicit RandomProgram(u32 seed, Kind kind = Kind::any) : random_(seed), few_(kind == Kind::loops) {
    if (few_) {
      for (unsigned i = 0; i < 5; ++i) loop();
      hlt();
      return;
    }
    mov(r12d, 6);
    Xbyak::Label again;
    L(again);
    for (unsigned i = 0; i < program_steps; ++i) step();
    while (depth_ > 0) take();
    dec(r12d);
    jnz(again, T_NEAR);
    hlt();
  }
  std::string hex() const {
    std::string text;
    for (std::size_t i = 0; i < getSize(); ++i) {
      char digits[3];
      std::snprintf(digits, sizeof(digits), "%02x", getCode()[i]);
      text += digits;
    }
    return text;
  }

 private:
  unsigned below(unsigned limit) { return static_cast<unsigned>(random_() % limit); }
  bool is_reserved(int number) const {
    return number == 12 || std::find(std::begin(reserved), std::end(reserved), number) != std::end(reserved);
  }
  int target() {
    constexpr int few[] = {0, 6, 12, 14};
    if (few_) return few[below(4)];
    for (;;)
      if (const int number = static_cast<int>(below(16)); !is_reserved(number)) return number;
  }
  int source() {
    constexpr int few[] = {0, 3, 5, 6, 12, 13, 14, 15};
    return few_ ? few[below(8)] : static_cast<int>(below(16));
  }
  Xbyak::Reg sized(int number, unsigned bits) {
    if (bits == 64) return Xbyak::Reg64(number);
    if (bits == 32) return Xbyak::Reg32(number);
    if (bits == 16) return Xbyak::Reg16(number);
    return Xbyak::Reg8(number, number >= 4);
  }
  unsigned size() { return 8u << below(4); }
  // In the first page of the data or across its end; seldom unaligned beyond it.
  Xbyak::RegExp place() {
    const int bases[] = {3, 5, 13};
    Xbyak::RegExp exp = Xbyak::RegExp(Xbyak::Reg64(bases[below(3)])) + static_cast<int>(below(64) * 8);
    if (few_ && below(8) == 0) return rbx + 0xffd;  // is left to the interpreter
    if (below(16) == 0) exp = exp + 0xe7d;
    if (below(4) == 0) exp = exp + Xbyak::RegExp(r12, 8);
    return exp;
  }
  void step() {
    switch (below(29)) {
      case 0:
      case 1:
      case 2: arithmetic(); break;
      case 3: mov(sized(target(), 64), sized(source(), 64)); break;
      case 4: mov(sized(target(), 32), below(2) ? 0x12345 : 0xffff'fff0u); break;
      case 5:
      case 6: load(); break;
      case 7:
      case 8: store(); break;
      case 9: modify(); break;
      case 10:
        if (depth_ < 40) {
          push(sized(source() == 4 ? 0 : source(), 64));
          ++depth_;
        }
        break;
      case 11: take(); break;
      case 12: shift(); break;
      case 13: lea(Xbyak::Reg64(target()), ptr[Xbyak::Reg64(source()) + 0x21]); break;
      case 14: setcc(); break;
      case 15: cmovb(Xbyak::Reg64(target()), Xbyak::Reg64(source())); break;
      case 16: branch(); break;
      case 17: below(2) ? inc(sized(target(), size())) : dec(sized(target(), size())); break;
      case 18: below(2) ? not_(sized(target(), size())) : neg(sized(target(), size())); break;
      case 19: vectors(); break;
      case 20: imul(Xbyak::Reg64(target()), Xbyak::Reg64(source())); break;
      case 21:
        pushfq();
        ++depth_;
        break;
      case 22: mov(ptr[rsp + static_cast<int>(below(8) * 8) - 256], Xbyak::Reg64(source())); break;
      case 23: outlined(); break;
      case 24: x87(); break;
      case 25: bit_string(); break;
      case 26: repeat_string(); break;
      case 27:
        lea(Xbyak::Reg64(target()), ptr[Xbyak::Reg64(source()) + Xbyak::Reg64(below(2) ? r14 : rdi) * 4 - 0x21]);
        break;
      case 28: read_segment(); break;
    }
  }
  // Of one block, which few registers have to do with: R12–R15 more than others. In its last round it may end by a fault.
  void loop() {
    const bool faults = below(6) == 0;
    mov(r15d, 2 + below(6));
    mov(edi, 0x7fff'f000);
    Xbyak::Label again, over;
    L(again);
    for (unsigned i = 3 + below(9); i > 0; --i) simple_step();
    if (faults) {
      cmp(r15d, 2);
      cmovz(rbx, rdi);
    }
    if (below(4) == 0) jc(over, T_NEAR);
    if (below(4) == 0) call_next();
    dec(r15d);
    jnz(again, T_NEAR);
    L(over);
  }
  // Ends a block; what it pushes is taken again.
  void call_next() {
    Xbyak::Label next;
    call(next);
    L(next);
    pop(r14);
  }
  void simple_step() {
    switch (below(10)) {
      case 0:
      case 1:
      case 2: return arithmetic();
      case 3: return load();
      case 4: return store();
      case 5: return modify();
      case 6: return shift();
      case 7: return setcc();
      case 8: return lea(Xbyak::Reg64(target()), ptr[Xbyak::Reg64(source()) + r14 * 4 - 0x21]);
      default: return cmovb(Xbyak::Reg64(target()), Xbyak::Reg64(source()));
    }
  }
  void bit_string() {
    const int number = target();
    mov(Xbyak::Reg64(number), static_cast<u64>(static_cast<i64>(below(0x2000)) - 0x800));
    const auto exp = place() + 0x200;
    const bool wide = below(2);
    const auto operand = wide ? qword[exp] : dword[exp];
    const Xbyak::Reg offset = sized(number, wide ? 64 : 32);
    const unsigned operation = below(4);
    if (operation != 0 && below(2)) lock();
    switch (operation) {
      case 0: bt(operand, offset); break;
      case 1: bts(operand, offset); break;
      case 2: btr(operand, offset); break;
      default: btc(operand, offset); break;
    }
  }
  void repeat_string() {
    lea(rdi, ptr[place() + 0x300]);
    lea(rsi, ptr[place() + (below(2) ? 0x300 : 0x400)]);
    mov(ecx, below(4) ? below(20) : below(0x120));
    const bool down = below(8) == 0;
    if (down) std();
    rep();
    switch (below(8)) {
      case 0: stosb(); break;
      case 1: stosw(); break;
      case 2: stosd(); break;
      case 3: stosq(); break;
      case 4: movsb(); break;
      case 5: movsw(); break;
      case 6: movsd(); break;
      default: movsq(); break;
    }
    if (down) cld();
  }
  void read_segment() {
    const Xbyak::Segment segments[] = {Xbyak::util::cs, Xbyak::util::ss, Xbyak::util::ds, Xbyak::util::fs};
    mov(sized(target(), 16u << below(3)), segments[below(4)]);
  }
  void arithmetic() {
    const unsigned bits = size();
    const Xbyak::Reg to = sized(target(), bits), from = sized(source(), bits);
    switch (below(9)) {
      case 0: add(to, from); break;
      case 1: sub(to, from); break;
      case 2: and_(to, from); break;
      case 3: or_(to, from); break;
      case 4: xor_(to, from); break;
      case 5: cmp(to, from); break;
      case 6: test(to, from); break;
      case 7: adc(to, from); break;
      case 8: sbb(to, 17); break;
    }
  }
  void load() {
    switch (below(4)) {
      case 0: mov(sized(target(), size()), ptr[place()]); break;
      case 1: movzx(Xbyak::Reg32(target()), byte[place()]); break;
      case 2: movsxd(Xbyak::Reg64(target()), dword[place()]); break;
      case 3: add(Xbyak::Reg64(target()), ptr[place()]); break;
    }
  }
  void store() {
    if (below(3) == 0)
      mov(dword[place()], 0x789abcu);
    else
      mov(ptr[place()], sized(source(), size()));
  }
  void modify() {
    switch (below(5)) {
      case 0: add(ptr[place()], sized(source(), size())); break;
      case 1: cmp(ptr[place()], sized(source(), size())); break;
      case 2: inc(dword[place()]); break;
      case 3:
        lock();
        xadd(ptr[place()], Xbyak::Reg64(target()));
        break;
      case 4: adc(qword[place()], 3); break;
    }
  }
  void take() {
    if (depth_ == 0) return;
    pop(Xbyak::Reg64(target()));
    --depth_;
  }
  void shift() {
    const unsigned bits = size();
    const Xbyak::Reg to = sized(target(), bits), wide = sized(target(), std::max(16u, bits));
    const Xbyak::Reg from = sized(source(), std::max(16u, bits));
    const int count = static_cast<int>(1 + below(31));
    switch (below(12)) {
      case 0: shl(to, count); break;
      case 1: sar(to, cl); break;
      case 2: rol(to, count); break;
      case 3: bt(wide, static_cast<u8>(below(30))); break;
      case 4: shr(to, count); break;
      case 5: ror(to, cl); break;
      case 6: rcl(to, cl); break;
      case 7: rcr(to, count); break;
      case 8: shld(wide, from, static_cast<u8>(count)); break;
      case 9: shrd(wide, from, cl); break;
      case 10: bsf(wide, from); break;
      case 11: bsr(wide, from); break;
    }
  }
  void multiply() {
    const Xbyak::Reg from = sized(source(), size());
    switch (below(3)) {
      case 0: imul(Xbyak::Reg64(target()), Xbyak::Reg64(source())); break;
      case 1: mul(from); break;
      case 2: imul(from); break;
    }
  }
  void setcc() {
    const Xbyak::Reg8 to(target(), true);
    switch (below(3)) {
      case 0: setz(to); break;
      case 1: setl(byte[place()]); break;
      case 2: seto(to); break;
    }
  }
  // Over one to three steps that leave the stack alone.
  void branch() {
    Xbyak::Label over;
    switch (below(3)) {
      case 0: jz(over, T_NEAR); break;
      case 1: jl(over, T_NEAR); break;
      case 2: jnp(over, T_NEAR); break;
    }
    for (unsigned i = 0; i <= below(3); ++i) {
      load();
      arithmetic();
      store();
    }
    L(over);
  }
  void vectors() {
    const Xbyak::Xmm to(static_cast<int>(below(16))), from(static_cast<int>(below(16)));
    switch (below(5)) {
      case 0: movq(to, Xbyak::Reg64(source())); break;
      case 1: paddq(to, from); break;
      case 2: movdqu(to, ptr[place()]); break;
      case 3: movdqu(ptr[place()], to); break;
      case 4: movq(Xbyak::Reg64(target()), from); break;
    }
  }
  // What the interpreter executes on behalf of translated code.
  void outlined() {
    switch (below(3)) {
      case 0: cld(); break;
      case 1: translate_byte(); break;
      case 2: fninit(); break;
    }
  }
  // Whatever the stack and the memory hold: overflow, underflow and strange numbers are answered, too.
  void x87() {
    const auto memory = place();
    const Xbyak::Fpu other(static_cast<int>(1 + below(7)));
    switch (below(16)) {
      case 0: fld(qword[memory]); break;
      case 1: fld(dword[memory]); break;
      case 2: fild(dword[memory]); break;
      case 3: fld(other); break;
      case 4: fadd(other, st0); break;
      case 5: fmulp(other); break;
      case 6: fdiv(qword[memory]); break;
      case 7: fstp(qword[memory]); break;
      case 8: fistp(qword[memory]); break;
      case 9: fnstcw(word[memory]); break;
      case 10: fnstsw(ax); break;
      case 11: fcomi(other); break;
      case 12: fcmove(other); break;
      case 13: fsqrt(); break;
      case 14: paddb(Xbyak::Mmx(static_cast<int>(below(8))), ptr[memory]); break;
      case 15:
        mov(word[memory], 0x023f | below(16) << 8);
        fldcw(word[memory]);
        break;
    }
  }
  void translate_byte() {
    movzx(eax, r12b);
    db(0xd7);  // XLAT: AL = [RBX + AL]
  }

  std::mt19937 random_;
  const bool few_;
  unsigned depth_ = 0;
};

std::unique_ptr<Engine> translator(bool repeatable, bool verify = false, bool counts = true) {
  auto made = make_translator({.repeatable = repeatable, .verify = verify, .instruction_counts = counts, .warm_up = 1});
  EXPECT_TRUE(made);
  return std::move(*made);
}

// Everything that a program can have changed.
std::vector<u64> outcome_of(const std::string& hex, std::unique_ptr<Engine> engine, u64 budget, bool counts = true) {
  SmallGuest guest(Mode::long64, std::move(engine));
  guest.code(hex);
  for (u64 at = 0; at < data_bytes; at += 8) guest.write(at::data + at, at * 0x9e37'79b9'7f4a'7c15u, 8);
  x86::X86State& state = guest.state();
  state.cr4 |= x86::cr4::osfxsr;
  for (unsigned i = 0; i < 16; ++i)
    if (i != x86::rsp) state.gpr[i] = (i + 1) * 0x0123'4567'89ab'cdefu;
  state.gpr[x86::rbx] = at::data;
  state.gpr[x86::rbp] = at::data + 0x800;
  state.gpr[13] = at::data + 0x1003;
  state.fpu = {};
  const std::string end = guest.run(budget);
  EXPECT_TRUE(budget < 1000 ? end.starts_with("running") : !end.starts_with("running")) << end;
  std::vector<u64> words(state.gpr.begin(), state.gpr.end());
  words.push_back(std::hash<std::string>{}(end));
  words.push_back(state.rip);
  words.push_back(state.rflags);
  words.push_back(counts ? state.instruction_count : 0);
  const x86::FpuState& fpu = state.fpu;
  words.insert(words.end(), {fpu.control, fpu.status, fpu.valid, fpu.opcode, fpu.instruction_pointer, fpu.data_pointer,
                             fpu.instruction_selector});
  for (const auto& value : fpu.registers) words.insert(words.end(), {value.significand, value.sign_exponent});
  for (const auto& vector : state.vectors) words.push_back(vector.words[0] ^ vector.words[1]);
  for (u64 at = 0; at < data_bytes; at += 8) words.push_back(guest.read(at::data + at, 8));
  for (u64 at = at::kernel_stack - 1024; at < at::kernel_stack; at += 8) words.push_back(guest.read(at, 8));
  return words;
}

// Of `programs`, the first `verified` ones also beside the interpreter.
void expect_as_interpreted(RandomProgram::Kind kind, u32 programs, u32 verified) {
  for (u32 seed = 1; seed <= programs; ++seed) {
    const std::string hex = RandomProgram(seed, kind).hex();
    const auto expected = outcome_of(hex, make_interpreter(), 100'000);
    EXPECT_EQ(outcome_of(hex, translator(true), 100'000), expected) << "seed " << seed;
    EXPECT_EQ(outcome_of(hex, translator(false), unlimited_budget), expected) << "seed " << seed;
    EXPECT_EQ(outcome_of(hex, translator(false, false, false), unlimited_budget, false),
              outcome_of(hex, make_interpreter(), 100'000, false))
        << "not counted, seed " << seed;
    if (seed <= verified) {
      EXPECT_EQ(outcome_of(hex, translator(true, true), 100'000), expected) << "verified, seed " << seed;
    }
    if (::testing::Test::HasFailure()) return;
  }
}

TEST(Translator, RandomProgramsEndAsInterpreted) { expect_as_interpreted(RandomProgram::Kind::any, 400, 100); }

TEST(Translator, RandomLoopsEndAsInterpreted) { expect_as_interpreted(RandomProgram::Kind::loops, 250, 50); }

// With an instruction clock a device is told the exact time, wherever in a block it is accessed; and no access happens twice.
TEST(Translator, DevicesSeeExactInstructionCounts) {
  using doppel::testing::FlatGuest;
  class Program : public Xbyak::CodeGenerator {
   public:
    Program() {
      mov(ecx, 4);
      Xbyak::Label again;
      L(again);
      mov(eax, dword[rbx]);  // instruction 2; 9 in a round
      inc(qword[rsi]);
      mov(dword[rbx + 8], eax);  // 4
      mov(rdx, qword[rsi]);      // in a group with the following
      mov(qword[rsi + 8], rdx);
      add(dword[rbx + 16], edx);  // 7: read and written
      nop();
      dec(ecx);
      jnz(again);
      hlt();
    }
  };
  const Program program;
  std::vector<u64> expected;
  for (u64 round = 0; round < 4; ++round)
    for (u64 at : {2, 4, 7, 7}) expected.push_back(round * 9 + at);
  for (const bool translated : {false, true}) {
    const std::unique_ptr<Engine> engine = translated ? translator(true) : make_interpreter({.repeatable = true});
    FlatGuest guest(*engine);
    guest.write(FlatGuest::base, {program.getCode(), program.getSize()});
    guest.set_device(FlatGuest::base + 0x4000);
    std::vector<u64> counts;
    guest.hooks().mmio = [&](bool, u64, unsigned, u64, u64) { counts.push_back(guest.vcpu().instruction_count()); };
    x86::X86State state = FlatGuest::initial_state();
    state.rip = FlatGuest::base;
    state.gpr[x86::rbx] = FlatGuest::base + 0x4000;
    state.gpr[x86::rsi] = FlatGuest::base + 0x6000;
    const auto outcome = guest.run(state, 1000);
    EXPECT_TRUE(std::holds_alternative<Halted>(outcome.exit));
    EXPECT_EQ(outcome.state.instruction_count, 1 + 4 * 8 + 4 * 1 + 1u);
    EXPECT_EQ(counts, expected) << (translated ? "translated" : "interpreted");
  }
}

TEST(Translator, BudgetsEndAtTheSameInstruction) {
  for (u32 seed = 1; seed <= 60; ++seed) {
    const std::string hex = RandomProgram(seed).hex();
    for (u64 budget : {1, 7, 50, 333}) {
      EXPECT_EQ(outcome_of(hex, translator(true), budget), outcome_of(hex, make_interpreter(), budget))
          << "seed " << seed << ", budget " << budget;
      if (HasFailure()) return;
    }
  }
}

// What translated code does to the host must come back as the guest's own fault.
TEST(Translator, FaultsOfTheHostAreTheGuests) {
  const auto end = [](std::string_view hex) {
    SmallGuest guest(Mode::long64, translator(false));
    guest.code(hex);
    x86::X86State& state = guest.state();
    state.cr4 |= x86::cr4::osfxsr | x86::cr4::osxsave;
    state.xcr0 = 7;
    state.gpr[x86::rbx] = at::data + 4;
    return guest.run(unlimited_budget);
  };
  EXPECT_EQ(end("90 0f2803 f4"), "#13(0) at 1");            // MOVAPS XMM0, [RBX]
  EXPECT_EQ(end("90 c5f82803 f4"), "#13(0) at 1");          // VMOVAPS
  EXPECT_EQ(end("90 c5fd6f03 f4"), "#13(0) at 1");          // VMOVDQA YMM0, [RBX]
  EXPECT_EQ(end("90 c5fde703 f4"), "#13(0) at 1");          // VMOVNTDQ [RBX], YMM0
  EXPECT_EQ(end("90 480fc70b f4"), "#13(0) at 1");          // CMPXCHG16B [RBX]
  EXPECT_EQ(end("31c9 31d2 f7f1 f4"), "#0 at 4");           // DIV ECX
  EXPECT_EQ(end("4531ed 31d2 49f7fd f4"), "#0 at 5");       // IDIV R13
  EXPECT_EQ(end("31d2 c7030000 0000 f733 f4"), "#0 at 8");  // DIV [RBX]
}

// Pushes side by side move RSP together, but not beyond what may fault or look at it.
TEST(Translator, TheStackIsWhereAFaultSeesIt) {
  const auto end = [](std::string_view hex) {
    SmallGuest guest(Mode::long64, translator(false));
    guest.code(hex);
    const u64 before = guest.state().gpr[x86::rsp];
    const std::string how = guest.run(unlimited_budget);
    const x86::X86State& state = guest.state();
    return fmt::format("{}, RSP -{}", how, before - state.gpr[x86::rsp]);
  };
  // Two rounds, so that the third is translated; a fault aligns RSP to 16 bytes and pushes 40.
  EXPECT_EQ(end("b902000000 31d2 53 51 f7f1 52 ffc9 ebf5"), "#0 at 9, RSP -104");        // PUSH, PUSH, DIV ECX, PUSH
  EXPECT_EQ(end("b902000000 31d2 53 54 58 51 f7f1 52 ffc9 ebf3"), "#0 at b, RSP -104");  // PUSH RSP
}

// A displacement counts from the end of the instruction, not from the beginning of its page.
TEST(Translator, DisplacementsReachTwoGibibytes) {
  const auto outcome = [](std::string_view hex, std::unique_ptr<Engine> engine) {
    SmallGuest guest(Mode::long64, std::move(engine));
    guest.code(hex);
    const std::string end = guest.run(unlimited_budget);
    const x86::X86State& state = guest.state();
    return fmt::format("{}, CR2 {:x}, RAX {:x}, RSP {:x}", end, state.cr2, state.gpr[x86::rax], state.gpr[x86::rsp]);
  };
  for (const char* hex : {
           "31c0 0f81 f0ffff7f",                        // JNO
           "e9 f0ffff7f",                               // JMP
           "e8 f0ffff7f",                               // CALL
           "488b05 ffffff7f",                           // MOV RAX, [RIP + …]
           "488d05 ffffff7f f4",                        // LEA
           "ff35 ffffff7f",                             // PUSH
           "ff25 ffffff7f",                             // JMP [RIP + …]
           "ff15 ffffff7f",                             // CALL [RIP + …]
           "d92d ffffff7f",                             // FLDCW
           "6a01 488b8424 00000080 488b8424 ffffff7f",  // MOV RAX, [RSP + …] behind PUSH
       })
    EXPECT_EQ(outcome(hex, translator(false)), outcome(hex, make_interpreter())) << hex;
}

// DIV leaves the status flags undefined, and so perhaps as they were: they must be there.
TEST(Translator, FlagsBeforeDivision) {
  const char*
      hex = "b807000000 31d2 b903000000 39c1 eb00 8903 f7f1 9c 58 f4";  // CMP ECX, EAX; JMP; MOV [RBX], EAX; DIV ECX; PUSHFQ
  for (const bool repeatable : {false, true})
    EXPECT_EQ(outcome_of(hex, translator(repeatable), 100'000), outcome_of(hex, make_interpreter(), 100'000));
}

// In 32-bit code a segment that was flat when a block was translated need not be so when the next instruction uses it.
TEST(Translator, SegmentsStopBeingFlat) {
  const auto outcome = [](std::string_view hex, Mode mode, u16 selector, std::unique_ptr<Engine> engine) {
    SmallGuest guest(mode, std::move(engine));
    guest.code(hex);
    guest.write(at::data, 0x1234'5678, 4);
    x86::X86State& state = guest.state();
    state.gpr[x86::rbx] = at::data;
    state.gpr[x86::rcx] = selector;
    state.gpr[x86::rdx] = 3;
    const std::string end = guest.run(unlimited_budget);
    return end + " " + guest.values("rax rbx rdx rsp ds es fs gs flags");
  };
  for (const Mode mode : {Mode::protected32, Mode::user32, Mode::compat32_user})
    for (const u16 selector : {sel::data, sel::user_data, sel::expand_down, sel::read_only, sel::data16, u16{0}})
      for (const char* hex : {
               "8b03 8ed9 0303 8903 4a 75f7 f4",  // MOV DS, CX in a loop, then ADD EAX, [EBX]; MOV [EBX], EAX; DEC; JNZ
               "64 8b03 8ee1 64 0303 64 8903 4a 75f3 f4",      // FS
               "65 8b03 8ee9 65 0303 6a05 58 4a 75f2 f4",      // GS, and the stack
               "90 1e 07 8ec1 a1 00000400 26 a3 04000400 f4",  // ES, with absolute addresses
               "8ed1 50 58 4a 75f9 f4",                        // SS
               "2e 8b03 60 61 9c 58 c3",                       // CS, PUSHA, PUSHF
           })
        EXPECT_EQ(outcome(hex, mode, selector, translator(false)), outcome(hex, mode, selector, make_interpreter()))
            << hex << ", selector " << selector;
}

// FLDCW that unmasks an exception leaves the rest to the interpreter, and FIP tells of the last instruction wherever it was executed.
TEST(Translator, X87StateComesAndGoes) {
  for (const char* hex : {
           "d9e8 d9ee def9 dd1b f4",                                // FLD1, FLDZ, FDIVP, FSTP [RBX], HLT
           "d9e8 d9ee 66c7037a03 d92b def9 90 9b f4",               // the same with zero divide unmasked: #MF at FWAIT
           "d9e8 0f77 0f6ec0 0ffcc0 0f7e03 d9f7 f4",                // FLD1, EMMS, MOVD, PADDB, MOVD [RBX], FINCSTP
           "dbe3 d9eb d9fe dd1b d93b 9bd93b df2b f4",               // FNINIT, FLDPI, FSIN, FSTP, FNSTCW, FILD
           "d9e8 d9eb dbf1 d9c1 dec1 dfe0 0faefb 0fae03 f4",        // FCOMI, FLD ST(1), FADDP, FNSTSW, CLFLUSH, FXSAVE
           "db2b d9e1 db7b10 d9e8 f4",                              // FLD tword [RBX], FABS, FSTP tword [RBX + 10h]
           "d9e8 d9e8 d9e8 d9e8 d9e8 d9e8 d9e8 d9e8 d9e8 dd1b f4",  // the stack overflows
       })
    EXPECT_EQ(outcome_of(hex, translator(false), unlimited_budget), outcome_of(hex, make_interpreter(), 100'000))
        << hex;
}

}  // namespace
}  // namespace doppel::test
