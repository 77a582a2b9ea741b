// Every general-register instruction that runs unprivileged, with random operands, registers, flags and memory, against the host's
// processor. Undefined flags are named and not compared.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <cstring>

#include "engine/interpreter/interpreter.h"
#include "isa/x86/host_vendor.h"
#include "support/instruction_cases.h"

namespace doppel {
namespace {

using namespace doppel::testing;

// Per row; DOPPEL_TEST_TRIALS asks for more.
const int trials = std::getenv("DOPPEL_TEST_TRIALS") ? std::atoi(std::getenv("DOPPEL_TEST_TRIALS")) : 150;

std::vector<Row> arithmetic_rows() {
  std::vector<Row> rows;
  for (unsigned op = 0; op < 8; ++op) {
    const std::string digit = std::to_string(op), undefined = op == 1 || op == 4 || op == 6 ? "a" : "";
    const unsigned lockable = op == 7 ? Row::plain : Row::lockable;
    const auto hex = [](unsigned value) {
      constexpr const char* digits = "0123456789abcdef";
      return std::string{digits[value >> 4], digits[value & 15]};
    };
    rows.push_back({hex(op * 8) + " /r", undefined, Row::byte | lockable});
    rows.push_back({hex(op * 8 + 1) + " /r", undefined, lockable});
    rows.push_back({hex(op * 8 + 2) + " /r", undefined, Row::byte});
    rows.push_back({hex(op * 8 + 3) + " /r", undefined});
    rows.push_back({hex(op * 8 + 4) + " ib", undefined, Row::byte});
    rows.push_back({hex(op * 8 + 5) + " iz", undefined});
    rows.push_back({"80 /" + digit + " ib", undefined, Row::byte | lockable});
    rows.push_back({"81 /" + digit + " iz", undefined, lockable});
    rows.push_back({"83 /" + digit + " ib", undefined, lockable});
    if (op == 6) continue;  // shifts and rotates
    for (const char* byte_form : {"c0", "d0", "d2"}) {
      const unsigned shift = byte_form[0] == 'd' && byte_form[1] == '0' ? Row::plain : Row::shift;
      const std::string immediate = byte_form[0] == 'c' ? " ib" : "", unset = op >= 4 ? "a" : "";
      const std::string wide_form = std::string{byte_form[0], static_cast<char>(byte_form[1] + 1)};
      rows.push_back({std::string(byte_form) + " /" + digit + immediate, unset, Row::byte | shift});
      rows.push_back({wide_form + " /" + digit + immediate, unset, shift});
    }
  }
  for (unsigned code = 0; code < 16; ++code) {
    const std::string digit{"0123456789abcdef"[code]};
    rows.push_back({"0f 9" + digit + " /0", "", Row::byte});
    rows.push_back({"0f 4" + digit + " /r"});
    rows.push_back({"7" + digit + " 02 b0 01 b3 02", "", Row::byte});
    rows.push_back({"0f 8" + digit + " 02 00 00 00 b0 01 b3 02", "", Row::byte});
  }
  return rows;
}

const std::vector<Row> other_rows = {
    // moves
    {"88 /r", "", Row::byte},
    {"89 /r"},
    {"8a /r", "", Row::byte},
    {"8b /r"},
    {"c6 /0 ib", "", Row::byte},
    {"c7 /0 iz"},
    {"b0 +r ib", "", Row::byte},
    {"b8 +r iv"},
    {"8d /r", "", Row::memory},
    {"0f b6 /r"},
    {"0f b7 /r"},
    {"0f be /r"},
    {"0f bf /r"},
    {"63 /r", "", Row::long_only},
    {"0f c8 +r", "", Row::wide},
    {"86 /r", "", Row::byte | Row::lockable},
    {"87 /r", "", Row::lockable},
    {"90 +r"},
    {"98"},
    {"99"},
    {"d7", "", Row::string},
    {"a0 10 00 01 10 00 00 00 00", "", Row::long_only | Row::byte},
    {"a1 11 00 01 10 00 00 00 00", "", Row::long_only},
    {"a2 12 00 01 10 00 00 00 00", "", Row::long_only | Row::byte},
    {"a3 13 00 01 10 00 00 00 00", "", Row::long_only},
    {"a1 11 00 01 10", "", Row::legacy},
    {"a2 12 00 01 10", "", Row::legacy | Row::byte},
    // unary, multiplication, division
    {"fe /0", "", Row::byte | Row::lockable},
    {"fe /1", "", Row::byte | Row::lockable},
    {"ff /0", "", Row::lockable},
    {"ff /1", "", Row::lockable},
    {"f6 /2", "", Row::byte | Row::lockable},
    {"f7 /2", "", Row::lockable},
    {"f6 /3", "", Row::byte | Row::lockable},
    {"f7 /3", "", Row::lockable},
    {"f6 /0 ib", "a", Row::byte},
    {"f7 /0 iz", "a"},
    {"84 /r", "a", Row::byte},
    {"85 /r", "a"},
    {"a8 ib", "a", Row::byte},
    {"a9 iz", "a"},
    {"f6 /4", "pazs", Row::byte},
    {"f7 /4", "pazs"},
    {"f6 /5", "pazs", Row::byte},
    {"f7 /5", "pazs"},
    {"f6 /6", "cpazso", Row::byte},
    {"f7 /6", "cpazso"},
    {"f6 /7", "cpazso", Row::byte},
    {"f7 /7", "cpazso"},
    {"0f af /r", "pazs"},
    {"69 /r iz", "pazs"},
    {"6b /r ib", "pazs"},
    // double shifts
    {"0f a4 /r ib", "a", Row::shift | Row::wide},
    {"0f a5 /r", "a", Row::shift | Row::wide},
    {"0f ac /r ib", "a", Row::shift | Row::wide},
    {"0f ad /r", "a", Row::shift | Row::wide},
    // bits
    {"0f a3 /r", "paso", Row::small},
    {"0f ab /r", "paso", Row::small | Row::lockable},
    {"0f b3 /r", "paso", Row::small | Row::lockable},
    {"0f bb /r", "paso", Row::small | Row::lockable},
    {"0f ba /4 ib", "paso"},
    {"0f ba /5 ib", "paso", Row::lockable},
    {"0f ba /6 ib", "paso", Row::lockable},
    {"0f ba /7 ib", "paso", Row::lockable},
    {"0f bc /r", "cpaso", Row::scan},
    {"0f bd /r", "cpaso", Row::scan},
    {"f3 0f b8 /r", "", Row::no_66},
    {"f2 0f 38 f0 /r", "", Row::byte},
    {"f2 0f 38 f1 /r", "", Row::no_66},
    // stack; 32-bit code pushes 32 bits, 64-bit code 64
    {"50 +r", "", Row::byte},
    {"58 +r", "", Row::byte},
    {"68 iz", "", Row::byte},
    {"6a ib", "", Row::byte},
    {"66 50 +r", "", Row::byte},
    {"66 58 +r", "", Row::byte},
    {"ff /6", "", Row::byte},
    {"8f /0", "", Row::byte},
    {"c8 20 00 00", "", Row::byte},
    {"c8 10 00 03", "", Row::byte},
    {"c8 00 00 01", "", Row::byte},
    {"c9", "", Row::byte},
    {"60", "", Row::legacy},
    {"61", "", Row::legacy},
    // flags, decimal
    {"f8", "", Row::byte},
    {"f9", "", Row::byte},
    {"f5", "", Row::byte},
    {"fc", "", Row::byte},
    {"fd", "", Row::byte},
    {"9e", "", Row::byte},
    {"9f", "", Row::byte},
    {"27", "o", Row::legacy | Row::byte},
    {"2f", "o", Row::legacy | Row::byte},
    {"37", "pzso", Row::legacy | Row::byte},
    {"3f", "pzso", Row::legacy | Row::byte},
    {"d4 ib", "cao", Row::legacy | Row::byte},
    {"d5 ib", "cao", Row::legacy | Row::byte},
    {"d4 0a", "cao", Row::legacy | Row::byte},
    {"d6", "", Row::legacy | Row::byte},
    {"40 +r", "", Row::legacy},
    {"48 +r", "", Row::legacy},
    // atomic
    {"0f c0 /r", "", Row::byte | Row::lockable},
    {"0f c1 /r", "", Row::lockable},
    {"0f b0 /r", "", Row::byte | Row::lockable},
    {"0f b1 /r", "", Row::lockable},
    {"0f c7 /1", "", Row::byte | Row::memory | Row::lockable},
    {"48 0f c7 /1", "", Row::byte | Row::memory | Row::lockable | Row::long_only},
    // hints
    {"0f 1f /0"},
    {"f3 90", "", Row::byte | (x86::host_is_intel() ? Row::no_rex_b : Row::plain)},
    {"0f 18 /1", "", Row::byte | Row::memory},
    {"0f ae /7", "", Row::byte | Row::memory},
    {"f3 0f 1e fa", "", Row::byte},
    // control flow; what follows tells whether it was taken
    {"e2 02 b0 01 b3 02", "", Row::byte},
    {"e1 02 b0 01 b3 02", "", Row::byte},
    {"e0 02 b0 01 b3 02", "", Row::byte},
    {"e3 02 b0 01 b3 02", "", Row::byte},
    {"67 e3 02 b0 01 b3 02", "", Row::byte | Row::bare},
    {"67 e2 02 b0 01 b3 02", "", Row::byte | Row::bare},
    {"eb 02 b0 01 b3 02", "", Row::byte},
    {"e9 02 00 00 00 b0 01 b3 02", "", Row::byte},
    {"e8 02 00 00 00 b0 01 58", "", Row::byte},                                        // call over MOV; pop rax
    {"eb 01 c3 e8 fa ff ff ff b0 01", "", Row::byte},                                  // a function that returns
    {"eb 03 c2 10 00 e8 f8 ff ff ff b0 01", "", Row::byte},                            // … and drops its arguments
    {"e8 00 00 00 00 58 83 c0 08 ff e0 b0 01 b3 02", "", Row::legacy | Row::byte},     // pop eax; add eax, 8; jmp eax
    {"48 8d 05 04 00 00 00 ff e0 b0 01 b3 02", "", Row::long_only | Row::byte},        // lea rax, [rip + 4]; jmp rax
    {"48 8d 05 04 00 00 00 ff d0 b0 01 5b 5a", "", Row::long_only | Row::byte},        // … call rax
    {"48 8d 05 04 00 00 00 50 ff 24 24 b0 01 5b", "", Row::long_only | Row::byte},     // … push rax; jmp [rsp]
    {"48 8d 05 04 00 00 00 50 ff 14 24 b0 01 5b 5a", "", Row::long_only | Row::byte},  // … push rax; call [rsp]
    {"48 b8 00 00 00 00 00 00 80 00 50 c3", "",
     Row::long_only | Row::byte | Row::faults},  // ret to where no code can be
    {"48 b8 00 00 00 00 00 00 80 00 ff d0", "", Row::long_only | Row::byte | Row::faults},  // call it
    // code that changes itself
    {"c6 05 01 00 00 00 42 b0 11", "", Row::long_only | Row::byte},
    {"b9 01 00 00 00 48 8d 3d 03 00 00 00 f3 aa b0 11", "", Row::long_only | Row::byte | Row::bare},
    // strings
    {"a4", "", Row::byte | Row::string},
    {"a5", "", Row::string},
    {"aa", "", Row::byte | Row::string},
    {"ab", "", Row::string},
    {"ac", "", Row::byte | Row::string},
    {"ad", "", Row::string},
    {"ae", "", Row::byte | Row::string},
    {"af", "", Row::string},
    {"a6", "", Row::byte | Row::string},
    {"a7", "", Row::string},
};

class IntegerRows : public ::testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    native_ = NativeCpu::instance();
    if (!native_) GTEST_SKIP() << "this host does not let tests map the addresses they need";
    if (GetParam() && !NativeCpu::has_compatibility_mode()) GTEST_SKIP() << "this host runs no 32-bit code";
    native_->set_present(hole_at, false);
    guest_.set_present(hole_at, false);
  }

  std::string difference(const Case& tested);
  void follow_intel(const Case& tested, x86::X86State& ours);
  // The same bytes on both sides; half of the time with what compare-and-exchange expects in the middle of it.
  void fill(CaseGenerator& generator) {
    data_.resize(data_bytes);
    for (u64 i = 0; i < data_bytes; i += 8) {
      const u64 word = generator.value();
      std::memcpy(data_.data() + i, &word, 8);
    }
    std::memcpy(native_->memory(data_at), data_.data(), data_bytes);
    guest_.write(data_at, data_);
  }

  std::unique_ptr<Engine> engine_ = make_interpreter();
  FlatGuest guest_{*engine_};
  NativeCpu* native_ = nullptr;
  std::vector<u8> data_;
  int executed_ = 0;  // cases that did not fault
};

std::string describe(const Case& tested) {
  std::string text;
  for (u8 byte : tested.code) text += "0123456789abcdef"[byte >> 4], text += "0123456789abcdef"[byte & 15], text += ' ';
  return text;
}

bool is_repeated_comparison(const std::vector<u8>& code) {
  const auto has = [&code](u8 byte) { return std::ranges::find(code, byte) != code.end(); };
  const u8 opcode = code.back() & 0xf6;  // CMPS: A6, A7; SCAS: AE, AF
  return opcode == 0xa6 && code.size() <= 5 && (has(0xf2) || has(0xf3));
}

// Where Intel's processors do otherwise than AMD's, whom the engine follows, when an instruction faults.
void IntegerRows::follow_intel(const Case& tested, x86::X86State& ours) {
  // A repeated CMPS or SCAS has the flags of before the instruction (SDM vol. 1 §7.3.9.2); AMD's has those of the last comparison.
  if (is_repeated_comparison(tested.code))
    ours.rflags = (ours.rflags & ~x86::rflags::status) | (tested.registers.rflags & x86::rflags::status);
  // CALL stores the return address before it looks at the target.
  const u64 slot = tested.registers.gpr[x86::rsp] - 8, expected = code_at + tested.code.size();
  if (slot - data_at > data_bytes - 8 || std::memcmp(native_->memory(slot), &expected, 8) != 0) return;
  guest_.write(slot, {native_->memory(slot), 8});
}

// What differs; empty: nothing.
std::string IntegerRows::difference(const Case& tested) {
  const bool legacy = GetParam();
  x86::X86State state = FlatGuest::initial_state(legacy);
  state.segments[x86::ss].attributes |= 3 << 5;  // CPL 3, as on the host
  state.segments[x86::cs].attributes |= 3 << 5;
  for (unsigned i = 0; i < 16; ++i) state.gpr[i] = tested.registers.gpr[i];
  state.rflags = tested.registers.rflags;
  state.rip = code_at;
  std::vector<u8> code = tested.code;
  code.insert(code.end(), {0xeb, 0xfe});  // and there it stays
  guest_.write(code_at, code);
  FlatGuest::Outcome ours = guest_.run(state, 100);
  const NativeCpu::Registers theirs = native_->run(tested.registers, code_at, tested.code, legacy);

  if (theirs.signal && x86::host_is_intel()) follow_intel(tested, ours.state);
  executed_ += theirs.signal == 0;
  std::string text;
  const auto compare = [&text](std::string_view what, u64 our, u64 their, u64 before) {
    if (our != their) text += fmt::format("\n  {}: {:#x}, host {:#x}, was {:#x}", what, our, their, before);
  };
  const auto vector = static_cast<u64>(ours.exception.value_or(0xff));
  const u64 expected_vector = theirs.signal == 0        ? 0xff
                              : theirs.signal == SIGFPE ? 0
                              : theirs.signal == SIGILL ? 6
                                                        : vector;
  compare("exception", vector, vector == 0xff ? (theirs.signal ? 0 : 0xff) : expected_vector,
          static_cast<u64>(theirs.signal));
  compare("rip", ours.state.rip, theirs.rip, code_at);
  const u64 low = legacy ? 0xffff'ffff : ~u64{0};
  static constexpr const char* names[] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                          "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};
  for (unsigned i = 0; i < (legacy ? 8u : 16u); ++i)
    compare(names[i], ours.state.gpr[i] & low, theirs.gpr[i] & low, tested.registers.gpr[i]);
  const u64 flags = (x86::rflags::status | x86::rflags::df) & ~tested.undefined;
  compare("rflags", ours.state.rflags & flags, theirs.rflags & flags, tested.registers.rflags & flags);
  const u8 *our_data = guest_.memory(data_at), *their_data = native_->memory(data_at);
  for (u64 i = 0; i < data_bytes && text.size() < 1000; ++i)
    if (our_data[i] != their_data[i])
      compare(fmt::format("[{:#x}]", data_at + i), our_data[i], their_data[i], data_[i]);
  if (!text.empty()) text = describe(tested) + (legacy ? "in 32-bit code" : "") + text;
  return text;
}

TEST_P(IntegerRows, MatchTheHost) {
  CaseGenerator generator(GetParam() ? 2 : 1, GetParam());
  std::vector<Row> rows = arithmetic_rows();
  rows.insert(rows.end(), other_rows.begin(), other_rows.end());
  for (const Row& row : rows) {
    if (row.kind & (GetParam() ? Row::long_only : Row::legacy)) continue;
    executed_ = 0;
    std::string found;
    for (int i = 0; i < trials && found.empty(); ++i) {
      if (i % 10 == 0) fill(generator);
      Case tested = generator.start();
      generator.append(tested, row);
      found = difference(tested);
    }
    EXPECT_EQ(found, "") << row.encoding;
    EXPECT_EQ(executed_ > trials / 32, !(row.kind & Row::faults)) << row.encoding;
  }
}

// Flags that one instruction leaves and another takes: the lazy forms must meet, not only what they are packed into.
TEST_P(IntegerRows, SequencesMatchTheHost) {
  CaseGenerator generator(GetParam() ? 4 : 3, GetParam());
  std::vector<Row> rows = arithmetic_rows();
  rows.insert(rows.end(), other_rows.begin(), other_rows.end());
  std::erase_if(rows, [](const Row& row) {
    constexpr unsigned unfit = Row::shift | Row::memory | Row::small | Row::scan | Row::string | Row::long_only |
                               Row::legacy | Row::faults;
    const bool stack = row.encoding[0] == '5' || row.encoding.starts_with("66 5") || row.encoding.starts_with("6") ||
                       row.encoding.starts_with("c") || row.encoding.starts_with("8f") ||
                       row.encoding.starts_with("e") || row.encoding == "ff /6";
    return (row.kind & unfit) || !row.undefined.empty() || stack;
  });
  for (Row& row : rows) row.kind |= Row::registers;
  fill(generator);
  for (int i = 0; i < 20 * trials; ++i) {
    Case tested = generator.start();
    for (int length = 0; length < 8; ++length) generator.append(tested, rows[generator.number(rows.size())]);
    const std::string found = difference(tested);
    ASSERT_EQ(found, "");
  }
}

INSTANTIATE_TEST_SUITE_P(Modes, IntegerRows, ::testing::Bool(),
                         [](const auto& mode) { return mode.param ? "Compatibility" : "Long"; });

}  // namespace
}  // namespace doppel
