#include "engine/translator/code_writer.h"

#include "base/check.h"

namespace doppel::translator {

using namespace x86;
namespace reg = Xbyak::util;

namespace {

bool is_slot_operand(u8 gpr) { return gpr < 16 && is_slot(gpr); }

// Whether the slot of a register operand in ModRM.rm can be the instruction's memory operand.
bool slot_as_memory(const Step& step) {
  const RegisterField& field = step.enc.rm;
  if (field.kind != FieldKind::gpr || !is_slot(field.number) || step.enc.vector) return false;
  if (field.written && field.bytes == 4) return false;  // the upper half must become zero
  switch (step.in.mnemonic) {
    case ZYDIS_MNEMONIC_MOV:
    case ZYDIS_MNEMONIC_ADD:
    case ZYDIS_MNEMONIC_SUB:
    case ZYDIS_MNEMONIC_AND:
    case ZYDIS_MNEMONIC_OR:
    case ZYDIS_MNEMONIC_XOR:
    case ZYDIS_MNEMONIC_CMP:
    case ZYDIS_MNEMONIC_TEST:
    case ZYDIS_MNEMONIC_IMUL:
    case ZYDIS_MNEMONIC_MOVZX:
    case ZYDIS_MNEMONIC_MOVSX:
    case ZYDIS_MNEMONIC_MOVSXD:
    case ZYDIS_MNEMONIC_INC:
    case ZYDIS_MNEMONIC_DEC:
    case ZYDIS_MNEMONIC_NEG:
    case ZYDIS_MNEMONIC_NOT:
    case ZYDIS_MNEMONIC_SHL:
    case ZYDIS_MNEMONIC_SHR:
    case ZYDIS_MNEMONIC_SAR: return true;
    default: return false;
  }
}

// Slots that must be in scratch registers while the step executes: bits.
u32 scratch_slots(const Step& step) {
  const Encoding& enc = step.enc;
  u32 slots = 0;
  for (const RegisterField* field : {&enc.reg, &enc.rm, &enc.vvvv, &enc.opcode_reg})
    if (field->kind == FieldKind::gpr && is_slot(field->number)) slots |= bit_of(field->number);
  if (slot_as_memory(step)) {
    const bool elsewhere = (enc.reg.kind == FieldKind::gpr && enc.reg.number == enc.rm.number);
    if (!elsewhere) slots &= ~bit_of(enc.rm.number);
  }
  if (step.kind == StepKind::lea) {
    slots = 0;  // the last register that is loaded takes the result, too
    if (is_slot_operand(step.in.memory.base)) slots |= bit_of(step.in.memory.base);
    if (is_slot_operand(step.in.memory.index)) slots |= bit_of(step.in.memory.index);
  }
  return slots;
}

// Whether the step can be written with the scratch registers that there are: R14 is the memory operand's.
bool can_copy(const Step& step, bool memory) {
  if (scratch_needed(step) > (memory ? 1u : 2u)) return false;
  const Encoding& enc = step.enc;
  bool high = false;
  for (const RegisterField* field : {&enc.reg, &enc.rm}) high |= field->kind == FieldKind::gpr_high;
  if (!high) return true;
  if (memory || enc.wide || enc.rex) return false;
  for (const RegisterField* field : {&enc.reg, &enc.rm})  // no REX prefix may be needed
    if (field->kind == FieldKind::gpr && (field->number == x86::rsp || field->number >= 8)) return false;
  return true;
}

// XOR or SUB of a whole register with itself.
bool makes_zero(const Step& step) {
  const RegisterField &to = step.enc.reg, &from = step.enc.rm;
  return (step.in.mnemonic == ZYDIS_MNEMONIC_XOR || step.in.mnemonic == ZYDIS_MNEMONIC_SUB) &&
         to.kind == FieldKind::gpr && from.kind == FieldKind::gpr && to.number == from.number && to.bytes >= 4;
}

unsigned number_of(const RegisterField& field, const std::array<u8, 16>& host) {
  return field.kind == FieldKind::gpr ? host[field.number] : field.number;
}

bool needs_byte_rex(const RegisterField& field, const std::array<u8, 16>& host) {
  return field.kind == FieldKind::gpr && field.bytes == 1 && host[field.number] >= 4;
}

}  // namespace

unsigned scratch_needed(const Step& step) {
  if (step.kind == StepKind::read_segment) return 1;
  const auto count = static_cast<unsigned>(__builtin_popcount(scratch_slots(step)));
  if (step.kind != StepKind::lea || count > 0) return count;
  return step.in.memory.base == MemoryOperand::rip || is_slot_operand(step.enc.reg.number) ? 1 : 0;
}

bool expressible(const Step& step) { return step.kind != StepKind::copy || can_copy(step, step.has_memory()); }

Xbyak::Reg CodeWriter::sized(unsigned number, int bytes) {
  const auto index = static_cast<int>(number);
  switch (bytes) {
    case 8: return Xbyak::Reg64(index);
    case 4: return Xbyak::Reg32(index);
    case 2: return Xbyak::Reg16(index);
    default: return Xbyak::Reg8(index, index >= 4);
  }
}

unsigned CodeWriter::in_register(unsigned gpr, unsigned scratch) {
  if (!is_slot(gpr)) return host_of(gpr);
  mov(Xbyak::Reg64(static_cast<int>(scratch)), slot(gpr));
  return scratch;
}

Xbyak::Address CodeWriter::slot(unsigned gpr) { return qword[reg::rsp + frame_.gpr(gpr)]; }

u32 CodeWriter::jump_if(u8 opcode) {
  if (opcode) {
    db(0x0f);
    db(opcode);
  } else {
    db(0xe9);
  }
  dd(0);
  return static_cast<u32>(getSize() - 4);
}

void CodeWriter::patch_to(u32 at, u64 target) { rewrite(at, target - (at + 4), 4); }

void CodeWriter::jump_to(u32 target) { patch_to(jump_if(0), target); }

void CodeWriter::look_up(i64 target, int width, u32 departure, u32 stub) {
  mov(reg::r14, qword[reg::rsp + frame_.at(cpu_.native.code_page)]);
  if (target == static_cast<i32>(target)) {
    lea(reg::r14, ptr[reg::r14 + static_cast<i32>(target)]);
  } else {
    mov(reg::r15, static_cast<u64>(target));  // up to a page beyond 32 bits
    add(reg::r14, reg::r15);
  }
  if (width == 4) mov(reg::r14d, reg::r14d);
  mov(reg::r15d, departure);
  jump_to(stub);
}

void CodeWriter::copy(const Step& step, std::optional<HostMemory> memory) {
  CHECK(can_copy(step, memory.has_value()));
  const Encoding& enc = step.enc;
  const u32 slots = scratch_slots(step);
  std::array<u8, 16> host{};
  unsigned scratch = scratch2;
  for (unsigned gpr = 0; gpr < 16; ++gpr) {
    host[gpr] = static_cast<u8>(host_of(gpr));
    if (slots & bit_of(gpr)) host[gpr] = static_cast<u8>(scratch--);
  }
  if (!memory && enc.rm.kind == FieldKind::gpr && is_slot(enc.rm.number) && !(slots & bit_of(enc.rm.number)))
    memory = HostMemory{host_rsp, frame_.gpr(enc.rm.number)};
  u32 written = 0, loaded = makes_zero(step) ? slots : 0;
  for (const RegisterField* field : {&enc.reg, &enc.rm, &enc.vvvv, &enc.opcode_reg}) {
    if (field->kind != FieldKind::gpr || !(slots & bit_of(field->number))) continue;
    if (field->written) written |= bit_of(field->number);
    if ((!field->read && field->bytes >= 4) || (loaded & bit_of(field->number))) continue;
    mov(Xbyak::Reg64(host[field->number]), slot(field->number));
    loaded |= bit_of(field->number);
  }
  encode(enc, host, memory);
  for (unsigned gpr = 0; gpr < 16; ++gpr)
    if (written & bit_of(gpr)) mov(slot(gpr), Xbyak::Reg64(host[gpr]));
}

void CodeWriter::copy_with(const Step& step, unsigned host_register) {
  std::array<u8, 16> host{};
  for (unsigned gpr = 0; gpr < 16; ++gpr) host[gpr] = static_cast<u8>(host_of(gpr));
  Encoding enc = step.enc;
  enc.rm = {.kind = FieldKind::other, .number = static_cast<u8>(host_register)};
  encode(enc, host, std::nullopt);
}

void CodeWriter::load_extended(const Xbyak::RegExp& from, unsigned bytes) {
  switch (bytes) {
    case 8: mov(reg::r15, qword[from]); break;
    case 4: mov(reg::r15d, dword[from]); break;
    case 2: movzx(reg::r15d, word[from]); break;
    default: movzx(reg::r15d, byte[from]); break;
  }
}

void CodeWriter::encode(const Encoding& enc, const std::array<u8, 16>& host, const std::optional<HostMemory>& memory) {
  encoded_at_ = static_cast<u32>(getSize());
  const unsigned reg_number = enc.reg.kind == FieldKind::none ? enc.extension : number_of(enc.reg, host);
  unsigned rm_number = enc.rm.kind == FieldKind::none ? enc.rm_bits : number_of(enc.rm, host);
  if (memory) rm_number = memory->base;
  const unsigned opcode_number = enc.opcode_reg.kind == FieldKind::none ? 0 : number_of(enc.opcode_reg, host);
  const unsigned low = enc.has_modrm ? rm_number : opcode_number;
  const unsigned r = reg_number >> 3 & 1, b = low >> 3 & 1;
  const unsigned x = memory ? memory->index >> 3 : 0;
  if (enc.vex) {
    const unsigned vvvv = enc.vvvv.kind == FieldKind::none ? 0 : number_of(enc.vvvv, host);
    db(0xc4);
    db((~r & 1) << 7 | (~x & 1) << 6 | (~b & 1) << 5 | enc.vex_bits);
    db((enc.wide ? 1u : 0u) << 7 | (~vvvv & 15) << 3 | enc.vex_last);
  } else {
    if (enc.lock) db(0xf0);
    if (enc.operand_prefix) db(0x66);
    if (enc.repeat_prefix) db(enc.repeat_prefix);
    const bool byte_rex = needs_byte_rex(enc.reg, host) || (!memory && needs_byte_rex(enc.rm, host)) ||
                          needs_byte_rex(enc.opcode_reg, host);
    if (enc.wide || r || x || b || byte_rex) db(0x40 | (enc.wide ? 8 : 0) | r << 2 | x << 1 | b);
  }
  for (unsigned i = 0; i < enc.opcode_count; ++i) {
    unsigned code = enc.opcode[i];
    if (i + 1u == enc.opcode_count && enc.opcode_reg.kind != FieldKind::none) code = (code & ~7u) | (opcode_number & 7);
    db(static_cast<int>(code));
  }
  if (enc.has_modrm) modrm(reg_number, rm_number, memory);
  for (unsigned i = 0; i < enc.immediate_count; ++i) db(enc.immediate[i]);
}

void CodeWriter::modrm(unsigned reg_number, unsigned rm_number, const std::optional<HostMemory>& memory) {
  const bool sib = memory && (memory->index != HostMemory::no_index || (rm_number & 7) == 4);
  const unsigned low = (reg_number & 7) << 3 | (sib ? 4 : rm_number & 7);
  if (!memory) return db(static_cast<int>(0xc0 | low));
  const bool none = memory->displacement == 0 && (rm_number & 7) != 5;
  const bool small = memory->displacement == static_cast<i8>(memory->displacement);
  db(static_cast<int>((none ? 0u : small ? 0x40u : 0x80u) | low));
  if (sib) db(static_cast<int>((memory->index & 7) << 3 | (rm_number & 7)));
  if (none) return;
  if (small)
    db(static_cast<u8>(memory->displacement));
  else
    dd(static_cast<u32>(memory->displacement));
}

}  // namespace doppel::translator
