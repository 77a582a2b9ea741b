// Draws cases: an encoding of a row with random registers, operands and immediates, and a state in which it has something to do (memory operands
// mostly in the data area, divisors that mostly divide, strings of bounded length, every kind of floating-point value).
#pragma once

#include <optional>

#include "case.h"
#include "random.h"
#include "templates.h"

namespace doppel::oracle {

struct Drawn {
  Case c;
  x86::Instruction instruction;
  x86::FlagEffects effects;
};

// nullopt: this draw came out as another instruction; draw again.
// `native_in_64`: 32-bit code must be such that the host can execute it in 64-bit mode (Case::native_in_64).
std::optional<Drawn> draw(const x86::Decoder& decoder, x86::CodeMode mode, const Row& row, Random& random,
                          bool native_in_64);

// The effective and the linear address of its memory operand (not of a gather).
u64 operand_offset(const Drawn& drawn);
u64 operand_address(const Drawn& drawn);

// What fills the data area: words and floating-point patterns.
std::vector<u8> make_pool(u64 seed);

}  // namespace doppel::oracle
