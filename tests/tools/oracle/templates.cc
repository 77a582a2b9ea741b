#include "templates.h"

#include <algorithm>
#include <array>

#include "engine/interpreter/bind.h"

namespace doppel::oracle {

using namespace x86;

namespace {

constexpr std::array<u8, 4> prefixes{0, 0x66, 0xf2, 0xf3};

u8 vex_pp(u8 prefix) { return prefix == 0x66 ? 1 : prefix == 0xf3 ? 2 : prefix == 0xf2 ? 3 : 0; }

// No register above 7, vvvv as given (inverted: 15 names the first, or none).
std::vector<u8> vex_skeleton(const Template& t, u8 inverted_vvvv) {
  std::vector<u8> bytes{0xc4, static_cast<u8>(0xe0 | t.map),
                        static_cast<u8>((t.wide ? 0x80 : 0) | inverted_vvvv << 3 | (t.l ? 4 : 0) | vex_pp(t.prefix)),
                        t.opcode, static_cast<u8>((t.memory ? 0x00 : 0xc0) | t.reg << 3 | t.rm)};
  if (t.vsib) bytes.push_back(0x08);  // [eax + xmm1]
  bytes.resize(15);
  return bytes;
}

std::vector<u8> skeleton(const Template& t, bool long64) {
  if (t.vex) return vex_skeleton(t, 15);
  std::vector<u8> bytes;
  if (t.prefix) bytes.push_back(t.prefix);
  if (t.wide && long64) bytes.push_back(0x48);
  if (t.map >= 1) bytes.push_back(0x0f);
  if (t.map == 2) bytes.push_back(0x38);
  if (t.map == 3) bytes.push_back(0x3a);
  bytes.push_back(t.opcode);
  bytes.push_back(static_cast<u8>((t.memory ? 0x00 : 0xc0) | t.reg << 3 | t.rm));
  bytes.resize(15);
  return bytes;
}

bool is_prefix_byte(u8 map, u8 opcode, bool long64) {
  if (map != 0) return map == 1 && (opcode == 0x38 || opcode == 0x3a);
  if (long64 && (opcode & 0xf0) == 0x40) return true;
  for (u8 byte : {0x0f, 0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf0, 0xf2, 0xf3})
    if (opcode == byte) return true;
  return false;
}

// Forms of checked rows that load CS or a data segment register: MOV Sreg, POP Sreg, far JMP, CALL and RET. tests/guest has them.
bool loads_segment(const Template& t) {
  if (t.map == 1) return t.opcode == 0xa1 || t.opcode == 0xa9;
  if (t.map != 0) return false;
  switch (t.opcode) {
    case 0x07:
    case 0x17:
    case 0x1f:
    case 0x8e:
    case 0x9a:
    case 0xca:
    case 0xcb:
    case 0xea: return true;
    case 0xff: return t.reg == 3 || t.reg == 5;
    default: return false;
  }
}

// Its memory operand must have a SIB byte, and its index is a vector register.
bool is_gather(const Decoder& decoder, CodeMode mode, Template t) {
  Instruction instruction;
  if (decoder.decode(mode, vex_skeleton(t, 15), instruction) != DecodeStatus::ok) return false;
  t.vsib = false;
  t.rm = 0;
  return decoder.decode(mode, vex_skeleton(t, 15), instruction) != DecodeStatus::ok;
}

}  // namespace

std::vector<Row> find_rows(const Decoder& decoder, CodeMode mode) {
  const bool long64 = mode == CodeMode::long64;
  std::map<Mnemonic, Row> rows;
  Template t{};
  const auto consider = [&] {
    Instruction instruction;
    if (decoder.decode(mode, skeleton(t, long64), instruction) != DecodeStatus::ok) return;
    if (instruction.opcode != t.opcode || instruction.opcode_map != t.map) return;
    if (!t.vex && loads_segment(t)) return;
    if (t.vex != instruction.vex.present) return;
    Instruction other;
    t.has_vvvv = t.vex && decoder.decode(mode, vex_skeleton(t, 9), other) == DecodeStatus::ok;
    Row& row = rows[instruction.mnemonic];
    row.mnemonic = instruction.mnemonic;
    row.templates.push_back(t);
  };
  for (u8 map = 0; map < 4; ++map)
    for (unsigned opcode = 0; opcode < 256; ++opcode) {
      if (is_prefix_byte(map, static_cast<u8>(opcode), long64)) continue;
      for (u8 prefix : prefixes)
        for (unsigned wide = 0; wide < (long64 ? 2u : 1u); ++wide)
          for (u8 reg = 0; reg < 8; ++reg) {
            t = {prefix, wide != 0, map, static_cast<u8>(opcode), reg, 0, true};
            consider();
            for (t.memory = false, t.rm = 0; t.rm < 8; ++t.rm) consider();
          }
    }
  const auto consider_vex = [&](const Template& encoding) {
    for (u8 reg = 0; reg < 8; ++reg) {
      t = encoding;
      t.reg = reg;
      t.memory = true;
      consider();
      t.vsib = true;
      t.rm = 4;
      if (is_gather(decoder, mode, t)) consider();
      t.vsib = t.memory = false;
      for (t.rm = 0; t.rm < 8; ++t.rm) consider();
    }
  };
  for (u8 map = 1; map < 4; ++map)
    for (unsigned opcode = 0; opcode < 256; ++opcode)
      for (u8 prefix : prefixes)
        for (unsigned bits = 0; bits < 4; ++bits)
          consider_vex({.prefix = prefix,
                        .wide = (bits & 1) != 0,
                        .map = map,
                        .opcode = static_cast<u8>(opcode),
                        .reg = 0,
                        .rm = 0,
                        .memory = true,
                        .vex = true,
                        .l = (bits & 2) != 0});
  std::vector<Row> result;
  for (auto& [mnemonic, row] : rows) {
    row.name = mnemonic_name(mnemonic);
    result.push_back(std::move(row));
  }
  return result;
}

std::string_view not_checked(Mnemonic mnemonic) {
  switch (mnemonic) {
    case ZYDIS_MNEMONIC_CPUID:
    case ZYDIS_MNEMONIC_RDTSC:
    case ZYDIS_MNEMONIC_RDTSCP:
    case ZYDIS_MNEMONIC_RDPMC:
    case ZYDIS_MNEMONIC_RDRAND:
    case ZYDIS_MNEMONIC_RDSEED:
    case ZYDIS_MNEMONIC_XGETBV:
    case ZYDIS_MNEMONIC_XSAVE:
    case ZYDIS_MNEMONIC_XSAVE64:
    case ZYDIS_MNEMONIC_XSAVEC:
    case ZYDIS_MNEMONIC_XSAVEC64:
    case ZYDIS_MNEMONIC_XSAVEOPT:
    case ZYDIS_MNEMONIC_XSAVEOPT64:
    case ZYDIS_MNEMONIC_XRSTOR:
    case ZYDIS_MNEMONIC_XRSTOR64: return "the result is the machine's own";
    case ZYDIS_MNEMONIC_LAR:
    case ZYDIS_MNEMONIC_LSL:
    case ZYDIS_MNEMONIC_VERR:
    case ZYDIS_MNEMONIC_VERW:
    case ZYDIS_MNEMONIC_LDS:
    case ZYDIS_MNEMONIC_LES:
    case ZYDIS_MNEMONIC_LFS:
    case ZYDIS_MNEMONIC_LGS:
    case ZYDIS_MNEMONIC_LSS:
    case ZYDIS_MNEMONIC_SGDT:
    case ZYDIS_MNEMONIC_SIDT:
    case ZYDIS_MNEMONIC_SLDT:
    case ZYDIS_MNEMONIC_SMSW:
    case ZYDIS_MNEMONIC_STR: return "depends on the system's descriptor tables: tests/guest";
    case ZYDIS_MNEMONIC_INT:
    case ZYDIS_MNEMONIC_INT1:
    case ZYDIS_MNEMONIC_INT3:
    case ZYDIS_MNEMONIC_INTO:
    case ZYDIS_MNEMONIC_WRFSBASE:
    case ZYDIS_MNEMONIC_WRGSBASE:
    case ZYDIS_MNEMONIC_IRET:
    case ZYDIS_MNEMONIC_IRETD:
    case ZYDIS_MNEMONIC_IRETQ:
    case ZYDIS_MNEMONIC_SYSCALL:
    case ZYDIS_MNEMONIC_SYSENTER:
    case ZYDIS_MNEMONIC_SYSEXIT:
    case ZYDIS_MNEMONIC_SYSRET:
    case ZYDIS_MNEMONIC_POPF:
    case ZYDIS_MNEMONIC_POPFD:
    case ZYDIS_MNEMONIC_POPFQ: return "enters or changes the system: tests/guest";
    case ZYDIS_MNEMONIC_PUSHF:
    case ZYDIS_MNEMONIC_PUSHFD:
    case ZYDIS_MNEMONIC_PUSHFQ: return "shows the trap flag that steps it: tests/guest";
    default: return "";
  }
}

}  // namespace doppel::oracle
