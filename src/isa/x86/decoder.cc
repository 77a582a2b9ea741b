#include "isa/x86/decoder.h"

#include <Zydis/Zydis.h>

#include <algorithm>

#include "base/check.h"
#include "isa/x86/extensions.h"

namespace doppel::x86 {
namespace {

struct MachineMode {
  ZydisMachineMode mode;
  ZydisStackWidth stack;
};

// Real and virtual-8086 mode share a CodeMode, and Zydis's own real mode knows no SYSENTER (#GP there, and fine in virtual-8086 mode):
// what is #UD in both, as LAR, says so when it is executed.
constexpr std::array<MachineMode, 6> machine_modes{{
    {ZYDIS_MACHINE_MODE_LEGACY_16, ZYDIS_STACK_WIDTH_16},
    {ZYDIS_MACHINE_MODE_LEGACY_16, ZYDIS_STACK_WIDTH_16},
    {ZYDIS_MACHINE_MODE_LEGACY_32, ZYDIS_STACK_WIDTH_32},
    {ZYDIS_MACHINE_MODE_LONG_COMPAT_16, ZYDIS_STACK_WIDTH_16},
    {ZYDIS_MACHINE_MODE_LONG_COMPAT_32, ZYDIS_STACK_WIDTH_32},
    {ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64},
}};

Operand register_operand(ZydisRegister reg, u16 bits) {
  const u8 bytes = static_cast<u8>(bits / 8);
  const auto id = static_cast<u8>(std::max<ZyanI8>(ZydisRegisterGetId(reg), 0));
  switch (ZydisRegisterGetClass(reg)) {
    case ZYDIS_REGCLASS_GPR8:
      if (reg >= ZYDIS_REGISTER_AH && reg <= ZYDIS_REGISTER_BH)
        return {OperandKind::gpr_high, static_cast<u8>(reg - ZYDIS_REGISTER_AH), 1};
      if (reg >= ZYDIS_REGISTER_SPL) return {OperandKind::gpr, static_cast<u8>(reg - ZYDIS_REGISTER_SPL + 4), 1};
      return {OperandKind::gpr, static_cast<u8>(reg - ZYDIS_REGISTER_AL), 1};
    case ZYDIS_REGCLASS_GPR16: return {OperandKind::gpr, id, 2};
    case ZYDIS_REGCLASS_GPR32: return {OperandKind::gpr, id, 4};
    case ZYDIS_REGCLASS_GPR64: return {OperandKind::gpr, id, 8};
    case ZYDIS_REGCLASS_X87: return {OperandKind::x87, id, 10};
    case ZYDIS_REGCLASS_MMX: return {OperandKind::mmx, id, 8};
    case ZYDIS_REGCLASS_XMM: return {OperandKind::vector, id, 16};
    case ZYDIS_REGCLASS_YMM: return {OperandKind::vector, id, 32};
    case ZYDIS_REGCLASS_SEGMENT: return {OperandKind::segment, id, bytes};
    case ZYDIS_REGCLASS_CONTROL: return {OperandKind::control, id, bytes};
    case ZYDIS_REGCLASS_DEBUG: return {OperandKind::debug, id, bytes};
    default: return {};
  }
}

u8 general_register(ZydisRegister reg) {
  if (reg == ZYDIS_REGISTER_NONE) return MemoryOperand::none;
  if (reg == ZYDIS_REGISTER_RIP || reg == ZYDIS_REGISTER_EIP) return MemoryOperand::rip;
  return static_cast<u8>(ZydisRegisterGetId(reg));
}

MemoryOperand memory_operand(const ZydisDecodedOperandMem& memory, u8 address_bytes) {
  MemoryOperand result;
  result.base = general_register(memory.base);
  result.index = general_register(memory.index);
  result.scale = memory.scale == 8 ? 3 : memory.scale == 4 ? 2 : memory.scale == 2 ? 1 : 0;
  result.segment = static_cast<Segment>(std::max<ZyanI8>(ZydisRegisterGetId(memory.segment), 0));
  result.address_bytes = address_bytes;
  result.displacement = memory.disp.has_displacement ? memory.disp.value : 0;
  return result;
}

// ModRM.mod = 0 and SIB.base = 5 mean a displacement and no base, whatever REX.B says; Zydis 4.0 has R13D there with 32-bit addresses.
void drop_absent_base(const ZydisDecodedInstructionRaw& raw, MemoryOperand& memory) {
  if (!raw.sib.offset || raw.modrm.mod != 0 || raw.sib.base != 5) return;
  memory.base = MemoryOperand::none;
  memory.displacement = raw.disp.value;
}

VexField vex_field(ZydisOperandEncoding encoding) {
  switch (encoding) {
    case ZYDIS_OPERAND_ENCODING_MODRM_REG: return VexField::reg;
    case ZYDIS_OPERAND_ENCODING_MODRM_RM: return VexField::rm;
    case ZYDIS_OPERAND_ENCODING_NDSNDD: return VexField::vvvv;
    case ZYDIS_OPERAND_ENCODING_IS4: return VexField::is4;
    default: return VexField::none;
  }
}

void take_operands(const ZydisDecodedInstructionRaw& raw, const ZydisDecodedOperand* operands, u8 count,
                   Instruction& out) {
  bool first_immediate = true;
  for (u8 i = 0; i < count; ++i) {
    const ZydisDecodedOperand& from = operands[i];
    Operand& to = out.operands[i];
    switch (from.type) {
      case ZYDIS_OPERAND_TYPE_REGISTER: to = register_operand(from.reg.value, from.size); break;
      case ZYDIS_OPERAND_TYPE_MEMORY:
        to = {OperandKind::memory, 0, static_cast<u8>(std::min(from.size / 8, 255))};
        out.memory = memory_operand(from.mem, out.address_bytes);
        drop_absent_base(raw, out.memory);
        break;
      case ZYDIS_OPERAND_TYPE_IMMEDIATE:
        to = {OperandKind::immediate, static_cast<u8>(first_immediate ? 0 : 1), static_cast<u8>(from.size / 8)};
        (first_immediate ? out.immediate : out.immediate2) = from.imm.value.u;
        first_immediate = false;
        break;
      case ZYDIS_OPERAND_TYPE_POINTER:
        to = {OperandKind::far_pointer, 0, static_cast<u8>(from.size / 8)};
        out.immediate = from.ptr.offset;
        out.immediate2 = from.ptr.segment;
        break;
      default: break;
    }
    to.read = from.actions & ZYDIS_OPERAND_ACTION_MASK_READ;
    to.written = from.actions & ZYDIS_OPERAND_ACTION_MASK_WRITE;
    if (out.vex.present) to.field = vex_field(from.encoding);
  }
}

// The segment of a memory operand that is not written out (string instructions, XLAT).
Segment hidden_operand_segment(ZydisInstructionAttributes attributes) {
  if (attributes & ZYDIS_ATTRIB_HAS_SEGMENT_ES) return es;
  if (attributes & ZYDIS_ATTRIB_HAS_SEGMENT_CS) return cs;
  if (attributes & ZYDIS_ATTRIB_HAS_SEGMENT_SS) return ss;
  if (attributes & ZYDIS_ATTRIB_HAS_SEGMENT_FS) return fs;
  if (attributes & ZYDIS_ATTRIB_HAS_SEGMENT_GS) return gs;
  return ds;
}

void compact(const ZydisDecodedInstruction& from, Instruction& out) {
  out.mnemonic = from.mnemonic;
  out.length = from.length;
  out.operand_bytes = from.operand_width / 8;
  out.address_bytes = from.address_width / 8;
  out.stack_bytes = from.stack_width / 8;
  out.lock = from.attributes & ZYDIS_ATTRIB_HAS_LOCK;
  out.rep = from.attributes & (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE);
  out.repne = from.attributes & ZYDIS_ATTRIB_HAS_REPNE;
  out.operand_prefix = from.attributes & ZYDIS_ATTRIB_HAS_OPERANDSIZE;
  out.opcode_map = static_cast<u8>(from.opcode_map);
  out.opcode = from.opcode;
  out.memory.segment = hidden_operand_segment(from.attributes);
  out.memory.address_bytes = out.address_bytes;
  out.modrm = static_cast<u8>(from.raw.modrm.mod << 6 | from.raw.modrm.reg << 3 | from.raw.modrm.rm);
  if (from.encoding == ZYDIS_INSTRUCTION_ENCODING_VEX)
    out.vex = {.present = true, .w = from.raw.vex.W != 0, .l = from.raw.vex.L != 0, .pp = from.raw.vex.pp};
}

// Where VEX.W is the width of a general register, or of what stands for it in memory. Outside of 64-bit code the bit is ignored there.
bool is_general_width(Mnemonic mnemonic) {
  switch (mnemonic) {
    case ZYDIS_MNEMONIC_VMOVD:
    case ZYDIS_MNEMONIC_VCVTSI2SD:
    case ZYDIS_MNEMONIC_VCVTSI2SS:
    case ZYDIS_MNEMONIC_VCVTSD2SI:
    case ZYDIS_MNEMONIC_VCVTSS2SI:
    case ZYDIS_MNEMONIC_VCVTTSD2SI:
    case ZYDIS_MNEMONIC_VCVTTSS2SI: return true;
    default: return false;
  }
}

// The exception: with VEX.W these are #UD outside of 64-bit code (SDM vol. 2, PEXTRD and PINSRD).
bool is_64_bit_code_only(Mnemonic mnemonic) {
  return mnemonic == ZYDIS_MNEMONIC_VPEXTRD || mnemonic == ZYDIS_MNEMONIC_VPINSRD;
}

// F3 90 is PAUSE, but with REX.B the opcode is XCHG R8, rAX and the prefix means nothing. So do AMD's processors; Intel's execute
// PAUSE, and Zydis 4.0 takes it for that.
void become_exchange(Instruction& instruction) {
  instruction.mnemonic = ZYDIS_MNEMONIC_XCHG;
  instruction.operand_count = 2;
  instruction.operands[0] = {OperandKind::gpr, r8, instruction.operand_bytes};
  instruction.operands[1] = {OperandKind::gpr, rax, instruction.operand_bytes};
}

u16 x87_conditions(u32 zydis_mask) {
  return static_cast<u16>((zydis_mask & ZYDIS_FPUFLAG_C0 ? 0x100 : 0) | (zydis_mask & ZYDIS_FPUFLAG_C1 ? 0x200 : 0) |
                          (zydis_mask & ZYDIS_FPUFLAG_C2 ? 0x400 : 0) | (zydis_mask & ZYDIS_FPUFLAG_C3 ? 0x4000 : 0));
}

FlagEffects flag_effects(const ZydisDecodedInstruction& from) {
  FlagEffects effects;
  if (const ZydisAccessedFlags* flags = from.cpu_flags) {
    effects.read = flags->tested;
    effects.written = flags->modified | flags->set_0 | flags->set_1;
    effects.undefined = flags->undefined;
  }
  if (const ZydisAccessedFlags* flags = from.fpu_flags) {
    effects.x87_written = x87_conditions(flags->modified | flags->set_0 | flags->set_1);
    effects.x87_undefined = x87_conditions(flags->undefined);
  }
  return effects;
}

}  // namespace

Decoder::Decoder(const CpuModel& model) : model_(model) {
  for (std::size_t i = 0; i < decoders_.size(); ++i) {
    ZydisDecoder& decoder = decoders_[i];
    CHECK(ZYAN_SUCCESS(ZydisDecoderInit(&decoder, machine_modes[i].mode, machine_modes[i].stack)));
    // Encodings that mean something older (NOP, BSR, BSF) on a CPU without the extension.
    const auto allow = [&](ZydisDecoderMode extension, bool allowed) {
      CHECK(ZYAN_SUCCESS(ZydisDecoderEnableMode(&decoder, extension, allowed ? ZYAN_TRUE : ZYAN_FALSE)));
    };
    allow(ZYDIS_DECODER_MODE_MPX, false);
    allow(ZYDIS_DECODER_MODE_CET, false);
    allow(ZYDIS_DECODER_MODE_CLDEMOTE, false);
    allow(ZYDIS_DECODER_MODE_LZCNT, model.has(Feature::lzcnt));
    allow(ZYDIS_DECODER_MODE_TZCNT, model.has(Feature::bmi1));
  }
}

DecodeStatus Decoder::decode(CodeMode mode, std::span<const u8> bytes, Instruction& instruction,
                             FlagEffects* effects) const {
  const ZydisDecoder& decoder = decoders_[static_cast<std::size_t>(mode)];
  const std::size_t available = std::min<std::size_t>(bytes.size(), ZYDIS_MAX_INSTRUCTION_LENGTH);
  ZydisDecoderContext context;
  ZydisDecodedInstruction decoded;
  const ZyanStatus status = ZydisDecoderDecodeInstruction(&decoder, &context, bytes.data(), available, &decoded);
  if (status == ZYDIS_STATUS_NO_MORE_DATA)
    return available == ZYDIS_MAX_INSTRUCTION_LENGTH ? DecodeStatus::too_long : DecodeStatus::need_more_bytes;
  if (status == ZYDIS_STATUS_INSTRUCTION_TOO_LONG) return DecodeStatus::too_long;
  if (!ZYAN_SUCCESS(status) || !is_supported(model_, decoded.meta.isa_set, decoded.mnemonic))
    return DecodeStatus::invalid;
  // Real and virtual-8086 mode know no VEX (SDM vol. 2 §2.4).
  if (mode == CodeMode::real16 && decoded.encoding == ZYDIS_INSTRUCTION_ENCODING_VEX) return DecodeStatus::invalid;

  ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT_VISIBLE];
  const u8 count = std::min<u8>(decoded.operand_count_visible, 4);
  if (!ZYAN_SUCCESS(ZydisDecoderDecodeOperands(&decoder, &context, &decoded, operands, count)))
    return DecodeStatus::invalid;
  if (effects) *effects = flag_effects(decoded);
  instruction = {};
  compact(decoded, instruction);
  if (mode != CodeMode::long64 && instruction.vex.w) {
    if (is_64_bit_code_only(instruction.mnemonic)) return DecodeStatus::invalid;
    if (is_general_width(instruction.mnemonic)) instruction.vex.w = false;
  }
  instruction.operand_count = count;
  take_operands(decoded.raw, operands, count, instruction);
  if (instruction.mnemonic == ZYDIS_MNEMONIC_PAUSE && decoded.raw.rex.B) become_exchange(instruction);
  if (instruction.mnemonic == ZYDIS_MNEMONIC_XCHG && instruction.has_memory()) instruction.lock = true;
  return DecodeStatus::ok;
}

std::string mnemonic_name(Mnemonic mnemonic) {
  const char* name = ZydisMnemonicGetString(mnemonic);
  return name ? name : "?";
}

std::string disassemble(CodeMode mode, u64 rip, std::span<const u8> bytes) {
  ZydisDisassembledInstruction instruction;
  const ZydisMachineMode machine_mode = machine_modes[static_cast<std::size_t>(mode)].mode;
  if (!ZYAN_SUCCESS(ZydisDisassembleIntel(machine_mode, rip, bytes.data(), bytes.size(), &instruction))) return "(bad)";
  return instruction.text;
}

}  // namespace doppel::x86
