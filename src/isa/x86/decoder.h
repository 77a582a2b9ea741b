// Bytes to Instruction. Zydis decodes; this wraps it, applies the CPU model (an instruction whose extension is not advertised is
// invalid, or what the older encoding means) and compacts the result. Stateless and thread-safe after construction.
#pragma once

#include <Zydis/Decoder.h>

#include <array>
#include <span>
#include <string>

#include "base/types.h"
#include "isa/x86/cpu_model.h"
#include "isa/x86/instruction.h"

namespace doppel::x86 {

enum class DecodeStatus : u8 {
  ok,
  need_more_bytes,  // the bytes end before the instruction does
  invalid,          // #UD
  too_long,         // over 15 bytes: #GP(0)
};

// Status flags as an instruction treats them: RFLAGS bits, and C0–C3 in the x87 status word's places (bits 8, 9, 10, 14).
struct FlagEffects {
  u32 read = 0;
  u32 written = 0;  // defined afterwards (set, cleared or by the result)
  u32 undefined = 0;
  u16 x87_written = 0;
  u16 x87_undefined = 0;
};

struct Encoding;  // encoding.h

class Decoder {
 public:
  explicit Decoder(const CpuModel& model = {});  // by default with every extension there is

  const CpuModel& model() const { return model_; }

  // At most the first 15 bytes are looked at. On `ok`, `instruction` is whole.
  // `effects`, if asked for, gets what the instruction does to the flags.
  DecodeStatus decode(CodeMode mode, std::span<const u8> bytes, Instruction& instruction,
                      FlagEffects* effects = nullptr) const;
  // The layout of bytes that decode() accepted. False: an encoding that Encoding does not describe (3DNow!, XOP).
  bool describe(CodeMode mode, std::span<const u8> bytes, Encoding& out) const;

 private:
  CpuModel model_;
  std::array<ZydisDecoder, 6> decoders_;
};

// Intel syntax, for traces and error reports. `rip` is the instruction's own address; invalid bytes give "(bad)".
std::string mnemonic_name(Mnemonic mnemonic);
std::string disassemble(CodeMode mode, u64 rip, std::span<const u8> bytes);

}  // namespace doppel::x86
