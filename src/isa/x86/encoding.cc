#include "isa/x86/encoding.h"

#include <Zydis/Zydis.h>

#include <algorithm>

#include "isa/x86/decoder.h"

namespace doppel::x86 {
namespace {

constexpr u32 status_flags = static_cast<u32>(rflags::status);

void take_prefixes(const ZydisDecodedInstruction& from, Encoding& out) {
  for (unsigned i = 0; i < from.raw.prefix_count; ++i) {
    const auto& prefix = from.raw.prefixes[i];
    if (prefix.type == ZYDIS_PREFIX_TYPE_IGNORED) continue;
    if (prefix.value == 0x66) out.operand_prefix = 0x66;
    if (prefix.value == 0xf2 || prefix.value == 0xf3) out.repeat_prefix = prefix.value;
  }
  out.lock = from.attributes & ZYDIS_ATTRIB_HAS_LOCK;
}

bool take_opcode(const ZydisDecodedInstruction& from, Encoding& out) {
  out.vex = from.encoding == ZYDIS_INSTRUCTION_ENCODING_VEX;
  if (!out.vex && from.encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY) return false;
  const auto add = [&](u8 byte) { out.opcode[out.opcode_count++] = byte; };
  if (out.vex) {
    out.wide = from.raw.vex.W;
    out.vex_bits = from.raw.vex.m_mmmm;
    out.vex_last = static_cast<u8>(from.raw.vex.L << 2 | from.raw.vex.pp);
  } else {
    out.rex = from.attributes & ZYDIS_ATTRIB_HAS_REX;
    out.wide = out.rex && from.raw.rex.W;
    switch (from.opcode_map) {
      case ZYDIS_OPCODE_MAP_DEFAULT: break;
      case ZYDIS_OPCODE_MAP_0F: add(0x0f); break;
      case ZYDIS_OPCODE_MAP_0F38: add(0x0f), add(0x38); break;
      case ZYDIS_OPCODE_MAP_0F3A: add(0x0f), add(0x3a); break;
      default: return false;
    }
  }
  add(from.opcode);
  return true;
}

void take_immediate(const ZydisDecodedInstruction& from, std::span<const u8> bytes, Encoding& out) {
  for (const auto& immediate : from.raw.imm) {
    const unsigned count = immediate.size / 8;
    if (count == 0 || out.immediate_count + count > out.immediate.size()) continue;
    std::copy_n(bytes.data() + immediate.offset, count, out.immediate.data() + out.immediate_count);
    out.immediate_count = static_cast<u8>(out.immediate_count + count);
  }
}

RegisterField register_field(const ZydisDecodedOperand& operand) {
  RegisterField field{.kind = FieldKind::other,
                      .number = static_cast<u8>(std::max<ZyanI8>(ZydisRegisterGetId(operand.reg.value), 0)),
                      .bytes = static_cast<u8>(operand.size / 8),
                      .read = (operand.actions & (ZYDIS_OPERAND_ACTION_MASK_READ | ZYDIS_OPERAND_ACTION_CONDWRITE)) != 0,
                      .written = (operand.actions & ZYDIS_OPERAND_ACTION_MASK_WRITE) != 0};
  const ZydisRegister name = operand.reg.value;
  switch (ZydisRegisterGetClass(name)) {
    case ZYDIS_REGCLASS_GPR8:
      field.kind = name >= ZYDIS_REGISTER_AH && name <= ZYDIS_REGISTER_BH ? FieldKind::gpr_high : FieldKind::gpr;
      // Zydis counts AH … BH as 4 … 7, and SPL … DIL and R8B … behind them.
      if (field.kind == FieldKind::gpr_high)
        field.number = static_cast<u8>(name - ZYDIS_REGISTER_AH + 4);
      else if (name >= ZYDIS_REGISTER_SPL)
        field.number = static_cast<u8>(name - ZYDIS_REGISTER_SPL + 4);
      else
        field.number = static_cast<u8>(name - ZYDIS_REGISTER_AL);
      break;
    case ZYDIS_REGCLASS_GPR16:
    case ZYDIS_REGCLASS_GPR32:
    case ZYDIS_REGCLASS_GPR64: field.kind = FieldKind::gpr; break;
    default: break;
  }
  return field;
}

u32 gpr_bit(ZydisRegister name) {
  switch (ZydisRegisterGetClass(name)) {
    case ZYDIS_REGCLASS_GPR8:
    case ZYDIS_REGCLASS_GPR16:
    case ZYDIS_REGCLASS_GPR32:
    case ZYDIS_REGCLASS_GPR64: {
      const ZydisRegister whole = ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, name);
      return 1u << ZydisRegisterGetId(whole);
    }
    default: return 0;
  }
}

void note_file(const ZydisDecodedOperand& operand, Encoding& out) {
  switch (ZydisRegisterGetClass(operand.reg.value)) {
    case ZYDIS_REGCLASS_XMM:
    case ZYDIS_REGCLASS_YMM: out.vector = true; break;
    case ZYDIS_REGCLASS_X87:
    case ZYDIS_REGCLASS_MMX: out.fpu = true; break;
    default:
      if (operand.reg.value == ZYDIS_REGISTER_MXCSR) out.vector = true;
      if (operand.reg.value >= ZYDIS_REGISTER_X87CONTROL && operand.reg.value <= ZYDIS_REGISTER_X87TAG) out.fpu = true;
  }
}

void take_register(const ZydisDecodedOperand& operand, Encoding& out) {
  note_file(operand, out);
  const u32 bit = gpr_bit(operand.reg.value);
  if (operand.actions & ZYDIS_OPERAND_ACTION_MASK_READ) out.gprs_read |= bit;
  if (operand.actions & ZYDIS_OPERAND_ACTION_MASK_WRITE) out.gprs_written |= bit;
  const RegisterField field = register_field(operand);
  switch (operand.encoding) {
    case ZYDIS_OPERAND_ENCODING_MODRM_REG: out.reg = field; break;
    case ZYDIS_OPERAND_ENCODING_MODRM_RM: out.rm = field; break;
    case ZYDIS_OPERAND_ENCODING_NDSNDD: out.vvvv = field; break;
    case ZYDIS_OPERAND_ENCODING_OPCODE: out.opcode_reg = field; break;
    default: out.hidden_gprs |= bit;
  }
}

void take_memory(const ZydisDecodedOperand& operand, Encoding& out) {
  out.gprs_read |= gpr_bit(operand.mem.base) | gpr_bit(operand.mem.index);
  if (operand.encoding == ZYDIS_OPERAND_ENCODING_MODRM_RM) {
    out.rm.kind = FieldKind::memory;
    out.rm.read = operand.actions & ZYDIS_OPERAND_ACTION_MASK_READ;
    out.rm.written = operand.actions & ZYDIS_OPERAND_ACTION_MASK_WRITE;
    out.memory_bytes = static_cast<u8>(std::min(operand.size / 8, 255));
  } else {
    out.hidden_memory = true;
  }
}

}  // namespace

bool Decoder::describe(CodeMode mode, std::span<const u8> bytes, Encoding& out) const {
  ZydisDecodedInstruction from;
  ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
  const ZydisDecoder& decoder = decoders_[static_cast<std::size_t>(mode)];
  if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder, bytes.data(), bytes.size(), &from, operands))) return false;
  out = {};
  out.length = from.length;
  take_prefixes(from, out);
  if (!take_opcode(from, out)) return false;
  take_immediate(from, bytes, out);
  out.has_modrm = from.attributes & ZYDIS_ATTRIB_HAS_MODRM;
  out.extension = static_cast<u8>(from.raw.modrm.reg);
  out.rm_bits = static_cast<u8>(from.raw.modrm.rm);
  for (unsigned i = 0; i < from.operand_count; ++i) {
    if (operands[i].type == ZYDIS_OPERAND_TYPE_REGISTER) take_register(operands[i], out);
    if (operands[i].type == ZYDIS_OPERAND_TYPE_MEMORY) take_memory(operands[i], out);
  }
  // They leave their destination alone when the source is 0.
  if (from.mnemonic == ZYDIS_MNEMONIC_BSF || from.mnemonic == ZYDIS_MNEMONIC_BSR) out.reg.read = true;
  if (const ZydisAccessedFlags* flags = from.cpu_flags) {
    out.flags_read = flags->tested & status_flags;
    out.flags_written = (flags->modified | flags->set_0 | flags->set_1 | flags->undefined) & status_flags;
  }
  return true;
}

}  // namespace doppel::x86
