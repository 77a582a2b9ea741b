#include "engine/translator/step.h"

#include <array>
#include <bitset>
#include <utility>

#include "engine/interpreter/integer/host_flags.h"
#include "engine/translator/frame.h"
#include "isa/x86/decoder.h"

namespace doppel::translator {
namespace {

using namespace x86;

using MnemonicSet = std::bitset<ZYDIS_MNEMONIC_MAX_VALUE + 1>;

MnemonicSet set_of(std::initializer_list<Mnemonic> list) {
  MnemonicSet set;
  for (Mnemonic mnemonic : list) set.set(mnemonic);
  return set;
}

#define M(name) ZYDIS_MNEMONIC_##name

// General-register instructions that do the same on the host.
const MnemonicSet& copied() {
  static const MnemonicSet set = set_of(
      {M(MOV),    M(MOVZX),   M(MOVSX),  M(MOVSXD),  M(ADD),       M(ADC),        M(SUB),    M(SBB),    M(AND),
       M(OR),     M(XOR),     M(NOT),    M(NEG),     M(INC),       M(DEC),        M(CMP),    M(TEST),   M(SHL),
       M(SHR),    M(SAR),     M(ROL),    M(ROR),     M(RCL),       M(RCR),        M(SHLD),   M(SHRD),   M(MUL),
       M(IMUL),   M(DIV),     M(IDIV),   M(CBW),     M(CWDE),      M(CDQE),       M(CWD),    M(CDQ),    M(CQO),
       M(BSWAP),  M(BT),      M(BTS),    M(BTR),     M(BTC),       M(BSF),        M(BSR),    M(TZCNT),  M(LZCNT),
       M(POPCNT), M(XCHG),    M(XADD),   M(CMPXCHG), M(CMPXCHG8B), M(CMPXCHG16B), M(MOVBE),  M(CRC32),  M(ANDN),
       M(BEXTR),  M(BLSI),    M(BLSMSK), M(BLSR),    M(BZHI),      M(MULX),       M(PDEP),   M(PEXT),   M(RORX),
       M(SARX),   M(SHLX),    M(SHRX),   M(ADCX),    M(ADOX),      M(LAHF),       M(SAHF),   M(CLC),    M(STC),
       M(CMC),    M(MOVNTI),  M(LFENCE), M(MFENCE),  M(SFENCE),    M(SETB),       M(SETBE),  M(SETL),   M(SETLE),
       M(SETNB),  M(SETNBE),  M(SETNL),  M(SETNLE),  M(SETNO),     M(SETNP),      M(SETNS),  M(SETNZ),  M(SETO),
       M(SETP),   M(SETS),    M(SETZ),   M(CMOVB),   M(CMOVBE),    M(CMOVL),      M(CMOVLE), M(CMOVNB), M(CMOVNBE),
       M(CMOVNL), M(CMOVNLE), M(CMOVNO), M(CMOVNP),  M(CMOVNS),    M(CMOVNZ),     M(CMOVO),  M(CMOVP),  M(CMOVS),
       M(CMOVZ)});
  return set;
}

const MnemonicSet& branches() {
  static const MnemonicSet set = set_of({M(JB), M(JBE), M(JL), M(JLE), M(JNB), M(JNBE), M(JNL), M(JNLE), M(JNO), M(JNP),
                                         M(JNS), M(JNZ), M(JO), M(JP), M(JS), M(JZ)});
  return set;
}

const MnemonicSet& nothing() {
  static const MnemonicSet set = set_of({M(NOP), M(ENDBR64), M(ENDBR32), M(PREFETCH), M(PREFETCHNTA), M(PREFETCHT0),
                                         M(PREFETCHT1), M(PREFETCHT2), M(PREFETCHW)});
  return set;
}

// What leaves flags, which are undefined then, as they were: with processors where host_keeps_flags.
const MnemonicSet& keeps_flags() {
  static const MnemonicSet set = set_of({M(MUL), M(IMUL), M(DIV), M(IDIV), M(BSF), M(BSR), M(LZCNT), M(TZCNT)});
  return set;
}

// Vector instructions that are more than a copy: they fault by element, or touch MXCSR, which C++ code looks after.
const MnemonicSet& vectors_outlined() {
  static const MnemonicSet set = set_of({M(LDMXCSR),    M(STMXCSR),    M(VLDMXCSR),    M(VSTMXCSR),   M(VGATHERDPD),
                                         M(VGATHERDPS), M(VGATHERQPD), M(VGATHERQPS),  M(VPGATHERDD), M(VPGATHERDQ),
                                         M(VPGATHERQD), M(VPGATHERQQ), M(VMASKMOVPS),  M(VMASKMOVPD), M(VPMASKMOVD),
                                         M(VPMASKMOVQ), M(MASKMOVDQU), M(VMASKMOVDQU), M(FXSAVE),     M(FXSAVE64),
                                         M(FXRSTOR),    M(FXRSTOR64)});
  return set;
}

// x87 instructions that load or store more than registers, or start anew.
const MnemonicSet& x87_outlined() {
  static const MnemonicSet set = set_of({M(FNINIT), M(FLDENV), M(FNSTENV), M(FNSAVE), M(FRSTOR), M(FXSAVE), M(FXSAVE64),
                                         M(FXRSTOR), M(FXRSTOR64), M(FENI8087_NOP), M(FDISI8087_NOP), M(FSETPM287_NOP)});
  return set;
}

// Those that FIP does not tell of. MMX instructions are no x87 instructions.
const MnemonicSet& x87_control() {
  static const MnemonicSet set = set_of({M(FNCLEX), M(FLDCW), M(FNSTCW), M(FNSTSW), M(FWAIT)});
  return set;
}
X87 x87_of(const Step& step) {
  if (!step.enc.fpu) return X87::none;
  const bool escape = step.in.opcode >= 0xd8 && step.in.opcode <= 0xdf && step.enc.opcode_count == 1;
  return escape && !x87_control()[step.in.mnemonic] ? X87::numeric : X87::used;
}

bool general_operands_only(const Instruction& in) {
  for (const Operand& operand : in.operands) switch (operand.kind) {
      case OperandKind::none:
      case OperandKind::gpr:
      case OperandKind::gpr_high:
      case OperandKind::memory:
      case OperandKind::immediate: break;
      default: return false;
    }
  return true;
}

constexpr u64 most_released = 0x4000;              // by RET: what Departure::released holds
constexpr u32 unhidden_gprs = 1u << rsp | 0xf000;  // a hidden operand cannot be renamed

// BT and its kin with a register offset reach beyond the operand.
bool is_bit_string(const Step& step) {
  const Mnemonic name = step.in.mnemonic;
  return (name == M(BT) || name == M(BTS) || name == M(BTR) || name == M(BTC)) && step.has_memory() &&
         step.enc.reg.kind == FieldKind::gpr;
}

bool is_shift(Mnemonic name) {
  return name == M(SHL) || name == M(SHR) || name == M(SAR) || name == M(SHLD) || name == M(SHRD);
}
bool is_rotate(Mnemonic name) { return name == M(ROL) || name == M(ROR) || name == M(RCL) || name == M(RCR); }

// The operand's address is formed as translated code does it; 32-bit CS need not be readable.
bool is_plain(const Step& step) {
  const MemoryOperand& memory = step.in.memory;
  return memory.address_bytes == step.word && (step.word == 8 || memory.segment != cs);
}

bool memory_allowed(const Step& step) {
  return !step.has_memory() || (is_plain(step) && step.enc.memory_bytes != 0 && step.enc.memory_bytes <= 64);
}

bool converts_to_mmx(Mnemonic name) {
  return name == M(CVTPS2PI) || name == M(CVTTPS2PI) || name == M(CVTPD2PI) || name == M(CVTTPD2PI);
}

StepKind kind_of_copy(Step& step) {
  const Mnemonic name = step.in.mnemonic;
  const Encoding& enc = step.enc;
  step.kind = StepKind::copy;  // for has_memory()
  if (enc.hidden_memory || (enc.hidden_gprs & unhidden_gprs) || !memory_allowed(step)) return StepKind::outline;
  if (name == M(VZEROUPPER) || name == M(VZEROALL)) {
    step.enc.vector = true;
    return StepKind::copy;
  }
  if (enc.vector && !enc.fpu && !vectors_outlined()[name]) {
    step.traps = step.has_memory();  // alignment
    return StepKind::copy;
  }
  if (enc.fpu) {
    if (converts_to_mmx(name)) step.enc.vector = true;         // MXCSR, though a memory operand names no XMM register
    step.traps = step.has_memory() && enc.memory_bytes == 16;  // CVTPD2PI and CVTTPD2PI, alignment
    return x87_outlined()[name] ? StepKind::outline : StepKind::copy;
  }
  if (!copied()[name] || !general_operands_only(step.in) || enc.vector) return StepKind::outline;
  if (is_bit_string(step))
    return step.word == 8 && step.in.operand_bytes >= 4 ? StepKind::bit_string : StepKind::outline;
  step.shift_by_cl = (is_shift(name) || is_rotate(name)) && (enc.hidden_gprs & 1u << rcx);
  if ((is_shift(name) || is_rotate(name)) && !step.shift_by_cl) {
    const unsigned count_mask = step.in.operand_bytes == 8 ? 63 : 31;
    const u64 count = enc.immediate_count ? enc.immediate[0] : 1;
    if ((count & count_mask) == 0) return StepKind::outline;
  }
  if (name == M(DIV) || name == M(IDIV) || name == M(CMPXCHG16B)) step.traps = true;
  return StepKind::copy;
}

// With R15 as the only scratch register.
Recipe recipe_of_memory(const Step& step) {
  const auto usable = [](const RegisterField& field) {
    return field.kind == FieldKind::none || (field.kind == FieldKind::gpr && !is_slot(field.number));
  };
  if (step.enc.lock || !usable(step.enc.reg)) return Recipe::none;
  const bool to_memory = step.enc.rm.written;
  switch (step.in.mnemonic) {
    case M(CMP):
    case M(TEST): return Recipe::compare_memory;
    case M(AND):
    case M(OR):
    case M(XOR): return to_memory ? Recipe::test_of_memory : Recipe::test;
    case M(ADD): return to_memory ? Recipe::add_of_memory : Recipe::add_memory;
    case M(SUB): return to_memory ? Recipe::sub_of_memory : Recipe::sub_memory;
    default: return Recipe::none;
  }
}

Recipe recipe_of(const Step& step) {
  if (step.kind != StepKind::copy || step.enc.vector || step.enc.fpu) return Recipe::none;
  if (step.has_memory()) return recipe_of_memory(step);
  const RegisterField destination = step.destination(), source = step.source();
  const bool plain = destination.kind == FieldKind::gpr && source.kind != FieldKind::gpr_high;
  const bool apart = source.kind == FieldKind::none || source.number != destination.number;
  switch (step.in.mnemonic) {
    case M(CMP):
    case M(TEST): return Recipe::repeat;
    case M(AND):
    case M(OR):
    case M(XOR): return plain ? Recipe::test : Recipe::none;
    case M(ADD): return plain && apart ? Recipe::add : Recipe::none;
    case M(SUB): return plain && apart ? Recipe::sub : Recipe::none;
    case M(NEG): return plain ? Recipe::negate : Recipe::none;
    case M(SHL):
    case M(SHR):
    case M(SAR): return plain && !step.shift_by_cl ? Recipe::shift : Recipe::none;
    default: return Recipe::none;
  }
}

// Whether the bytes are the same instruction there.
bool is_64_bit_code(const Decoder& decoder, std::span<const u8> bytes, const Step& step) {
  Instruction there;
  return decoder.decode(CodeMode::long64, bytes, there) == DecodeStatus::ok && there.mnemonic == step.in.mnemonic &&
         there.length == step.in.length;
}

// What 32-bit code writes differently from 64-bit code. False: 64-bit code has no such instruction.
bool to_64_bit_encoding(const Decoder& decoder, std::span<const u8> bytes, Step& step) {
  Encoding& enc = step.enc;
  u8& opcode = enc.opcode[0];
  switch (step.in.mnemonic) {
    case ZYDIS_MNEMONIC_VZEROUPPER:
    case ZYDIS_MNEMONIC_VZEROALL: return false;  // of eight registers
    case ZYDIS_MNEMONIC_VBLENDVPS:
    case ZYDIS_MNEMONIC_VBLENDVPD:
    case ZYDIS_MNEMONIC_VPBLENDVB: enc.immediate[0] &= 0x7f; break;  // the fourth register is one of eight
    default: break;
  }
  if (enc.vex && enc.wide) {  // W means nothing for general registers
    if (enc.vector) return false;
    enc.wide = false;
  }
  if (enc.vex || enc.opcode_count != 1) return is_64_bit_code(decoder, bytes, step);
  if (opcode >= 0x40 && opcode <= 0x4f) {  // INC and DEC
    enc.extension = opcode >= 0x48;
    enc.rm = enc.opcode_reg;
    enc.opcode_reg = {};
    enc.has_modrm = true;
    opcode = 0xff;
  } else if (opcode >= 0xa0 && opcode <= 0xa3) {  // MOV between the accumulator and an absolute address
    const bool store = opcode >= 0xa2;
    enc.memory_bytes = opcode & 1 ? step.in.operand_bytes : u8{1};
    enc.reg = {FieldKind::gpr, x86::rax, enc.memory_bytes, store, !store};
    enc.rm = {FieldKind::memory, 0, enc.memory_bytes, !store, store};
    enc.has_modrm = true;
    enc.hidden_memory = false;
    opcode = static_cast<u8>((store ? 0x88 : 0x8a) | (opcode & 1));
  } else {
    return is_64_bit_code(decoder, bytes, step);
  }
  return true;
}

// REP STOS and REP MOVS; another segment may have a base.
StepKind kind_of_string(const Step& step, StepKind kind) {
  const Instruction& in = step.in;
  const bool plain = step.word == 8 && in.address_bytes == 8 && in.rep && in.memory.segment < x86::fs;
  return plain ? kind : StepKind::outline;
}

StepKind kind_of(Step& step) {
  const Instruction& in = step.in;
  const bool far = in.operands[0].kind == OperandKind::far_pointer ||
                   (in.opcode == 0xff && ((in.modrm >> 3 & 7) == 3 || (in.modrm >> 3 & 7) == 5));
  if (nothing()[in.mnemonic]) return StepKind::nothing;
  if (branches()[in.mnemonic]) return in.operand_bytes == step.word ? StepKind::branch : StepKind::outline;
  const bool plain_memory = step.enc.rm.kind != FieldKind::memory || is_plain(step);
  const bool plain_stack = in.stack_bytes == step.word && in.operand_bytes == step.word;
  switch (in.mnemonic) {
    case M(LEA): return plain_memory && in.operand_bytes >= 4 ? StepKind::lea : StepKind::outline;
    case M(CLI): return StepKind::cli;
    case M(STI): return StepKind::sti;
    case M(SWAPGS): return StepKind::swapgs;
    case M(PAUSE): return StepKind::pause;
    case M(CLD): return StepKind::cld;
    case M(STD): return StepKind::std;
    case M(STAC): return StepKind::stac;
    case M(CLAC): return StepKind::clac;
    case M(RDTSC): return StepKind::rdtsc;
    case M(SYSCALL): return step.word == 8 ? StepKind::syscall : StepKind::outline;
    case M(SYSRET): return step.word == 8 && in.operand_bytes == 8 ? StepKind::sysret : StepKind::outline;
    case M(STOSB):
    case M(STOSW):
    case M(STOSD):
    case M(STOSQ): return kind_of_string(step, StepKind::rep_stos);
    case M(MOVSB):
    case M(MOVSW):
    case M(MOVSD):
    case M(MOVSQ): return in.rep ? kind_of_string(step, StepKind::rep_movs) : kind_of_copy(step);
    case M(MOV):
      return in.operands[0].kind == OperandKind::gpr && in.operands[1].kind == OperandKind::segment
                 ? StepKind::read_segment
                 : kind_of_copy(step);
    case M(FLDCW): return plain_memory ? StepKind::load_control : StepKind::outline;
    case M(PUSHFQ):
    case M(PUSHFD): return in.operand_prefix ? StepKind::outline : StepKind::push_flags;
    case M(PUSH):
      if (in.has_memory()) return plain_stack && plain_memory ? StepKind::push_memory : StepKind::outline;
      return plain_stack && general_operands_only(in) ? StepKind::push : StepKind::outline;
    case M(POP): return plain_stack && in.operands[0].kind == OperandKind::gpr ? StepKind::pop : StepKind::outline;
    case M(LEAVE): return in.operand_prefix ? StepKind::outline : StepKind::leave;
    case M(JMP):
      if (far || in.operand_prefix) return StepKind::outline;
      if (in.operands[0].kind == OperandKind::immediate) return StepKind::jump;
      return plain_memory ? StepKind::jump_indirect : StepKind::outline;
    case M(CALL):
      if (far || in.operand_prefix) return StepKind::outline;
      if (in.operands[0].kind == OperandKind::immediate) return StepKind::call;
      return plain_memory ? StepKind::call_indirect : StepKind::outline;
    case M(RET):
      return in.opcode == 0xc2 || in.opcode == 0xc3
                 ? (in.operand_prefix || in.immediate > most_released ? StepKind::outline : StepKind::ret)
                 : StepKind::outline;
    default: return kind_of_copy(step);
  }
}

#undef M

// Of two registers one may be memory: the slot, by the encoding with its operands the other way round (SDM vol. 2: bit 1 of the opcode).
void put_slot_in_rm(Encoding& enc) {
  const auto slot_in = [](const RegisterField& field) { return field.kind == FieldKind::gpr && is_slot(field.number); };
  if (enc.vex || enc.opcode_count != 1 || enc.rm.kind != FieldKind::gpr || slot_in(enc.rm) || !slot_in(enc.reg)) return;
  u8& opcode = enc.opcode[0];
  const bool arithmetic = opcode < 0x40 && (opcode & 5) == 1, move = (opcode & 0xfd) == 0x89, test = opcode == 0x85;
  if (!arithmetic && !move && !test) return;
  std::swap(enc.reg, enc.rm);
  if (!test) opcode ^= 2;
}

}  // namespace

RegisterField Step::destination() const {
  if (enc.rm.kind != FieldKind::none) return enc.rm.written || !enc.reg.written ? enc.rm : enc.reg;
  return {.kind = FieldKind::gpr, .number = x86::rax, .bytes = in.operand_bytes, .written = true};
}

RegisterField Step::source() const {
  if (enc.rm.kind == FieldKind::none) return {};
  return enc.rm.written || !enc.reg.written ? enc.reg : enc.rm;
}

void rename(Step& step, const std::array<u8, 16>& names) {
  const auto rename_one = [&](u8& gpr) { gpr = gpr < names.size() ? names[gpr] : gpr; };
  for (RegisterField* field : {&step.enc.reg, &step.enc.rm, &step.enc.vvvv, &step.enc.opcode_reg})
    if (field->kind == FieldKind::gpr) rename_one(field->number);
  rename_one(step.in.memory.base);
  rename_one(step.in.memory.index);
  for (u32* set : {&step.enc.gprs_read, &step.enc.gprs_written}) {
    u32 renamed = 0;
    for (unsigned gpr = 0; gpr < names.size(); ++gpr)
      if (*set & bit_of(gpr)) renamed |= bit_of(names[gpr]);
    *set = renamed;
  }
  step.recipe = recipe_of(step);
}

Step make_step(const Decoder& decoder, CodeMode mode, std::span<const u8> bytes, u16 offset) {
  Step step;
  step.offset = offset;
  step.word = mode == CodeMode::long64 ? 8 : 4;
  if (decoder.decode(mode, bytes, step.in) != DecodeStatus::ok) {
    step.in.length = 1;
    return step;
  }
  if (!decoder.describe(mode, bytes, step.enc)) return step;
  // F3 90 with REX.B: described as PAUSE, see Decoder.
  if (step.in.mnemonic == ZYDIS_MNEMONIC_XCHG && step.enc.opcode_reg.kind == FieldKind::none && !step.enc.has_modrm)
    return step;
  if (step.word == 4 && !to_64_bit_encoding(decoder, bytes, step)) return step;
  if (interpreter::host_keeps_flags && keeps_flags()[step.in.mnemonic])
    step.enc.flags_read |= static_cast<u32>(rflags::status);
  put_slot_in_rm(step.enc);
  step.kind = kind_of(step);
  step.recipe = recipe_of(step);
  if (step.kind != StepKind::outline) step.x87 = x87_of(step);
  return step;
}

}  // namespace doppel::translator
