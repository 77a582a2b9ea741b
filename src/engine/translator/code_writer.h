// Instructions with their registers renamed, and what all parts of a block are written with.
#pragma once

#include <array>
#include <optional>

#include "engine/translator/frame.h"
#include "engine/translator/step.h"

namespace doppel::translator {

// Scratch registers that the step needs.
unsigned scratch_needed(const Step& step);

// Whether a step that is copied can be written with the scratch registers that there are.
bool expressible(const Step& step);

// Where a memory operand is: [base + displacement], or [base + index + displacement].
struct HostMemory {
  static constexpr unsigned no_index = 4;  // as SIB says it

  unsigned base;
  i32 displacement;
  unsigned index = no_index;
};

class CodeWriter : protected Xbyak::CodeGenerator {
 protected:
  CodeWriter(const Cpu& cpu, u64 bytes, u8* at) : Xbyak::CodeGenerator(bytes, at), cpu_(cpu), frame_(cpu) {}

  static Xbyak::Reg sized(unsigned number, int bytes);
  Xbyak::Address slot(unsigned gpr);
  // The register, or the scratch register loaded from its slot.
  unsigned in_register(unsigned gpr, unsigned scratch = scratch2);

  // Jcc (0F `opcode`) or, if 0, JMP with a displacement that is filled in later: its offset.
  u32 jump_if(u8 opcode);
  void patch_to(u32 at, u64 target);
  void jump_to(u32 target);

  // Leaves by `stub` for `target`, relative to the page whose code runs, with addresses of `width` bytes; the flags are saved.
  void look_up(i64 target, int width, u32 departure, u32 stub);

  // The instruction, which must be expressible(), with its registers renamed.
  void copy(const Step& step, std::optional<HostMemory> memory);

  const Cpu& cpu_;
  const Frame frame_;
  // The same of an instruction with a memory operand and no slots, with a register in the place of memory.
  void copy_with(const Step& step, unsigned host_register);
  // Loads `bytes` into R15, extended with zeroes.
  void load_extended(const Xbyak::RegExp& from, unsigned bytes);

  u32 encoded_at_ = 0;  // where the last copied instruction is, behind the loads of its slots

 private:
  void encode(const x86::Encoding& enc, const std::array<u8, 16>& host, const std::optional<HostMemory>& memory);
  void modrm(unsigned reg_number, unsigned rm_number, const std::optional<HostMemory>& memory);
};

}  // namespace doppel::translator
