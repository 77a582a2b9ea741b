#include "compare.h"

#include "isa/x86/paging.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "isa/x86/host_vendor.h"

namespace doppel::oracle {

using namespace x86;

namespace {

constexpr const char* gpr_names[16] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                       "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};

// Shift and rotate flags depend on the count, SDM vol. 2: with a masked count of 1 OF is defined, with 0 nothing changes.
unsigned shift_count(const Drawn& drawn) {
  const Instruction& instruction = drawn.instruction;
  const Operand& last = instruction.operands[instruction.operand_count - 1];
  u64 count = 1;
  if (last.kind == OperandKind::immediate) count = instruction.immediate;
  if (last.kind == OperandKind::gpr) count = drawn.c.registers.gpr[rcx];
  return static_cast<unsigned>(count & (instruction.operands[0].bytes == 8 ? 63 : 31));
}

u64 undefined_flags(const Drawn& drawn) {
  const u64 undefined = drawn.effects.undefined & rflags::status;
  switch (drawn.instruction.mnemonic) {
    case ZYDIS_MNEMONIC_SHL:
    case ZYDIS_MNEMONIC_SHR:
    case ZYDIS_MNEMONIC_SAR:
    case ZYDIS_MNEMONIC_SHLD:
    case ZYDIS_MNEMONIC_SHRD: {
      const unsigned count = shift_count(drawn);
      const unsigned bits = drawn.instruction.operands[0].bytes * 8u;
      if (count == 0) return 0;
      u64 mask = rflags::af;
      if (count != 1) mask |= rflags::of;
      if (count >= bits) mask |= rflags::cf;
      const bool is_double = drawn.instruction.mnemonic == ZYDIS_MNEMONIC_SHLD ||
                             drawn.instruction.mnemonic == ZYDIS_MNEMONIC_SHRD;
      if (is_double && count > bits) mask |= rflags::status;
      return mask;
    }
    case ZYDIS_MNEMONIC_ROL:
    case ZYDIS_MNEMONIC_ROR:
    case ZYDIS_MNEMONIC_RCL:
    case ZYDIS_MNEMONIC_RCR: {
      const unsigned count = shift_count(drawn);
      return count > 1 ? rflags::of : 0;
    }
    default: return undefined;
  }
}

// Destinations that are undefined: a double shift of 16 bits by more than 16; BSF and BSR of zero leave theirs on every known processor.
bool destination_undefined(const Drawn& drawn) {
  const Mnemonic m = drawn.instruction.mnemonic;
  if (m != ZYDIS_MNEMONIC_SHLD && m != ZYDIS_MNEMONIC_SHRD) return false;
  return drawn.instruction.operands[0].bytes == 2 && shift_count(drawn) > 16;
}

u16 word(const std::array<u8, 512>& image, unsigned at) {
  u16 value;
  std::memcpy(&value, &image[at], 2);
  return value;
}

std::string compare_fpu(const Drawn& drawn, const std::array<u8, 512>& host, const std::array<u8, 512>& engine) {
  if (word(host, fx::fcw) != word(engine, fx::fcw))
    return fmt::format("fcw {:04x} != {:04x}", word(host, fx::fcw), word(engine, fx::fcw));
  const auto status_mask = static_cast<u16>(~drawn.effects.x87_undefined);
  if ((word(host, fx::fsw) ^ word(engine, fx::fsw)) & status_mask)
    return fmt::format("fsw {:04x} != {:04x}", word(host, fx::fsw), word(engine, fx::fsw));
  if (host[fx::tags] != engine[fx::tags]) return fmt::format("tags {:02x} != {:02x}", host[fx::tags], engine[fx::tags]);
  u32 mxcsr[2];
  std::memcpy(&mxcsr[0], &host[fx::mxcsr], 4);
  std::memcpy(&mxcsr[1], &engine[fx::mxcsr], 4);
  if (mxcsr[0] != mxcsr[1]) return fmt::format("mxcsr {:08x} != {:08x}", mxcsr[0], mxcsr[1]);
  for (unsigned i = 0; i < 8; ++i)
    if (std::memcmp(&host[fx::st0 + 16 * i], &engine[fx::st0 + 16 * i], 10) != 0) {
      u64 significands[2];
      std::memcpy(&significands[0], &host[fx::st0 + 16 * i], 8);
      std::memcpy(&significands[1], &engine[fx::st0 + 16 * i], 8);
      return fmt::format("st{} {:04x}:{:016x} != {:04x}:{:016x}", i, word(host, fx::st0 + 16 * i + 8), significands[0],
                         word(engine, fx::st0 + 16 * i + 8), significands[1]);
    }
  for (unsigned i = 0; i < 16; ++i) {
    u64 words[4];
    std::memcpy(&words[0], &host[fx::xmm0 + 16 * i], 16);
    std::memcpy(&words[2], &engine[fx::xmm0 + 16 * i], 16);
    if (words[0] != words[2] || words[1] != words[3])
      return fmt::format("xmm{} {:016x}{:016x} != {:016x}{:016x}", i, words[1], words[0], words[3], words[2]);
  }
  return "";
}

std::string compare_ymm(const Registers& host, const Registers& engine) {
  for (unsigned i = 0; i < 16; ++i) {
    const u64 *a = &host.ymm_high[2 * i], *b = &engine.ymm_high[2 * i];
    if (a[0] != b[0] || a[1] != b[1])
      return fmt::format("ymm{} upper half {:016x}{:016x} != {:016x}{:016x}", i, a[1], a[0], b[1], b[0]);
  }
  return "";
}

// Where an FXSAVE image has its MXCSR_MASK, which is the processor's own (AMD's has bit 17); for the others, behind all data.
u64 own_mask_offset(const Drawn& drawn) {
  const Mnemonic m = drawn.instruction.mnemonic;
  if (m != ZYDIS_MNEMONIC_FXSAVE && m != ZYDIS_MNEMONIC_FXSAVE64) return data_bytes;
  return operand_address(drawn) - data_base + fx::mxcsr_mask;
}

// Where a CALL that is refused may have left its return address, below the stack: processors with 57-bit linear addresses (family 6, model
// 207 does so) have it pushed before they find that a target would be canonical only with those. As above.
u64 refused_push_offset(const Drawn& drawn, const Outcome& engine) {
  if (drawn.instruction.mnemonic != ZYDIS_MNEMONIC_CALL || engine.vector != general_protection) return data_bytes;
  return drawn.c.registers.gpr[rsp] - 8 - data_base;
}

std::string compare_data(const Drawn& drawn, const Outcome& host, const Outcome& engine) {
  const u64 own_mask = own_mask_offset(drawn), refused_push = refused_push_offset(drawn, engine);
  for (u64 i = 0; i < data_bytes; ++i)
    if (host.data[i] != engine.data[i] && i - own_mask >= 4 && i - refused_push >= 8)
      return fmt::format("memory at {:x}: {:02x} != {:02x}", data_base + i, host.data[i], engine.data[i]);
  return "";
}

// Accesses of many parts: which part of the page faults first is the processor's own order.
bool is_multipart(Mnemonic mnemonic) {
  switch (mnemonic) {
    case ZYDIS_MNEMONIC_FLDENV:
    case ZYDIS_MNEMONIC_FNSTENV:
    case ZYDIS_MNEMONIC_FRSTOR:
    case ZYDIS_MNEMONIC_FNSAVE:
    case ZYDIS_MNEMONIC_FXSAVE:
    case ZYDIS_MNEMONIC_FXSAVE64:
    case ZYDIS_MNEMONIC_FXRSTOR:
    case ZYDIS_MNEMONIC_FXRSTOR64: return true;
    default: return false;
  }
}

// CMPS has two operands that may both fault; which of them does is the processor's own order. RDI's has no segment.
bool is_other_operand(const Drawn& drawn, const Outcome& host) {
  switch (drawn.instruction.mnemonic) {
    case ZYDIS_MNEMONIC_CMPSB:
    case ZYDIS_MNEMONIC_CMPSW:
    case ZYDIS_MNEMONIC_CMPSD:
    case ZYDIS_MNEMONIC_CMPSQ: break;
    default: return false;
  }
  const u64 address = host.registers.gpr[rdi];
  return drawn.instruction.operand_count == 0 && host.fault_address - address < drawn.instruction.operand_bytes;
}

// AMD's processors do not ask for aligned operands of these.
bool is_sha(Mnemonic mnemonic) {
  switch (mnemonic) {
    case ZYDIS_MNEMONIC_SHA1MSG1:
    case ZYDIS_MNEMONIC_SHA1MSG2:
    case ZYDIS_MNEMONIC_SHA1NEXTE:
    case ZYDIS_MNEMONIC_SHA1RNDS4:
    case ZYDIS_MNEMONIC_SHA256MSG1:
    case ZYDIS_MNEMONIC_SHA256MSG2:
    case ZYDIS_MNEMONIC_SHA256RNDS2: return true;
    default: return false;
  }
}

}  // namespace

std::string difference(const Drawn& drawn, const Outcome& host, const Outcome& engine, bool all_flags) {
  // MOVSXD r16 reads 16 bits of memory on Intel's processors, 32 on AMD's.
  if (x86::host_is_intel() && drawn.instruction.mnemonic == ZYDIS_MNEMONIC_MOVSXD &&
      drawn.instruction.operand_bytes == 2 && drawn.instruction.has_memory() && host.vector != page_fault &&
      engine.vector == page_fault)
    return "";
  if (!x86::host_is_intel() && is_sha(drawn.instruction.mnemonic) && engine.vector == general_protection &&
      drawn.instruction.has_memory())
    return "";
  // Whether an operand that crosses 4 GiB in a segment of that size is beyond its limit is the processor's choice (SDM vol. 3 §5.3).
  if ((drawn.c.compat32 || drawn.c.native_in_64) && host.vector == page_fault &&
      (engine.vector == general_protection || engine.vector == stack_fault) && drawn.instruction.has_memory() &&
      operand_address(drawn) + drawn.instruction.operand_bytes > u64{1} << 32)
    return "";
  if (host.vector != engine.vector) return fmt::format("vector {} != {}", host.vector, engine.vector);
  // Outside of the case's own windows the host has pages that the guest has not (the kernel's): the present bit may differ.
  const bool own_page = host.fault_address >= code_base && host.fault_address < read_only_base + 0x100000;
  const u32 error_mask = host.vector == page_fault && !own_page ? ~page_fault_code::present : ~0u;
  if (host.vector != no_vector && ((host.error_code ^ engine.error_code) & error_mask))
    return fmt::format("error code {:x} != {:x} (vector {})", host.error_code, engine.error_code, host.vector);
  const u64 address_mask = is_multipart(drawn.instruction.mnemonic) ? ~u64{0xfff} : ~u64{0};
  if (host.vector == page_fault && ((host.fault_address ^ engine.fault_address) & address_mask) &&
      !is_other_operand(drawn, host))
    return fmt::format("cr2 {:x} != {:x}", host.fault_address, engine.fault_address);
  if (host.registers.rip != engine.registers.rip)
    return fmt::format("rip {:x} != {:x}", host.registers.rip, engine.registers.rip);
  if (!destination_undefined(drawn)) {
    for (unsigned i = 0; i < (drawn.c.compat32 ? 8u : 16u); ++i)
      if (host.registers.gpr[i] != engine.registers.gpr[i])
        return fmt::format("{} {:x} != {:x}", gpr_names[i], host.registers.gpr[i], engine.registers.gpr[i]);
    if (std::string text = compare_data(drawn, host, engine); !text.empty()) return text;
  }
  const u64 undefined = host.vector == no_vector ? undefined_flags(drawn)
                                                 : drawn.effects.undefined | undefined_flags(drawn);
  const u64 flags_mask = all_flags && host.vector == no_vector ? ~u64{0} : ~undefined;
  if ((host.registers.rflags ^ engine.registers.rflags) & flags_mask)
    return fmt::format("rflags {:x} != {:x}", host.registers.rflags & flags_mask, engine.registers.rflags & flags_mask);
  if (std::string text = compare_fpu(drawn, host.registers.fx, engine.registers.fx); !text.empty()) return text;
  return compare_ymm(host.registers, engine.registers);
}

}  // namespace doppel::oracle
