// What surrounds x87 instructions: when they fault and with which vector, that a fault changes nothing, and the four formats of the
// environment with the pointers that are recorded in it.
#include <fmt/core.h>
#include <gtest/gtest.h>

#include "engine/interpreter/x87/testing/host_unit.h"

namespace doppel::interpreter {
namespace {

using testing::GuestUnit;
using testing::State;
using x86::X86State;
namespace cr0 = x86::cr0;
namespace cr4 = x86::cr4;

std::vector<u8> parse(std::string_view hex) {
  std::vector<u8> bytes;
  for (std::size_t i = 0; i + 1 < hex.size(); i += 3)
    bytes.push_back(static_cast<u8>(std::stoi(std::string(hex.substr(i, 2)), nullptr, 16)));
  return bytes;
}

constexpr int no = -1;
constexpr u16 pending = fsw::ie | fsw::es | fsw::busy;

struct FaultCase {
  const char* code;
  int plain, em, ts, ts_mp, error, error_ignored;  // vector or no
};

// `error`: an unmasked exception is pending with CR0.NE = 1, `error_ignored` with NE = 0.
constexpr FaultCase fault_cases[] = {
    {"d8 c1", no, 7, 7, 7, 16, no},         // fadd
    {"d9 03", no, 7, 7, 7, 16, no},         // fld
    {"d9 d0", no, 7, 7, 7, 16, no},         // fnop
    {"d9 2b", no, 7, 7, 7, 16, no},         // fldcw
    {"dd 23", no, 7, 7, 7, 16, no},         // frstor
    {"d9 23", no, 7, 7, 7, 16, no},         // fldenv
    {"9b", no, no, no, 7, 16, no},          // fwait
    {"db e3", no, 7, 7, 7, no, no},         // fninit
    {"db e2", no, 7, 7, 7, no, no},         // fnclex
    {"df e0", no, 7, 7, 7, no, no},         // fnstsw ax
    {"dd 3b", no, 7, 7, 7, no, no},         // fnstsw
    {"d9 3b", no, 7, 7, 7, no, no},         // fnstcw
    {"d9 33", no, 7, 7, 7, no, no},         // fnstenv
    {"dd 33", no, 7, 7, 7, no, no},         // fnsave
    {"0f ae 03", no, 7, 7, 7, no, no},      // fxsave
    {"0f ae 0b", no, 7, 7, 7, no, no},      // fxrstor
    {"0f ae 23", no, no, 7, 7, no, no},     // xsave
    {"0f c7 23", no, no, 7, 7, no, no},     // xsavec
    {"0f ae 2b", no, no, 7, 7, no, no},     // xrstor
    {"0f ae 43 08", 13, 7, 7, 7, 13, 13},   // fxsave, not aligned
    {"0f ae 63 20", 13, 13, 7, 7, 13, 13},  // xsave, not aligned
    {"0f ae 6b 20", 13, 13, 7, 7, 13, 13},  // xrstor, not aligned
};

int vector_of(const State& state) { return state.fault ? *state.fault : no; }

int run_with(const char* code, u64 cr0_bits, u16 status) {
  GuestUnit guest;
  guest.change([&](X86State& s) { s.cr0 = cr0::pe | cr0::et | cr0_bits; });
  State state;
  state.fpu.control = status ? 0x37e : 0x37f;
  state.fpu.status = status;
  return vector_of(guest.run(state, parse(code)));
}

TEST(X87Frames, Faults) {
  for (const FaultCase& c : fault_cases) {
    EXPECT_EQ(run_with(c.code, cr0::ne, 0), c.plain) << c.code;
    EXPECT_EQ(run_with(c.code, cr0::ne | cr0::em, 0), c.em) << c.code;
    EXPECT_EQ(run_with(c.code, cr0::ne | cr0::ts, 0), c.ts) << c.code;
    EXPECT_EQ(run_with(c.code, cr0::ne | cr0::ts | cr0::mp, 0), c.ts_mp) << c.code;
    EXPECT_EQ(run_with(c.code, cr0::ne, pending), c.error) << c.code;
    EXPECT_EQ(run_with(c.code, 0, pending), c.error_ignored) << c.code;
  }
}

struct RestoreCase {
  const char* what;
  const char* code;
  u64 xstate_bv, xcomp_bv, reserved0, reserved1;
  u32 mxcsr;
  int vector;
};
constexpr u64 compacted = u64{1} << 63;
constexpr RestoreCase restore_cases[] = {
    {"plain", "0f ae 2b", 3, 0, 0, 0, 0x1f80, no},
    {"component that XCR0 lacks", "0f ae 2b", 8, 0, 0, 0, 0x1f80, 13},
    {"XCOMP_BV without bit 63", "0f ae 2b", 3, 1, 0, 0, 0x1f80, 13},
    {"reserved bytes 16-23, standard", "0f ae 2b", 3, 0, 1, 0, 0x1f80, 13},
    {"reserved bytes 24-31, standard", "0f ae 2b", 3, 0, 0, 1, 0x1f80, no},
    {"reserved MXCSR bit", "0f ae 2b", 3, 0, 0, 0, 0x11f80, 13},
    {"reserved MXCSR bit, SSE initial", "0f ae 2b", 1, 0, 0, 0, 0x11f80, 13},
    {"compacted", "0f ae 2b", 3, compacted | 3, 0, 0, 0x1f80, no},
    {"compacted, component that XCR0 lacks", "0f ae 2b", 3, compacted | 11, 0, 0, 0x1f80, 13},
    {"compacted, component that is not in the area", "0f ae 2b", 3, compacted | 1, 0, 0, 0x1f80, 13},
    {"compacted, reserved bytes 24-31", "0f ae 2b", 3, compacted | 3, 0, 1, 0x1f80, 13},
    {"compacted, reserved MXCSR bit, SSE initial", "0f ae 2b", 1, compacted | 3, 0, 0, 0x11f80, no},
    {"FXRSTOR", "0f ae 0b", 0, 0, 0, 0, 0x1f80, no},
    {"FXRSTOR, reserved MXCSR bit", "0f ae 0b", 0, 0, 0, 0, 0x11f80, 13},
};

TEST(X87Frames, RestoreChecks) {
  for (const RestoreCase& c : restore_cases) {
    GuestUnit guest;
    State state;
    auto& area = *reinterpret_cast<SaveArea*>(state.memory.data());
    area.control = 0x27f;
    area.mxcsr = c.mxcsr;
    area.xstate_bv = c.xstate_bv;
    area.xcomp_bv = c.xcomp_bv;
    area.header_reserved[0] = c.reserved0;
    area.header_reserved[1] = c.reserved1;
    state.rax = 3;
    const State after = guest.run(state, parse(c.code));
    EXPECT_EQ(vector_of(after), c.vector) << c.what;
    EXPECT_EQ(after.fpu.control, c.vector == no ? 0x27f : 0x37f) << c.what;
  }
}

TEST(X87Frames, XsaveNeedsItsEnable) {
  GuestUnit guest;
  guest.change([](X86State& s) { s.cr4 &= ~cr4::osxsave; });
  for (const char* code : {"0f ae 23", "0f ae 33", "0f c7 23", "0f ae 2b"})
    EXPECT_EQ(vector_of(guest.run({}, parse(code))), 6) << code;
}

TEST(X87Frames, FxsaveWithoutOsfxsrLeavesSseOut) {
  GuestUnit guest;
  guest.change([](X86State& s) { s.cr4 &= ~cr4::osfxsr; });
  State state;
  state.memory.fill(0xaa);
  const State after = guest.run(state, parse("0f ae 03"));
  EXPECT_EQ(after.memory[0], 0x7f);
  EXPECT_EQ(after.memory[24], 0xaa);
  EXPECT_EQ(after.memory[160], 0xaa);
}

// A memory operand outside of the segment: nothing may change, neither flags nor stack.
TEST(X87Frames, FaultsChangeNothing) {
  for (const char* code :
       {"d9 1b", "dd 1b", "db 3b", "db 1b", "df 33", "dd 0b", "d8 03", "de 13", "d9 03", "dd 33", "d9 23"}) {
    GuestUnit guest;
    guest.change([](X86State& s) {
      s.efer = 0;
      s.segments[x86::cs].attributes = 0xc09b;
      s.segments[x86::ds].limit = 0x3fff;
    });
    State state;
    state.fpu.valid = 0x7f;
    for (auto& value : state.fpu.registers) value = {0x8000'0000'0000'0001, 0x3fff};  // inexact wherever it is rounded
    const State after = guest.run(state, parse(code));
    EXPECT_EQ(vector_of(after), 13) << code;
    EXPECT_EQ(after.fpu.status, 0) << code;
    EXPECT_EQ(after.fpu.valid, 0x7f) << code;
    EXPECT_EQ(after.fpu.opcode, 0) << code;
    // What the host remembers of the attempt must not show in the next instruction.
    guest.change([](X86State& s) { s.segments[x86::ds].limit = 0xffff'ffff; });
    State exact = after;
    exact.fault = {};
    EXPECT_EQ(guest.run_on(exact, parse("d8 c0")).fpu.status & fsw::pe, 0) << code;
  }
}

struct FormatCase {
  const char* what;
  bool protected_mode, big;
  const char* code;
  const char* environment;
};
// After FADD of an empty register with invalid operands unmasked at CS:IP = 1234:1000, operand DS:4000, DS = 5678; FOP = DC /0 with
// ModRM 03.
constexpr FormatCase format_cases[] = {
    {"32-bit protected", true, true, "d9 33",
     "7e 03 ff ff c1 b8 ff ff ff ff ff ff 00 10 00 00 34 12 03 04 00 40 00 00 78 56 ff ff"},
    {"16-bit protected", true, false, "d9 33", "7e 03 c1 b8 ff ff 00 10 34 12 00 40 78 56"},
    {"32-bit real", false, false, "66 d9 33",
     "7e 03 ff ff c1 b8 ff ff ff ff ff ff 40 33 ff ff 03 14 00 00 80 a7 ff ff 00 50 00 00"},
    {"16-bit real", false, false, "d9 33", "7e 03 c1 b8 ff ff 40 33 03 14 80 a7 00 50"},
};

TEST(X87Frames, EnvironmentFormats) {
  for (const FormatCase& c : format_cases) {
    GuestUnit guest;
    guest.change([&](X86State& s) {
      s.efer = 0;
      s.cr0 = cr0::et | cr0::ne | (c.protected_mode ? cr0::pe : 0);
      s.segments[x86::cs] = {.limit = 0xffff, .selector = 0x1234, .attributes = static_cast<u16>(c.big ? 0xc09b : 0x9b)};
      s.segments[x86::ds].selector = s.segments[x86::ss].selector = 0x5678;
    });
    State state;
    state.fpu.control = 0x037e;
    state.fpu.status = 0x3800;
    const State added = guest.run(state, parse("dc 03"));
    const State after = guest.run(added, parse(c.code));
    const std::vector<u8> expected = parse(c.environment);
    std::string got;
    for (std::size_t i = 0; i < expected.size(); ++i) got += fmt::format("{:02x} ", after.memory[i]);
    got.pop_back();
    EXPECT_EQ(got, c.environment) << c.what;
    EXPECT_EQ(after.fpu.control & 0x3f, 0x3f) << c.what;

    // Loading it again and storing that gives the same image.
    std::string load = c.code;
    load.replace(load.size() - 2, 2, "23");
    const State loaded = guest.run(after, parse(load));
    State blank = loaded;
    blank.memory.fill(0);
    const State again = guest.run(blank, parse(c.code));
    EXPECT_TRUE(std::equal(expected.begin(), expected.end(), again.memory.begin())) << c.what;
  }
}

}  // namespace
}  // namespace doppel::interpreter
