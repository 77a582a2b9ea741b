// FXSAVE, XSAVE and their inverses against the host's processor, on random states and areas.
#include <fmt/core.h>
#include <gtest/gtest.h>

#include <random>
#include <string>

#include "engine/interpreter/x87/testing/host_unit.h"

namespace doppel::interpreter {
namespace {

using testing::GuestUnit;
using testing::HostUnit;
using testing::State;

struct Encoding {
  const char* name;
  std::vector<u8> bytes;
};

const u64 components = testing::host_xcr0();

class SaveAreas : public ::testing::Test {
 protected:
  u64 bits() { return random_(); }
  bool one_in(u64 n) { return random_() % n == 0; }

  State draw() {
    State state;
    state.mxcsr = one_in(2) ? 0x1f80 : static_cast<u32>(bits() & 0xffff);
    state.fpu.control = static_cast<u16>((bits() & 0xf00) | 0x7f);
    state.fpu.status = static_cast<u16>(bits() & 0x7f7f);
    state.fpu.valid = static_cast<u8>(bits());
    for (auto& value : state.fpu.registers) value = {bits(), static_cast<u16>(bits())};
    if (one_in(3)) state.fpu = {};
    if (!one_in(3))
      for (auto& vector : state.vectors) vector.words = {bits(), bits(), 0, 0};
    if (components == 7 && !one_in(3))
      for (auto& vector : state.vectors) vector.words[2] = bits(), vector.words[3] = bits();
    state.rax = bits() & 7;
    for (unsigned i = 0; i < testing::memory_bytes; i += 8) put<u64>(state.memory.data() + i, bits());
    return state;
  }
  template <class S>
  static auto& area(S& state) {
    return *reinterpret_cast<std::conditional_t<std::is_const_v<S>, const SaveArea, SaveArea>*>(state.memory.data());
  }

  // What this host reports only while an error is pending, and its own MXCSR_MASK.
  static void forget_pointers(State& state) {
    SaveArea& image = area(state);
    image.opcode = 0;
    image.instruction_pointer = image.data_pointer = 0;
    if (image.mxcsr_mask != 0) image.mxcsr_mask &= mxcsr_writable;
  }

  // What differs, with the values; empty if nothing does.
  static std::string difference(const State& host, const State& guest) {
    for (unsigned i = 0; i < testing::memory_bytes; ++i)
      if (host.memory[i] != guest.memory[i])
        return fmt::format("byte {} of the area: {:02x} on the host, {:02x} here", i, host.memory[i], guest.memory[i]);
    if (host.fpu.control != guest.fpu.control)
      return fmt::format("FCW: {:x}, {:x}", host.fpu.control, guest.fpu.control);
    if (host.fpu.status != guest.fpu.status) return fmt::format("FSW: {:x}, {:x}", host.fpu.status, guest.fpu.status);
    if (host.fpu.valid != guest.fpu.valid) return fmt::format("FTW: {:x}, {:x}", host.fpu.valid, guest.fpu.valid);
    if (host.mxcsr != guest.mxcsr) return fmt::format("MXCSR: {:x}, {:x}", host.mxcsr, guest.mxcsr);
    for (unsigned i = 0; i < 8; ++i) {
      const x86::Float80 &there = host.fpu.registers[i], &here = guest.fpu.registers[i];
      if (there.significand != here.significand || there.sign_exponent != here.sign_exponent)
        return fmt::format("R{}: {:x}:{:x}, {:x}:{:x}", i, there.sign_exponent, there.significand, here.sign_exponent,
                           here.significand);
    }
    for (unsigned i = 0; i < 16; ++i)
      if (host.vectors[i].words != guest.vectors[i].words) return fmt::format("vector register {}", i);
    return {};
  }

  // A host interrupted between the load of the state and the instruction comes back with other bits in XINUSE: a component in its
  // initial state may count as in use (SDM vol. 1 §13.6). What differs for that reason does not differ each time.
  void check(const Encoding& encoding, const State& before) {
    State guest = guest_.run(before, encoding.bytes);
    ASSERT_FALSE(guest.fault) << encoding.name << ": fault " << int{*guest.fault};
    forget_pointers(guest);
    std::string different;
    for (unsigned i = 0; i < most_runs; ++i) {
      State host = host_.run(before, encoding.bytes);
      forget_pointers(host);
      different = difference(host, guest);
      if (different.empty()) return;
    }
    FAIL() << encoding.name << fmt::format(" with RAX {:x}, MXCSR {:x}: ", before.rax, before.mxcsr) << different;
  }

  static constexpr unsigned most_runs = 8;

  std::mt19937_64 random_{1};
  HostUnit host_;
  GuestUnit guest_;
};

constexpr unsigned cases = 300;

TEST_F(SaveAreas, SaveAsTheHost) {
  const Encoding encodings[] = {{"fxsave", {0x0f, 0xae, 0x03}},   {"fxsave64", {0x48, 0x0f, 0xae, 0x03}},
                                {"xsave", {0x0f, 0xae, 0x23}},    {"xsave64", {0x48, 0x0f, 0xae, 0x23}},
                                {"xsavec", {0x0f, 0xc7, 0x23}},   {"xsavec64", {0x48, 0x0f, 0xc7, 0x23}},
                                {"xsaveopt", {0x0f, 0xae, 0x33}}, {"xsaveopt64", {0x48, 0x0f, 0xae, 0x33}}};
  for (const Encoding& encoding : encodings)
    for (unsigned i = 0; i < cases; ++i) check(encoding, draw());
}

TEST_F(SaveAreas, RestoreAsTheHost) {
  const Encoding encodings[] = {{"fxrstor", {0x0f, 0xae, 0x0b}},
                                {"fxrstor64", {0x48, 0x0f, 0xae, 0x0b}},
                                {"xrstor", {0x0f, 0xae, 0x2b}},
                                {"xrstor64", {0x48, 0x0f, 0xae, 0x2b}}};
  for (const Encoding& encoding : encodings)
    for (unsigned i = 0; i < cases; ++i) {
      State state = draw();
      SaveArea& image = area(state);
      image.mxcsr &= mxcsr_writable;
      const bool compact = one_in(2);
      image.xcomp_bv = compact ? u64{1} << 63 | components : 0;
      image.xstate_bv &= components;
      for (u64& word : image.header_reserved) word = 0;
      check(encoding, state);
    }
}

}  // namespace
}  // namespace doppel::interpreter
