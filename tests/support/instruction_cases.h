// Random cases of an instruction from its encoding, to be run on a FlatGuest and on the NativeCpu.
//
// Encodings are written as the SDM does: hex bytes, /r or /digit, ib iw iz iv, +r. Operand-size, address-size, REX, LOCK and REP
// prefixes are put in front at random as the row's kind allows. Memory operands lie in the data area.
#pragma once

#include <random>
#include <string>
#include <vector>

#include "support/flat_guest.h"
#include "support/native_cpu.h"

namespace doppel::testing {

struct Row {
  std::string encoding;
  std::string undefined = "";  // letters of c p a z s o
  enum Kind : unsigned {
    plain = 0,
    byte = 1,        // no operand-size prefix, no REX.W
    lockable = 2,    // LOCK is allowed with a memory destination
    memory = 4,      // only memory operands
    registers = 8,   // only register operands
    small = 16,      // the register operand of a bit string stays small
    long_only = 32,  // not in 32-bit code
    legacy = 64,     // only in 32-bit code
    wide = 128,      // only 32 and 64 bits
    shift = 512,     // OF is undefined unless the count is 1; the count is the immediate or CL
    string = 1024,   // its registers point to data
    scan = 4096,     // the source is not zero
    no_66 = 8192,
    bare = 16384,    // nothing is put in front
    faults = 32768,  // always
    no_rex_b = 65536,
  };
  unsigned kind = plain;
};

// Where cases run. The page after the data area is not there.
constexpr u64 code_at = FlatGuest::base + 0x1000;
constexpr u64 data_at = FlatGuest::base + 0x10000, data_bytes = 0x4000;
constexpr u64 hole_at = data_at + data_bytes;

// One instruction and the state to run it in.
struct Case {
  std::vector<u8> code;
  NativeCpu::Registers registers;
  u64 undefined = 0;
};

class CaseGenerator {
 public:
  CaseGenerator(u64 seed, bool legacy) : random_(seed), legacy_(legacy) {}

  // Random registers; then instructions. Only the first may have a memory operand, since others would change its registers.
  Case start();
  void append(Case& to, const Row& row);
  u64 number(u64 limit) { return random_() % limit; }
  // Corner values half of the time: they meet each other often.
  u64 value() {
    static constexpr u64 corners[] = {0,
                                      1,
                                      2,
                                      ~u64{0},
                                      0x7f,
                                      0x80,
                                      0xff,
                                      0x7fff,
                                      0x8000,
                                      0x7fff'ffff,
                                      0x8000'0000,
                                      0xffff'ffff,
                                      0x7fff'ffff'ffff'ffff,
                                      0x8000'0000'0000'0000,
                                      0x10,
                                      0x20,
                                      0x40};
    return number(2) ? corners[number(std::size(corners))] : random_() >> number(64);
  }

 private:
  void modrm(Case& to, const Row& row, unsigned reg);
  void immediate(Case& to, unsigned bytes) {
    const u64 bits = number(2) ? value() : random_();
    for (unsigned i = 0; i < bytes; ++i) to.code.push_back(static_cast<u8>(bits >> 8 * i));
  }
  static bool mandatory_prefix(const Row& row);
  void prefixes(Case& to, const Row& row);
  void string_registers(Case& to);

  std::mt19937_64 random_;
  bool legacy_;
  bool memory_form_ = false;
  bool address32_ = false;
  u8 rex_ = 0;
  std::size_t rex_place_ = 0;
  unsigned operand_bytes_ = 4;
};

}  // namespace doppel::testing
