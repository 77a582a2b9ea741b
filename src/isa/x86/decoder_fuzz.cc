// The decoder on any bytes, in every mode: what it accepts must be as long as Zydis itself says, must not depend on bytes after it, and its
// operands must name registers that exist.
#include <Zydis/Zydis.h>

#include <algorithm>
#include <array>
#include <span>

#include "base/check.h"
#include "isa/x86/decoder.h"

namespace {

using namespace doppel;
using namespace doppel::x86;

// The decoder takes 16-bit protected mode's instructions in real mode, too: some of them exist there, the others fault when executed.
constexpr ZydisMachineMode zydis_modes[] = {
    ZYDIS_MACHINE_MODE_LEGACY_16,      ZYDIS_MACHINE_MODE_LEGACY_16,      ZYDIS_MACHINE_MODE_LEGACY_32,
    ZYDIS_MACHINE_MODE_LONG_COMPAT_16, ZYDIS_MACHINE_MODE_LONG_COMPAT_32, ZYDIS_MACHINE_MODE_LONG_64,
};

// Zydis alone, for the same CPU: what MPX, CET, LZCNT, TZCNT and CLDEMOTE encode is something older.
const ZydisDecoder& zydis(unsigned mode) {
  static const auto decoders = [] {
    std::array<ZydisDecoder, 6> all;
    for (unsigned i = 0; i < 6; ++i) {
      const ZydisStackWidth width = i == 5             ? ZYDIS_STACK_WIDTH_64
                                    : i == 2 || i == 4 ? ZYDIS_STACK_WIDTH_32
                                                       : ZYDIS_STACK_WIDTH_16;
      ZydisDecoderInit(&all[i], zydis_modes[i], width);
      for (ZydisDecoderMode extension : {ZYDIS_DECODER_MODE_MPX, ZYDIS_DECODER_MODE_CET, ZYDIS_DECODER_MODE_LZCNT,
                                         ZYDIS_DECODER_MODE_TZCNT, ZYDIS_DECODER_MODE_CLDEMOTE})
        ZydisDecoderEnableMode(&all[i], extension, ZYAN_FALSE);
    }
    return all;
  }();
  return decoders[mode];
}

bool exists(const Operand& operand) {
  switch (operand.kind) {
    case OperandKind::gpr:
    case OperandKind::control:
    case OperandKind::debug:
    case OperandKind::vector: return operand.index < 16;
    case OperandKind::gpr_high: return operand.index < 4;
    case OperandKind::x87:
    case OperandKind::mmx: return operand.index < 8;
    case OperandKind::segment: return operand.index < 6;
    default: return true;
  }
}

void check_operands(const Instruction& instruction) {
  CHECK(instruction.operand_count <= instruction.operands.size());
  for (const Operand& operand : instruction.operands) CHECK(exists(operand));
  const MemoryOperand& memory = instruction.memory;
  CHECK(memory.base < 16 || memory.base >= MemoryOperand::rip);
  CHECK(memory.index < 16 || memory.index == MemoryOperand::none);
  CHECK(memory.scale <= 3 && memory.segment < 6);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const u8* data, std::size_t size) {
  static const Decoder decoder;
  if (size < 2) return 0;
  const unsigned mode = data[0] % 6;
  const std::span<const u8> bytes(data + 1, size - 1);
  Instruction instruction;
  if (decoder.decode(static_cast<CodeMode>(mode), bytes, instruction) != DecodeStatus::ok) return 0;
  CHECK(instruction.length >= 1 && instruction.length <= std::min<std::size_t>(bytes.size(), 15));
  check_operands(instruction);

  ZydisDecodedInstruction other;
  CHECK(ZYAN_SUCCESS(ZydisDecoderDecodeInstruction(&zydis(mode), nullptr, bytes.data(), bytes.size(), &other)));
  CHECK(other.length == instruction.length);

  Instruction again;
  CHECK(decoder.decode(static_cast<CodeMode>(mode), bytes.first(instruction.length), again) == DecodeStatus::ok);
  CHECK(again.length == instruction.length && again.mnemonic == instruction.mnemonic);
  return 0;
}
