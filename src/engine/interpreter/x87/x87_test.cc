// Every x87 encoding against the host's own processor: the same instruction on the same random state and memory, all of the outcome
// compared. Random states favour the edges: special values, empty registers, every rounding, precision and mask.
#include <fmt/core.h>
#include <gtest/gtest.h>

#include <random>

#include "engine/interpreter/fpu_environment.h"
#include "engine/interpreter/x87/testing/host_unit.h"

namespace doppel::interpreter {
namespace {

using testing::GuestUnit;
using testing::HostUnit;
using testing::State;
using x86::Float80;

class Draw {
 public:
  explicit Draw(u64 seed) : generator_(seed) {}
  u64 bits() { return generator_(); }
  u64 below(u64 limit) { return generator_() % limit; }
  bool one_in(u64 n) { return below(n) == 0; }
  template <class T, std::size_t size>
  T of(const T (&list)[size]) {
    return list[below(size)];
  }

  Float80 real80() {
    const u16 sign = bits() & 0x8000;
    if (one_in(12)) return {one_in(2) ? u64{1} << 63 : u64{3} << 62, static_cast<u16>(sign | 0x7fff)};
    if (one_in(12)) return {0, sign};
    return {significand(), static_cast<u16>(sign | exponent())};
  }

  State state() {
    State state;
    constexpr u16 precisions[] = {0x000, 0x200, 0x300, 0x300};
    const u64 masks = one_in(2) ? 0x3f : one_in(2) ? bits() & 0x3f : ~(u64{1} << below(6)) & 0x3f;
    state.fpu.control = static_cast<u16>(0x40 | of(precisions) | (bits() & 0xc00) | masks);
    if (one_in(3)) state.fpu.control = 0x37f;
    const u64 flags = one_in(2) ? 0 : bits() & 0x7f;
    state.fpu.status = static_cast<u16>((bits() & 0x7f00) | (flags & (state.fpu.control & 0x3f)) | (flags & 0x40));
    state.fpu.valid = one_in(3) ? static_cast<u8>(bits()) : 0xff;
    if (one_in(2)) mark_empty(state.fpu, 7);  // room to push
    for (Float80& value : state.fpu.registers) value = real80();
    if (one_in(4)) st(state.fpu, 1) = st(state.fpu, 0);
    state.rax = bits();
    state.flags = bits() & x86::rflags::status;
    fill(state.memory.data());
    return state;
  }

 private:
  u64 significand() {
    constexpr u64 list[] = {0,
                            1,
                            u64{1} << 63,
                            u64{1} << 62,
                            ~u64{0},
                            ~u64{0} >> 1,
                            u64{3} << 62,
                            0xc000'0000'0000'0001,
                            0x8000'0000'0000'0001,
                            0xffff'ff7f'ffff'ffff,
                            0xffff'ff80'0000'0000,
                            0xffff'ffff'ffff'fc00,
                            0xffff'ffff'ffff'fbff,
                            0x8000'0080'0000'0000,
                            0x8000'0000'0000'0400,
                            0xc90f'daa2'2168'c235};
    switch (below(4)) {
      case 0: return of(list);
      case 1: return bits() | u64{1} << 63;
      case 2: return (bits() | u64{1} << 63) & ~u64{0} << below(64);
      default: return one_in(4) ? bits() : u64{1} << below(64) | u64{1} << 63;
    }
  }
  u16 exponent() {
    constexpr u16 list[] = {0,      1,      2,      63,     64,     0x3bcd, 0x3c00, 0x3c01, 0x3f69, 0x3f80,
                            0x3f81, 0x3fbe, 0x3ffd, 0x3ffe, 0x3fff, 0x4000, 0x400e, 0x400f, 0x401e, 0x403d,
                            0x403e, 0x403f, 0x407e, 0x407f, 0x43fe, 0x43ff, 0x7ffd, 0x7ffe, 0x7fff};
    switch (below(3)) {
      case 0: return of(list);
      case 1: return static_cast<u16>(0x3fff - 70 + below(140));
      default: return bits() & 0x7fff;
    }
  }
  u64 real(unsigned exponent_bits, unsigned fraction_bits) {
    const u64 largest = low_bits(exponent_bits), half = largest >> 1;
    const u64 exponents[] = {
        0, 1, half - 1, half, half + 1, largest - 1, largest, below(largest), half + below(64) - 32};
    const u64 fractions[] = {0, 1, u64{1} << (fraction_bits - 1), low_bits(fraction_bits),
                             bits() & low_bits(fraction_bits)};
    return u64{one_in(2)} << (exponent_bits + fraction_bits) | of(exponents) << fraction_bits | of(fractions);
  }
  void fill(u8* memory) {
    for (unsigned i = 0; i < testing::memory_bytes; i += 8) put<u64>(memory + i, bits());
    switch (below(6)) {
      case 0: return put<u32>(memory, static_cast<u32>(real(8, 23)));
      case 1: return put<u64>(memory, real(11, 52));
      case 2: return put<u64>(memory, static_cast<u64>(static_cast<i64>(bits()) >> below(64)));
      case 3: return put<u16>(memory + 8, exponent());
      case 4:  // decimal digits
        for (unsigned i = 0; i < 9; ++i) memory[i] = static_cast<u8>(below(10) << 4 | below(10));
        return;
      default: return;
    }
  }

  std::mt19937_64 generator_;
};

std::string describe(const State& state) {
  std::string text = fmt::format("fcw {:04x} fsw {:04x} tags {:02x} fop {:03x} rax {:x} flags {:x} memory",
                                 state.fpu.control, state.fpu.status, state.fpu.valid, state.fpu.opcode, state.rax,
                                 state.flags);
  for (unsigned i = 0; i < 28; ++i) text += fmt::format(" {:02x}", state.memory[i]);
  for (unsigned i = 0; i < 8; ++i) {
    const Float80& value = state.fpu.registers[(top(state.fpu) + i) & 7];
    text += fmt::format("\n  st{} {:04x}:{:016x}", i, value.sign_exponent, value.significand);
  }
  return text;
}

bool same(const State& host, const State& guest) {
  if (guest.fault) return false;
  for (unsigned i = 0; i < 8; ++i)
    if (host.fpu.registers[i].significand != guest.fpu.registers[i].significand ||
        host.fpu.registers[i].sign_exponent != guest.fpu.registers[i].sign_exponent)
      return false;
  // This host reports pointers and opcode only while an error is pending.
  if ((host.fpu.status & fsw::es) && host.fpu.opcode && host.fpu.opcode != guest.fpu.opcode) return false;
  return host.fpu.control == guest.fpu.control && host.fpu.status == guest.fpu.status &&
         host.fpu.valid == guest.fpu.valid && host.rax == guest.rax && host.flags == guest.flags &&
         host.memory == guest.memory;
}

class Differential {
 public:
  // `ignored`: bytes of the memory operand that hold exception pointers.
  void check(std::span<const u8> instruction, unsigned cases, unsigned ignored_from = 0, unsigned ignored_to = 0) {
    for (unsigned i = 0; i < cases; ++i) {
      const State before = draw_.state();
      State host = host_.run(before, instruction), guest = guest_.run(before, instruction);
      for (unsigned at = ignored_from; at < ignored_to; ++at) host.memory[at] = guest.memory[at] = 0;
      if (same(host, guest)) continue;
      ADD_FAILURE() << x86::disassemble(x86::CodeMode::long64, 0, instruction)
                    << fmt::format(" {:02x} {:02x}", instruction[0], instruction[1]) << "\nbefore " << describe(before)
                    << "\nhost   " << describe(host) << "\nguest  " << describe(guest);
      return;
    }
  }
  bool decodes(std::span<const u8> bytes) const { return guest_.decodes(bytes); }

 private:
  Draw draw_{1};
  HostUnit host_;
  GuestUnit guest_;
};

constexpr unsigned cases_per_encoding = 500;

TEST(X87, EveryEncodingIsAsOnTheHost) {
  Differential differential;
  for (unsigned opcode = 0xd8; opcode <= 0xdf; ++opcode)
    for (unsigned modrm = 0; modrm < 0x100; ++modrm) {
      const bool memory = modrm < 0xc0;
      if (memory && (modrm & 0xc7) != 3) continue;  // [RBX] stands for all memory operands
      const u8 bytes[] = {static_cast<u8>(opcode), static_cast<u8>(modrm)};
      if (!differential.decodes(bytes)) continue;
      const unsigned extension = modrm >> 3 & 7;
      const bool stores_pointers = memory && extension == 6 && (opcode == 0xd9 || opcode == 0xdd);
      differential.check(bytes, cases_per_encoding, 12, stores_pointers ? 26 : 12);
    }
}

}  // namespace
}  // namespace doppel::interpreter
