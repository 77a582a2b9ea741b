// Every encoding that the decoder knows, found by trying them all: opcode maps, mandatory prefixes, REX.W, VEX.L and VEX.W, and ModRM.reg and .rm
// where they choose the instruction; grouped by mnemonic.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "isa/x86/decoder.h"

namespace doppel::oracle {

struct Template {
  u8 prefix;  // 0, 66, F2, F3
  bool wide;  // REX.W (64-bit mode)
  u8 map;     // 0: one byte, 1: 0F, 2: 0F38, 3: 0F3A
  u8 opcode;
  u8 reg;            // ModRM.reg, if there is a ModRM byte
  u8 rm;             // of a register form
  bool memory;       // ModRM with a memory operand
  bool vex = false;  // VEX: `prefix` and `wide` are its pp and W, and
  bool l = false;
  bool has_vvvv = false;
  bool vsib = false;
};

struct Row {
  x86::Mnemonic mnemonic;
  std::string name;
  std::vector<Template> templates;
};

// By mnemonic, for 64-bit or 32-bit code.
std::vector<Row> find_rows(const x86::Decoder& decoder, x86::CodeMode mode);

// Why a row's result is not comparable with the host's, or "" if it is: privileged behaviour (guest tests check that), values of the
// machine itself, or the host lacks it.
std::string_view not_checked(x86::Mnemonic mnemonic);

}  // namespace doppel::oracle
