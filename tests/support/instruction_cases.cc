#include "support/instruction_cases.h"

#include <algorithm>

namespace doppel::testing {
namespace {

u64 flags_named(const std::string& letters) {
  u64 mask = 0;
  for (char letter : letters) {
    switch (letter) {
      case 'c': mask |= x86::rflags::cf; break;
      case 'p': mask |= x86::rflags::pf; break;
      case 'a': mask |= x86::rflags::af; break;
      case 'z': mask |= x86::rflags::zf; break;
      case 's': mask |= x86::rflags::sf; break;
      default: mask |= x86::rflags::of; break;
    }
  }
  return mask;
}

}  // namespace

bool CaseGenerator::mandatory_prefix(const Row& row) {
  for (const char* prefix : {"f2 ", "f3 ", "66 "})
    if (row.encoding.starts_with(prefix)) return true;
  return false;
}

void CaseGenerator::prefixes(Case& to, const Row& row) {
  const bool fixed = row.kind & Row::bare || row.encoding.starts_with("48 ");
  operand_bytes_ = row.kind & Row::byte ? 1 : 4;
  rex_ = 0;
  address32_ = !fixed && !legacy_ && (memory_form_ || (row.kind & Row::string)) && number(4) == 0;
  if (address32_) to.code.push_back(0x67);
  if (!fixed && !(row.kind & (Row::byte | Row::wide | Row::no_66)) && number(4) == 0) {
    to.code.push_back(0x66);
    operand_bytes_ = 2;
  }
  if ((row.kind & Row::string) && number(2)) to.code.push_back(number(2) ? 0xf3 : 0xf2);
  if (memory_form_ && (row.kind & Row::lockable) && number(3) == 0) to.code.push_back(0xf0);
  if (mandatory_prefix(row)) to.code.push_back(static_cast<u8>(std::stoul(row.encoding, nullptr, 16)));
  if (fixed || legacy_ || number(2)) return;
  rex_ = static_cast<u8>(0x40 | number(16));
  if (row.kind & Row::byte) rex_ &= 0xf7;
  if (row.kind & Row::no_rex_b) rex_ &= 0xfe;
  if (rex_ & 8) operand_bytes_ = 8;
  rex_place_ = to.code.size();
  to.code.push_back(rex_);
}

// A ModRM byte with what follows it; the registers of a memory operand are set so that it lies in the data area.
void CaseGenerator::modrm(Case& to, const Row& row, unsigned reg) {
  auto& gpr = to.registers.gpr;
  const unsigned full_reg = reg | (rex_ & 4 ? 8 : 0);
  if (!memory_form_) {
    const unsigned rm = static_cast<unsigned>(number(8)), full = rm | (rex_ & 1 ? 8 : 0);
    to.code.push_back(static_cast<u8>(0xc0 | reg << 3 | rm));
    if ((row.kind & Row::scan) && gpr[full] == 0) gpr[full] = 0x10;
    return;
  }
  const bool keeps_reg = row.kind & Row::small;
  if (keeps_reg) gpr[full_reg] = static_cast<u64>(static_cast<i64>(number(8000)) - 4000);
  const auto pick = [&](unsigned extension, unsigned other) {
    for (;;) {
      const unsigned chosen = static_cast<unsigned>(number(8)) | (rex_ & extension ? 8 : 0);
      if (chosen != other && !(keeps_reg && chosen == full_reg)) return chosen;
    }
  };
  constexpr unsigned none = 4;  // what RSP would be as an index
  const unsigned base = pick(1, ~0u);
  unsigned index = pick(2, base);
  if (number(2)) index = none;
  if (index == none) rex_ &= 0xfd;
  const bool wide_displacement = number(2) && base != x86::rsp;  // RSP stays near for PUSH and POP
  const i64 displacement = wide_displacement ? static_cast<i32>(random_()) >> 4 : static_cast<i8>(random_());
  const unsigned scale = static_cast<unsigned>(number(4));
  to.code.push_back(static_cast<u8>((wide_displacement ? 0x80 : 0x40) | reg << 3 | 4));
  to.code.push_back(static_cast<u8>(scale << 6 | (index & 7) << 3 | (base & 7)));
  for (unsigned i = 0; i < (wide_displacement ? 4u : 1u); ++i)
    to.code.push_back(static_cast<u8>(displacement >> 8 * i));

  u64 address = data_at + 0x800 + number(data_bytes - 0x1000) - static_cast<u64>(displacement);
  if (index != none) {
    gpr[index] = number(64);
    address -= gpr[index] << scale;
  }
  gpr[base] = legacy_ || address32_ ? static_cast<u32>(address) : address;
  if (address32_ && base != x86::rsp) gpr[base] |= random_() << 32;  // takes no part
}

void CaseGenerator::string_registers(Case& to) {
  auto& gpr = to.registers.gpr;
  constexpr u64 below = 0x1400;                                                  // room to go backward
  const u64 area = (number(4) == 0 ? data_bytes : data_bytes - 0x1000) - below;  // sometimes near the hole
  gpr[x86::rsi] = data_at + below + number(area);
  gpr[x86::rdi] = number(3) ? data_at + below + number(area) : gpr[x86::rsi] + number(64) - 32;
  gpr[x86::rcx] = number(3) ? number(40) : number(600);
  gpr[x86::rbx] = data_at + number(data_bytes - 256);
  if (number(2)) to.registers.rflags |= x86::rflags::df;
}

Case CaseGenerator::start() {
  Case to;
  for (u64& reg : to.registers.gpr) reg = legacy_ ? static_cast<u32>(value()) : value();
  to.registers.gpr[x86::rsp] = data_at + 0x1000 + number(0x800);
  to.registers.gpr[x86::rbp] = data_at + 0x1000 + number(0x800);
  to.registers.rflags = x86::rflags::fixed | x86::rflags::if_ | (random_() & x86::rflags::status);
  return to;
}

void CaseGenerator::append(Case& to, const Row& row) {
  if (row.kind & Row::string) string_registers(to);
  const std::string& text = row.encoding;
  memory_form_ = text.find('/') != std::string::npos &&
                 ((row.kind & Row::memory) || (!(row.kind & Row::registers) && number(2)));
  prefixes(to, row);
  unsigned count = 1;  // of a shift
  for (std::size_t at = mandatory_prefix(row) ? 3 : 0; at < text.size(); at += 3) {
    switch (text[at]) {
      case '/':
        modrm(to, row, static_cast<unsigned>(text[at + 1] == 'r' ? number(8) : static_cast<u64>(text[at + 1] - '0')));
        break;
      case 'i':
        immediate(to, text[at + 1] == 'b'    ? 1
                      : text[at + 1] == 'v'  ? operand_bytes_
                      : row.kind & Row::byte ? 4
                                             : std::min(operand_bytes_, 4u));
        count = to.code.back();
        break;
      case '+': to.code.back() = static_cast<u8>(to.code.back() + number(8)); break;
      default: to.code.push_back(static_cast<u8>(std::stoul(text.substr(at, 2), nullptr, 16)));
    }
  }
  if (rex_) to.code[rex_place_] = rex_;  // modrm() may have changed it
  to.undefined |= flags_named(row.undefined);
  if (!(row.kind & Row::shift)) return;
  if (text.find("ib") == std::string::npos) count = static_cast<unsigned>(to.registers.gpr[x86::rcx] & 0xff);
  count &= operand_bytes_ == 8 ? 63 : 31;
  if (count != 1) to.undefined |= x86::rflags::of;
  if (count >= 8 * operand_bytes_) to.undefined |= x86::rflags::cf;
  if (count == 0) to.undefined = 0;
}

}  // namespace doppel::testing
