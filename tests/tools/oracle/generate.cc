#include "generate.h"

#include <algorithm>
#include <array>
#include <cstring>

namespace doppel::oracle {

using namespace x86;

namespace {

template <class T, std::size_t n>
T pick(Random& random, const T (&choices)[n]) {
  return choices[random.below(n)];
}

// ---- values ----

constexpr u64 edges[] = {0,
                         1,
                         2,
                         3,
                         7,
                         8,
                         0x0f,
                         0x10,
                         0x3f,
                         0x40,
                         0x7f,
                         0x80,
                         0xff,
                         0x100,
                         0x7fff,
                         0x8000,
                         0xffff,
                         0x10000,
                         0x7fff'ffff,
                         0x8000'0000,
                         0xffff'ffff,
                         0x1'0000'0000,
                         0x7fff'ffff'ffff'ffff,
                         0x8000'0000'0000'0000,
                         0xffff'ffff'ffff'ffff,
                         0xffff'ffff'ffff'fffe,
                         0x5555'5555'5555'5555,
                         0xaaaa'aaaa'aaaa'aaaa,
                         0x9999'9999'9999'9999};
constexpr u32 floats[] = {0,           0x8000'0000, 0x3f80'0000, 0xbf80'0000, 0x7f80'0000, 0xff80'0000, 0x7fc0'0000,
                          0xffc1'2345, 0x7fa0'0000, 0xff80'0001, 1,           0x807f'ffff, 0x0080'0000, 0x7f7f'ffff,
                          0xff7f'ffff, 0x4f00'0000, 0xcf00'0000, 0x5f00'0000, 0x3f00'0000, 0x4b00'0001, 0x3fc0'0000};
constexpr u64 doubles[] = {0,
                           0x8000'0000'0000'0000,
                           0x3ff0'0000'0000'0000,
                           0xbff0'0000'0000'0000,
                           0x7ff0'0000'0000'0000,
                           0xfff0'0000'0000'0000,
                           0x7ff8'0000'0000'0000,
                           0xfff8'0000'1234'5678,
                           0x7ff4'0000'0000'0000,
                           0xfff0'0000'0000'0001,
                           1,
                           0x800f'ffff'ffff'ffff,
                           0x0010'0000'0000'0000,
                           0x7fef'ffff'ffff'ffff,
                           0x41e0'0000'0000'0000,
                           0xc1e0'0000'0020'0000,
                           0x43e0'0000'0000'0000,
                           0x3fe0'0000'0000'0000,
                           0x4340'0000'0000'0001,
                           0x3690'0000'0000'0000,
                           0x47ef'ffff'ffff'ffff};

u64 integer_value(Random& random) {
  switch (random.below(4)) {
    case 0: return pick(random, edges);
    case 1: return random.next() >> random.below(64);
    case 2: return ~(random.next() >> random.below(64));
    default: return random.next();
  }
}
u32 float_value(Random& random) { return random.chance(50) ? pick(random, floats) : static_cast<u32>(random.next()); }
u64 double_value(Random& random) {
  if (random.chance(40)) return pick(random, doubles);
  if (random.chance(50))
    return Bits<52, 11>::set(random.next(), 0x3ff - 40 + random.below(80));  // magnitudes that meet
  return random.next();
}
u64 vector_half(Random& random) {
  switch (random.below(3)) {
    case 0: return integer_value(random);
    case 1: return u64{float_value(random)} << 32 | float_value(random);
    default: return double_value(random);
  }
}

struct Extended {
  u64 significand;
  u16 sign_exponent;
};
constexpr Extended extendeds[] = {{0, 0},
                                  {0, 0x8000},
                                  {u64{1} << 63, 0x3fff},
                                  {u64{1} << 63, 0xbfff},
                                  {u64{1} << 63, 0x7fff},
                                  {u64{1} << 63, 0xffff},
                                  {u64{3} << 62, 0x7fff},
                                  {u64{3} << 62, 0xffff},
                                  {u64{5} << 61, 0x7fff},
                                  {1, 0},
                                  {u64{1} << 62, 0x8000},
                                  {u64{1} << 63, 0},
                                  {u64{1} << 62, 0x3fff},
                                  {0, 0x3fff},
                                  {0, 0x7fff},
                                  {u64{1} << 63, 1},
                                  {~u64{0}, 0x7ffe},
                                  {0xc90f'daa2'2168'c235, 0x4000},
                                  {u64{1} << 63, 0x403e},
                                  {u64{1} << 63, 0xc03e},
                                  {~u64{0}, 0x3ffe}};

Extended extended_value(Random& random) {
  if (random.chance(35)) return pick(random, extendeds);
  const u16 sign = random.chance(50) ? 0x8000 : 0;
  if (random.chance(70))
    return {random.next() | u64{1} << 63, static_cast<u16>(sign | (0x3fff - 70 + random.below(140)))};
  if (random.chance(50)) return {random.next() | u64{1} << 63, static_cast<u16>(sign | random.below(0x7fff))};
  return {random.next(), static_cast<u16>(random.next())};
}

void put(std::array<u8, 512>& image, unsigned at, const auto& value) { std::memcpy(&image[at], &value, sizeof(value)); }

void draw_fpu(Random& random, std::array<u8, 512>& image) {
  image.fill(0);
  constexpr u16 all_masked = 0x3f;
  const u16 precision = pick(random, {u16{0x000}, u16{0x200}, u16{0x300}, u16{0x300}, u16{0x300}});
  const u16 masks = random.chance(80) ? all_masked : static_cast<u16>(random.next() & 0x3f);
  const auto control = static_cast<u16>(0x40 | precision | random.below(4) << 10 | masks);
  const auto flags = static_cast<u16>(random.chance(70) ? 0 : random.next() & 0x7f);
  auto status = static_cast<u16>(flags | (random.next() & 0x4700) | random.below(8) << 11);
  if (flags & ~control & 0x3f) status |= 0x8080;  // an unmasked error is pending: ES and B
  put(image, fx::fcw, control);
  put(image, fx::fsw, status);
  image[fx::tags] = random.chance(60) ? 0xff : static_cast<u8>(random.next());
  for (unsigned i = 0; i < 8; ++i) {
    const Extended value = extended_value(random);
    put(image, fx::st0 + 16 * i, value.significand);
    put(image, fx::st0 + 16 * i + 8, value.sign_exponent);
  }
  const u32 simd_masks = random.chance(80) ? 0x1f80 : static_cast<u32>(random.next() & 0x1f80);
  const u32 modes = random.chance(60) ? static_cast<u32>(random.below(4) << 13)
                                      : static_cast<u32>(random.next() & 0xe040);
  const u32 sticky = random.chance(70) ? 0 : static_cast<u32>(random.next() & 0x3f);
  put(image, fx::mxcsr, simd_masks | modes | sticky);
  for (unsigned i = 0; i < 32; ++i) put(image, fx::xmm0 + 8 * i, vector_half(random));
}

// ---- addresses ----

// Somewhere in the data area; sometimes at its edges, on the read-only page or past it.
u64 data_address(Random& random) {
  const u64 middle = data_base + 64 + random.below(data_bytes - 320);
  switch (random.below(24)) {
    case 0: return data_base + random.below(8);
    case 1: return read_only_base - random.below(16);
    case 2: return read_only_base + random.below(read_only_bytes);
    case 3: return read_only_base + read_only_bytes - random.below(16);
    case 4: return data_base + 0x1000 - random.below(16);
    case 5: return middle;
    default: return middle & ~u64{15};
  }
}

bool is_gather(const Instruction& instruction) {
  switch (instruction.mnemonic) {
    case ZYDIS_MNEMONIC_VGATHERDPS:
    case ZYDIS_MNEMONIC_VGATHERDPD:
    case ZYDIS_MNEMONIC_VGATHERQPS:
    case ZYDIS_MNEMONIC_VGATHERQPD:
    case ZYDIS_MNEMONIC_VPGATHERDD:
    case ZYDIS_MNEMONIC_VPGATHERDQ:
    case ZYDIS_MNEMONIC_VPGATHERQD:
    case ZYDIS_MNEMONIC_VPGATHERQQ: return true;
    default: return false;
  }
}

bool has_dword_indices(Mnemonic m) {
  return m == ZYDIS_MNEMONIC_VGATHERDPS || m == ZYDIS_MNEMONIC_VGATHERDPD || m == ZYDIS_MNEMONIC_VPGATHERDD ||
         m == ZYDIS_MNEMONIC_VPGATHERDQ;
}

// Indices near zero, of either sign; now and then anything.
void aim_gather(Drawn& drawn, Random& random) {
  if (random.chance(5)) return;
  const u8 index = drawn.instruction.memory.index;
  const auto small = [&] { return random.below(64) - 32; };
  u64 words[4];
  for (u64& word : words)
    word = has_dword_indices(drawn.instruction.mnemonic) ? static_cast<u32>(small()) | small() << 32 : small();
  Registers& registers = drawn.c.registers;
  std::memcpy(&registers.fx[fx::xmm0 + 16 * index], words, 16);
  std::memcpy(&registers.ymm_high[2 * index], words + 2, 16);
}

void aim_memory(const MemoryOperand& memory, u64 target, bool gs, Drawn& drawn, Random& random,
                unsigned displacement_at, unsigned displacement_bytes) {
  if (gs) target -= user_gs_base;
  auto& gpr = drawn.c.registers.gpr;
  u64 offset = static_cast<u64>(memory.displacement);
  if (is_gather(drawn.instruction)) {
    aim_gather(drawn, random);
  } else if (memory.index != MemoryOperand::none) {
    // RSP stays a place for a stack: some hypervisors take no other.
    const bool small = memory.base == rsp || random.chance(70);
    if (memory.index != memory.base) gpr[memory.index] = small ? random.below(64) : integer_value(random);
    offset += gpr[memory.index] << memory.scale;
  }
  if (memory.base < 16) {
    const bool same = memory.index == memory.base && !is_gather(drawn.instruction);
    gpr[memory.base] = same ? (target - static_cast<u64>(memory.displacement)) >> memory.scale : target - offset;
    return;
  }
  if (displacement_bytes != 4) return;  // 16-bit addressing never reaches the data
  u64 displacement = target - (offset - static_cast<u64>(memory.displacement));
  if (memory.base == MemoryOperand::rip) displacement -= drawn.c.registers.rip + drawn.c.code_length;
  const auto patched = static_cast<u32>(displacement);
  std::memcpy(&drawn.c.code[displacement_at], &patched, 4);
}

// ---- encodings ----

struct Encoding {
  unsigned displacement_at = 0, displacement_bytes = 0;
  bool gs = false;
};

// In 32-bit code R and X are fixed (else it would be LES or LDS), B and the upper bit of vvvv mean nothing.
void add_vex(const Template& t, bool long64, Random& random, auto add) {
  const u8 pp = t.prefix == 0x66 ? 1 : t.prefix == 0xf3 ? 2 : t.prefix == 0xf2 ? 3 : 0;
  const u64 vvvv = t.has_vvvv ? random.below(16) | (long64 ? 0 : 8) : 15;
  const u64 rest = vvvv << 3 | (t.l ? 4 : 0) | pp;
  const u64 inverted_r = long64 && random.chance(40) ? 0 : 0x80;
  if (t.map == 1 && !t.wide && random.chance(50)) {
    add(0xc5);
    add(inverted_r | rest);
    return;
  }
  const u64 inverted_xb = long64 && random.chance(40) ? random.below(4) << 5 : 0x60;
  add(0xc4);
  add(inverted_r | inverted_xb | t.map);
  add((t.wide ? 0x80 : 0) | rest);
}

void add_legacy(const Template& t, bool long64, Random& random, auto add) {
  if (t.prefix) add(t.prefix);
  const u8 rex = static_cast<u8>((t.wide ? 8 : 0) | (random.chance(40) ? random.below(8) : 0));
  if (long64 && (t.wide || rex || random.chance(10))) add(0x40 | rex);
  if (t.map >= 1) add(0x0f);
  if (t.map == 2) add(0x38);
  if (t.map == 3) add(0x3a);
}

Encoding encode(const Template& t, bool long64, Random& random, Case& c) {
  Encoding encoding;
  unsigned n = 0;
  const auto add = [&](u64 byte) { c.code[n++] = static_cast<u8>(byte); };
  encoding.gs = long64 && random.chance(3);
  if (encoding.gs) add(0x65);
  if (t.memory && !t.vex && random.chance(4)) add(0xf0);
  const bool string = t.map == 0 && ((t.opcode >= 0xa4 && t.opcode <= 0xa7) || (t.opcode >= 0xaa && t.opcode <= 0xaf));
  if (string && !t.prefix && random.chance(60)) add(random.chance(60) ? 0xf3 : 0xf2);
  if (long64 && random.chance(5)) add(0x67);
  if (t.vex)
    add_vex(t, long64, random, add);
  else
    add_legacy(t, long64, random, add);
  add(t.opcode);
  if (!t.memory) {
    add(0xc0 | t.reg << 3 | t.rm);
  } else {
    const u64 mod = random.below(3), rm = t.vsib ? 4 : random.below(8);
    add(mod << 6 | u64{t.reg} << 3 | rm);
    u64 base = rm;
    if (rm == 4) {
      const u64 sib = random.next() & 0xff;
      add(sib);
      base = sib & 7;
    }
    encoding.displacement_at = n;
    encoding.displacement_bytes = mod == 1 ? 1 : mod == 2 || base == 5 ? 4 : 0;
  }
  while (n < c.code.size()) add(random.chance(30) ? pick(random, edges) : random.next());
  if (encoding.displacement_bytes == 4 && random.chance(80)) {  // small, so that base registers stay plausible
    const auto small = static_cast<i32>(random.below(512)) - 256;
    std::memcpy(&c.code[encoding.displacement_at], &small, 4);
  }
  return encoding;
}

void patch(Case& c, u64 address, u64 value) {
  if (address < data_base || address > data_base + data_bytes - 8 || c.patch_count >= c.patch_offset.size()) return;
  c.patch_offset[c.patch_count] = static_cast<u16>(address - data_base);
  c.patch_value[c.patch_count++] = value;
}

u64 branch_target(Random& random) {
  return random.chance(50) ? code_base + random.below(code_bytes) : random.next() >> 33;
}

// ---- what particular instructions need ----

bool is_string(Mnemonic m) {
  switch (m) {
    case ZYDIS_MNEMONIC_MOVSB:
    case ZYDIS_MNEMONIC_MOVSW:
    case ZYDIS_MNEMONIC_MOVSD:
    case ZYDIS_MNEMONIC_MOVSQ:
    case ZYDIS_MNEMONIC_STOSB:
    case ZYDIS_MNEMONIC_STOSW:
    case ZYDIS_MNEMONIC_STOSD:
    case ZYDIS_MNEMONIC_STOSQ:
    case ZYDIS_MNEMONIC_LODSB:
    case ZYDIS_MNEMONIC_LODSW:
    case ZYDIS_MNEMONIC_LODSD:
    case ZYDIS_MNEMONIC_LODSQ:
    case ZYDIS_MNEMONIC_SCASB:
    case ZYDIS_MNEMONIC_SCASW:
    case ZYDIS_MNEMONIC_SCASD:
    case ZYDIS_MNEMONIC_SCASQ:
    case ZYDIS_MNEMONIC_CMPSB:
    case ZYDIS_MNEMONIC_CMPSW:
    case ZYDIS_MNEMONIC_CMPSD:
    case ZYDIS_MNEMONIC_CMPSQ: return true;
    default: return false;
  }
}

bool is_division(Mnemonic m) { return m == ZYDIS_MNEMONIC_DIV || m == ZYDIS_MNEMONIC_IDIV; }
bool is_bit_test(Mnemonic m) {
  return m == ZYDIS_MNEMONIC_BT || m == ZYDIS_MNEMONIC_BTS || m == ZYDIS_MNEMONIC_BTR || m == ZYDIS_MNEMONIC_BTC;
}

void prepare(Drawn& drawn, u64 target, Random& random) {
  auto& gpr = drawn.c.registers.gpr;
  const Instruction& instruction = drawn.instruction;
  const Mnemonic m = instruction.mnemonic;
  if (is_string(m) && instruction.operand_count == 0) {
    gpr[rsi] = data_address(random);
    gpr[rdi] = random.chance(20) ? gpr[rsi] + random.below(16) - 8 : data_address(random);
    gpr[rcx] = random.below(24);
    drawn.c.repeats = instruction.rep || instruction.repne;
  }
  if (is_division(m) && random.chance(75)) gpr[rdx] = random.chance(70) ? 0 : random.below(256);
  if (is_bit_test(m) && instruction.operands[1].kind == OperandKind::gpr && instruction.has_memory()) {
    const u8 offset = instruction.operands[1].index;
    if (offset != instruction.memory.base && offset != instruction.memory.index) gpr[offset] = random.below(400) - 100;
  }
  drawn.c.repeats |= is_gather(instruction);  // single-stepping may stop at an element that is about to fault
  switch (m) {
    case ZYDIS_MNEMONIC_CMPXCHG:
      if (instruction.has_memory() && random.chance(50)) patch(drawn.c, target, gpr[rax]);
      break;
    case ZYDIS_MNEMONIC_CMPXCHG8B:
      if (random.chance(50)) patch(drawn.c, target, gpr[rdx] << 32 | static_cast<u32>(gpr[rax]));
      break;
    case ZYDIS_MNEMONIC_CMPXCHG16B:
      if (random.chance(50)) {
        patch(drawn.c, target, gpr[rax]);
        patch(drawn.c, target + 8, gpr[rdx]);
      }
      break;
    case ZYDIS_MNEMONIC_VLDMXCSR:
    case ZYDIS_MNEMONIC_LDMXCSR:  // bit 17 is reserved here and AMD's misaligned mode there
      patch(drawn.c, target, random.next() & (random.chance(20) ? ~(u64{1} << 17) : 0xffff'ffff'0000'ffff));
      break;
    case ZYDIS_MNEMONIC_FXRSTOR:
    case ZYDIS_MNEMONIC_FXRSTOR64:
      patch(drawn.c, target + fx::mxcsr, random.next() & (random.chance(20) ? ~(u64{1} << 17) : 0xffff));
      break;
    case ZYDIS_MNEMONIC_XLAT: gpr[rbx] = data_address(random); break;
    case ZYDIS_MNEMONIC_VMASKMOVDQU:
    case ZYDIS_MNEMONIC_MASKMOVDQU:
    case ZYDIS_MNEMONIC_MASKMOVQ:
      gpr[rdi] = data_base + random.below(data_bytes - 16);
      break;  // faults of unselected bytes may differ
    case ZYDIS_MNEMONIC_RET: patch(drawn.c, gpr[rsp], branch_target(random)); break;
    case ZYDIS_MNEMONIC_LOOP:
    case ZYDIS_MNEMONIC_LOOPE:
    case ZYDIS_MNEMONIC_LOOPNE:
    case ZYDIS_MNEMONIC_JRCXZ:
    case ZYDIS_MNEMONIC_JECXZ:
    case ZYDIS_MNEMONIC_JCXZ: gpr[rcx] = random.chance(70) ? random.below(3) : integer_value(random); break;
    case ZYDIS_MNEMONIC_JMP:
    case ZYDIS_MNEMONIC_CALL:
      if (instruction.has_memory()) patch(drawn.c, target, branch_target(random));
      if (instruction.operands[0].kind == OperandKind::gpr) gpr[instruction.operands[0].index] = branch_target(random);
      break;
    default: break;
  }
}

// Encodings that this CPU model and the host may rightly treat differently.
bool differs_between_processors(const Drawn& drawn) {
  const Instruction& instruction = drawn.instruction;
  const auto bytes = std::span(drawn.c.code).first(instruction.length);
  const auto has_prefix = [&](u8 prefix) {
    return std::find(bytes.begin(), bytes.end() - 1, prefix) != bytes.end() - 1;
  };
  switch (instruction.mnemonic) {
    case ZYDIS_MNEMONIC_BSF:
    case ZYDIS_MNEMONIC_BSR: return has_prefix(0xf3);  // TZCNT, LZCNT on a host that has them
    case ZYDIS_MNEMONIC_LOOPE:
    case ZYDIS_MNEMONIC_LOOPNE:
      if (has_prefix(0xf2) || has_prefix(0xf3)) return true;  // reserved
      break;
    case ZYDIS_MNEMONIC_VMASKMOVDQU:
    case ZYDIS_MNEMONIC_MASKMOVDQU:
    case ZYDIS_MNEMONIC_MASKMOVQ: return has_prefix(0x65);          // their address is chosen for the data segment
    case ZYDIS_MNEMONIC_CVTPI2PS: return instruction.has_memory();  // whether this form enters MMX state
    case ZYDIS_MNEMONIC_NOP:
      return instruction.opcode_map == 1 && instruction.opcode == 0x0d;  // PREFETCH with a register: #UD on AMD
    default: break;
  }
  const bool branches = instruction.operand_count > 0 && instruction.operands[0].kind == OperandKind::immediate &&
                        ((instruction.opcode_map == 0 &&
                          ((instruction.opcode & 0xf0) == 0x70 || (instruction.opcode & 0xf4) == 0xe0 ||
                           instruction.opcode == 0xe8 || instruction.opcode == 0xe9 || instruction.opcode == 0xeb)) ||
                         (instruction.opcode_map == 1 && (instruction.opcode & 0xf0) == 0x80));
  const bool returns = instruction.mnemonic == ZYDIS_MNEMONIC_RET;
  const bool indirect = instruction.opcode_map == 0 && instruction.opcode == 0xff &&
                        (instruction.modrm >> 3 & 7) >= 2 && (instruction.modrm >> 3 & 7) <= 4;
  // The operand-size prefix on a near branch in 64-bit mode: ignored by Intel, 16 bits on AMD.
  return !drawn.c.compat32 && (branches || returns || indirect) && has_prefix(0x66);
}

// Instructions that the stack's, a branch's or the register file's width is part of.
bool follows_code_width(const Instruction& instruction) {
  if (instruction.operands[0].kind == OperandKind::immediate) return true;
  switch (instruction.mnemonic) {
    case ZYDIS_MNEMONIC_PUSH:
    case ZYDIS_MNEMONIC_POP:
    case ZYDIS_MNEMONIC_CALL:
    case ZYDIS_MNEMONIC_JMP:
    case ZYDIS_MNEMONIC_RET:
    case ZYDIS_MNEMONIC_ENTER:
    case ZYDIS_MNEMONIC_LEAVE:
    case ZYDIS_MNEMONIC_FXSAVE:
    case ZYDIS_MNEMONIC_FXRSTOR:
    case ZYDIS_MNEMONIC_VZEROALL:
    case ZYDIS_MNEMONIC_VZEROUPPER: return true;
    default: return false;
  }
}

// Whether 64-bit mode has the same instruction with the same operands behind an address-size prefix.
bool same_in_64_bit_mode(const Decoder& decoder, const Drawn& drawn) {
  const Instruction& in_32 = drawn.instruction;
  if (follows_code_width(in_32)) return false;
  std::array<u8, 17> code{0x67};
  std::copy(drawn.c.code.begin(), drawn.c.code.end(), code.begin() + 1);
  Instruction in_64;
  if (decoder.decode(CodeMode::long64, std::span(code).first(15), in_64) != DecodeStatus::ok) return false;
  if (in_64.mnemonic != in_32.mnemonic || in_64.length != in_32.length + 1 || in_64.immediate != in_32.immediate)
    return false;
  // VEX.W is part of the opcode, unless it gives the width of hidden general registers.
  const bool width_matters = !in_32.vex.present || in_32.mnemonic == ZYDIS_MNEMONIC_VPCMPESTRI ||
                             in_32.mnemonic == ZYDIS_MNEMONIC_VPCMPESTRM;
  if (width_matters && in_64.operand_bytes != in_32.operand_bytes) return false;
  for (unsigned i = 0; i < 4; ++i) {
    const Operand &a = in_32.operands[i], &b = in_64.operands[i];
    if (a.kind != b.kind || a.index != b.index || a.bytes != b.bytes || a.kind == OperandKind::segment) return false;
  }
  const MemoryOperand &a = in_32.memory, &b = in_64.memory;
  return a.base == b.base && a.index == b.index && a.scale == b.scale && a.address_bytes == b.address_bytes &&
         a.displacement == b.displacement;
}

u64 draw_flags(Random& random) {
  constexpr u64 always = 0x202;  // IF and the fixed bit
  return always | (random.next() & (rflags::status | rflags::df));
}

}  // namespace

std::optional<Drawn> draw(const Decoder& decoder, CodeMode mode, const Row& row, Random& random, bool native_in_64) {
  const bool long64 = mode == CodeMode::long64;
  Drawn drawn{};
  Case& c = drawn.c;
  c.compat32 = !long64;
  const Encoding encoding = encode(row.templates[random.below(row.templates.size())], long64, random, c);
  if (decoder.decode(mode, c.code, drawn.instruction, &drawn.effects) != DecodeStatus::ok) return std::nullopt;
  const Instruction& instruction = drawn.instruction;
  if (instruction.mnemonic != row.mnemonic || differs_between_processors(drawn)) return std::nullopt;
  c.code_length = instruction.length;

  Registers& registers = c.registers;
  for (u64& value : registers.gpr) value = random.chance(25) ? data_address(random) : integer_value(random);
  registers.gpr[rsp] = data_base + 512 + (random.below(data_bytes - 1024) & ~u64{random.chance(90) ? 7u : 0u});
  registers.gpr[rbp] = data_base + 512 + (random.below(data_bytes - 1024) & ~u64{7});
  if (!long64)
    for (unsigned i = 0; i < 16; ++i) registers.gpr[i] = i < 8 ? static_cast<u32>(registers.gpr[i]) : 0;
  const u64 crossing = code_base + 0x1000 - random.below(instruction.length);
  registers.rip = random.chance(3) ? crossing : code_base + 16 + random.below(code_bytes - 64);
  registers.rflags = draw_flags(random);
  draw_fpu(random, registers.fx);
  for (u64& value : registers.ymm_high) value = random.chance(25) ? 0 : vector_half(random);
  c.data_seed = static_cast<u32>(random.next());

  const u64 target = data_address(random);
  if (instruction.has_memory())
    aim_memory(instruction.memory, target, encoding.gs, drawn, random, encoding.displacement_at,
               encoding.displacement_bytes);
  if (!long64)
    for (u64& value : registers.gpr) value = static_cast<u32>(value);
  prepare(drawn, target, random);
  if (!long64)
    for (u64& value : registers.gpr) value = static_cast<u32>(value);
  Instruction again;  // a displacement was patched
  if (decoder.decode(mode, c.code, again) != DecodeStatus::ok || again.length != instruction.length)
    return std::nullopt;
  drawn.instruction = again;
  c.native_in_64 = !long64 && native_in_64;
  if (c.native_in_64 && !same_in_64_bit_mode(decoder, drawn)) return std::nullopt;
  return drawn;
}

u64 operand_offset(const Drawn& drawn) {
  const MemoryOperand& memory = drawn.instruction.memory;
  const Registers& registers = drawn.c.registers;
  u64 offset = static_cast<u64>(memory.displacement);
  if (memory.base < 16) offset += registers.gpr[memory.base];
  if (memory.base == MemoryOperand::rip) offset += registers.rip + drawn.c.code_length;
  if (memory.index < 16) offset += registers.gpr[memory.index] << memory.scale;
  return memory.address_bytes == 4 ? static_cast<u32>(offset) : offset;
}

u64 operand_address(const Drawn& drawn) {
  const auto first = drawn.c.code.begin();
  const bool gs = !drawn.c.compat32 && std::find(first, first + 2, 0x65) != first + 2;
  return operand_offset(drawn) + (gs ? user_gs_base : 0);
}

std::vector<u8> make_pool(u64 seed) {
  Random random(seed);
  std::vector<u8> pool(pool_bytes);
  for (u64 at = 0; at < pool_bytes; at += 16) {
    const Extended extended = extended_value(random);
    u64 words[2] = {vector_half(random), vector_half(random)};
    if (random.chance(20)) {
      words[0] = extended.significand;
      words[1] = extended.sign_exponent;
    }
    std::memcpy(&pool[at], words, 16);
  }
  return pool;
}

}  // namespace doppel::oracle
