// Bytes to Instruction. Zydis decodes; this wraps it, applies the CPU model (an instruction whose extension is not advertised is
// invalid, or what the older encoding means) and compacts the result. Stateless and thread-safe after construction.
#pragma once

#include <Zydis/Decoder.h>

#include <array>
#include <span>
#include <string>

#include "base/types.h"
#include "isa/x86/instruction.h"

namespace doppel::x86 {

enum class DecodeStatus : u8 {
  ok,
  need_more_bytes,  // the bytes end before the instruction does
  invalid,          // #UD
  too_long,         // over 15 bytes: #GP(0)
};

class Decoder {
 public:
  Decoder();

  // At most the first 15 bytes are looked at. On `ok`, `instruction` is whole.
  DecodeStatus decode(CodeMode mode, std::span<const u8> bytes, Instruction& instruction) const;

 private:
  std::array<ZydisDecoder, 6> decoders_;
};

// Intel syntax, for traces and error reports. `rip` is the instruction's own address; invalid bytes give "(bad)".
std::string disassemble(CodeMode mode, u64 rip, std::span<const u8> bytes);

}  // namespace doppel::x86
