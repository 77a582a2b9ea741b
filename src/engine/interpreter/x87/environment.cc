// FSTENV, FLDENV, FSAVE and FRSTOR: the environment in its four formats. Intel SDM vol. 1 figures 8-9 to 8-12 (edition 085).
//
//        32-bit protected        32-bit real                     16-bit protected    16-bit real
//   +0   control                 control                    +0   control             control
//   +4   status                  status                     +2   status              status
//   +8   tags                    tags                       +4   tags                tags
//   +12  FIP                     FIP 15–0                   +6   FIP                 FIP 15–0
//   +16  FOP << 16 | FCS         FIP 31–16 << 12 | FOP      +8   FCS                 FIP 19–16 << 12 | FOP
//   +20  FDP                     FDP 15–0                   +10  FDP                 FDP 15–0
//   +24  FDS                     FDP 31–16 << 12            +12  FDS                 FDP 19–16 << 12
// The real formats, used in virtual-8086 mode too, hold linear addresses. Unused upper halves of 32-bit fields are ones.
#include "engine/interpreter/x87/environment.h"

#include "engine/interpreter/x87/native.h"
#include "engine/interpreter/x87/rows.h"

namespace doppel::interpreter {

u16 full_tag_word(const Fpu& f) {
  u16 tags = 0;
  for (unsigned i = 0; i < 8; ++i) {
    const x86::Float80& value = f.registers[i];
    const unsigned exponent = value.sign_exponent & 0x7fff;
    unsigned tag = 2;
    if (!(f.valid >> i & 1))
      tag = 3;
    else if (exponent == 0 && value.significand == 0)
      tag = 1;
    else if (exponent != 0 && exponent != 0x7fff && value.significand >> 63)
      tag = 0;
    tags |= static_cast<u16>(tag << 2 * i);
  }
  return tags;
}

void set_full_tag_word(Fpu& f, u16 tags) {
  f.valid = 0;
  for (unsigned i = 0; i < 8; ++i)
    if ((tags >> 2 * i & 3) != 3) f.valid |= static_cast<u8>(1 << i);
}

namespace {

constexpr unsigned register_bytes = 80;
constexpr unsigned largest_image = 28 + register_bytes;

struct Image {
  u16 halves[largest_image / 2];
  unsigned bytes;

  u16& at16(unsigned index) { return halves[index]; }
  u32 get32(unsigned index) const { return halves[2 * index] | u32{halves[2 * index + 1]} << 16; }
  void put32(unsigned index, u32 value) {
    halves[2 * index] = static_cast<u16>(value);
    halves[2 * index + 1] = static_cast<u16>(value >> 16);
  }
};

bool wide(const Op* op) { return op->bytes != 2; }
unsigned environment_bytes(const Op* op) { return wide(op) ? 28 : 14; }

u32 linear_pointer(u16 selector, u64 offset) { return (u32{selector} << 4) + static_cast<u32>(offset); }

void put_environment(const Cpu& cpu, const Op* op, Image& image) {
  const Fpu& f = cpu.s.fpu;
  const u16 words[7] = {f.control, f.status, full_tag_word(f)};
  const bool real = cpu.real_or_vm86();
  const u32 code = real ? linear_pointer(f.instruction_selector, f.instruction_pointer)
                        : static_cast<u32>(f.instruction_pointer);
  const u32 data = real ? linear_pointer(f.data_selector, f.data_pointer) : static_cast<u32>(f.data_pointer);
  if (wide(op)) {
    for (unsigned i = 0; i < 3; ++i) image.put32(i, 0xffff'0000 | words[i]);
    image.put32(3, real ? 0xffff'0000 | (code & 0xffff) : code);
    image.put32(4, real ? code >> 16 << 12 | f.opcode : u32{f.opcode} << 16 | f.instruction_selector);
    image.put32(5, real ? 0xffff'0000 | (data & 0xffff) : data);
    image.put32(6, real ? data >> 16 << 12 : 0xffff'0000 | f.data_selector);
    return;
  }
  for (unsigned i = 0; i < 3; ++i) image.at16(i) = words[i];
  image.at16(3) = static_cast<u16>(code);
  image.at16(4) = real ? static_cast<u16>((code >> 16 & 15) << 12 | f.opcode) : f.instruction_selector;
  image.at16(5) = static_cast<u16>(data);
  image.at16(6) = real ? static_cast<u16>((data >> 16 & 15) << 12) : f.data_selector;
}

void take_pointers(Fpu& f, const Image& image, bool is_wide, bool real) {
  const u16* half = image.halves;
  if (real) {
    const u32 code_high = is_wide ? image.get32(4) >> 12 & 0xffff : u32{half[4]} >> 12;
    const u32 data_high = is_wide ? image.get32(6) >> 12 & 0xffff : u32{half[6]} >> 12;
    f.instruction_pointer = (is_wide ? half[6] : half[3]) | code_high << 16;
    f.data_pointer = (is_wide ? half[10] : half[5]) | data_high << 16;
    f.instruction_selector = f.data_selector = 0;
    f.opcode = (is_wide ? half[8] : half[4]) & 0x7ff;
    return;
  }
  f.instruction_pointer = is_wide ? image.get32(3) : half[3];
  f.instruction_selector = is_wide ? half[8] : half[4];
  f.data_pointer = is_wide ? image.get32(5) : half[5];
  f.data_selector = is_wide ? half[12] : half[6];
  f.opcode = is_wide ? half[9] & 0x7ff : 0;
}

void take_environment(Cpu& cpu, const Op* op, const Image& image) {
  Fpu& f = cpu.s.fpu;
  const unsigned step = wide(op) ? 2 : 1;
  set_control(f, image.halves[0]);
  set_status(f, image.halves[step]);
  set_full_tag_word(f, image.halves[2 * step]);
  take_pointers(f, image, wide(op), cpu.real_or_vm86());
}

// In halves of words: the strictest alignment that alignment checking could ask of any field.
bool store_image(Cpu& cpu, const Op* op, const Image& image) {
  const auto segment = static_cast<x86::Segment>(op->segment);
  const Linear linear = operand_linear(cpu, op, image.bytes, AccessKind::write);
  if (!linear.ok || !probe_write(cpu, linear.address, image.bytes, segment)) return false;
  for (unsigned i = 0; i < image.bytes / 2; ++i)
    if (!store<u16>(cpu, linear.address + 2 * i, image.halves[i], segment)) return false;
  return true;
}

bool load_image(Cpu& cpu, const Op* op, Image& image) {
  const auto segment = static_cast<x86::Segment>(op->segment);
  const Linear linear = operand_linear(cpu, op, image.bytes, AccessKind::read);
  if (!linear.ok) return false;
  for (unsigned i = 0; i < image.bytes / 2; ++i) {
    const Loaded<u16> half = load<u16>(cpu, linear.address + 2 * i, segment);
    if (!half.ok) return false;
    image.halves[i] = half.value;
  }
  return true;
}

[[gnu::noinline]] bool fnstenv(Cpu& cpu, const Op* op) {
  Image image{.bytes = environment_bytes(op)};
  put_environment(cpu, op, image);
  if (!store_image(cpu, op, image)) return false;
  set_control(cpu.s.fpu, cpu.s.fpu.control | fcw::masks);
  return true;
}

[[gnu::noinline]] bool fldenv(Cpu& cpu, const Op* op) {
  Image image{.bytes = environment_bytes(op)};
  if (!load_image(cpu, op, image)) return false;
  take_environment(cpu, op, image);
  return true;
}

[[gnu::noinline]] bool fnsave(Cpu& cpu, const Op* op) {
  Fpu& f = cpu.s.fpu;
  const unsigned environment = environment_bytes(op);
  Image image{.bytes = environment + register_bytes};
  put_environment(cpu, op, image);
  for (unsigned i = 0; i < 8; ++i) std::memcpy(&image.halves[environment / 2 + 5 * i], &st(f, i), 10);
  if (!store_image(cpu, op, image)) return false;
  initialize(f);
  return true;
}

[[gnu::noinline]] bool frstor(Cpu& cpu, const Op* op) {
  const unsigned environment = environment_bytes(op);
  Image image{.bytes = environment + register_bytes};
  if (!load_image(cpu, op, image)) return false;
  take_environment(cpu, op, image);
  for (unsigned i = 0; i < 8; ++i) {
    const auto* from = reinterpret_cast<const u8*>(&image.halves[environment / 2 + 5 * i]);
    st(cpu.s.fpu, i) = {get<u64>(from), get<u16>(from + 8)};
  }
  return true;
}

constexpr BindRow rows[] = {
    {ZYDIS_MNEMONIC_FNSTENV, bind_no_wait<fnstenv>},
    {ZYDIS_MNEMONIC_FLDENV, bind_control<fldenv>},
    {ZYDIS_MNEMONIC_FNSAVE, bind_no_wait<fnsave>},
    {ZYDIS_MNEMONIC_FRSTOR, bind_control<frstor>},
};

}  // namespace

std::span<const BindRow> x87_environment_rows() { return rows; }

}  // namespace doppel::interpreter
