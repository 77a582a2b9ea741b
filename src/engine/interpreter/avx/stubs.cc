#include "engine/interpreter/avx/stubs.h"

#include <cpuid.h>

#include <array>

#include "base/check.h"

namespace doppel::interpreter {

using x86::OperandKind;
using x86::VexField;

namespace {

StubOperand stub_operand(OperandKind kind) {
  switch (kind) {
    case OperandKind::vector: return StubOperand::vector;
    case OperandKind::gpr: return StubOperand::gpr;
    case OperandKind::memory: return StubOperand::memory;
    default: return StubOperand::none;
  }
}

// ModRM.rm (and .reg) numbers of the registers that arguments 0–3 arrive in: RDI, RSI, RDX, RCX.
constexpr std::array<u8, 4> argument{7, 6, 2, 1};

class Code {
 public:
  void add(std::initializer_list<unsigned> more) {
    for (unsigned byte : more) bytes_[size_++] = static_cast<u8>(byte);
  }
  std::span<const u8> bytes() const { return std::span(bytes_).first(size_); }

 private:
  std::array<u8, 64> bytes_{};
  unsigned size_ = 0;
};

// VMOVDQU ymm<operand>, [argument]; MOV RAX, [argument]
void load(const StubShape& shape, unsigned operand, Code& code) {
  if (shape.kind(operand) == StubOperand::vector) code.add({0xc5, 0xfe, 0x6f, operand << 3 | argument[operand]});
  if (shape.kind(operand) == StubOperand::gpr) code.add({0x48, 0x8b, argument[operand]});
}

// VMOVDQU [RDI], YMM0; MOV [RDI], RAX
void store_result(const StubShape& shape, Code& code) {
  if (shape.kind(0) == StubOperand::vector) code.add({0xc5, 0xfe, 0x7f, 0x07});
  if (shape.kind(0) == StubOperand::gpr) code.add({0x48, 0x89, 0x07});
}

void renamed_instruction(const StubShape& shape, Code& code) {
  unsigned reg = shape.extension, rm = 0, mod = 3, vvvv = 0, immediate = shape.immediate;
  bool has_immediate = shape.has_immediate;
  for (unsigned i = 0; i < 4; ++i) {
    const unsigned number = shape.kind(i) == StubOperand::vector ? i : 0;  // the general register is RAX
    switch (shape.field(i)) {
      case VexField::none: break;
      case VexField::reg: reg = number; break;
      case VexField::vvvv: vvvv = number; break;
      case VexField::is4:
        immediate = i << 4;
        has_immediate = true;
        break;
      case VexField::rm:
        rm = number;
        if (shape.kind(i) != StubOperand::memory) break;
        mod = 0;
        rm = argument[i];
    }
  }
  // R, X, B and vvvv are inverted in the prefix: no operand is above 7.
  code.add({0xc4, 0xe0u | static_cast<unsigned>(shape.map),
            static_cast<unsigned>(shape.w) << 7 | (~vvvv & 15) << 3 | static_cast<unsigned>(shape.l) << 2 |
                static_cast<unsigned>(shape.pp),
            static_cast<unsigned>(shape.opcode), mod << 6 | reg << 3 | rm});
  if (has_immediate) code.add({immediate});
}

// The longest is four loads of 4 bytes, an instruction of 6, a store of 4, VZEROUPPER and RET.
Code stub_code(const StubShape& shape) {
  Code code;
  for (unsigned i = 0; i < 4; ++i)
    if (shape.reads >> i & 1) load(shape, i, code);
  renamed_instruction(shape, code);
  if (shape.flags) code.add({0x9c, 0x58});  // PUSHFQ; POP RAX
  if (shape.writes) store_result(shape, code);
  code.add({0xc5, 0xf8, 0x77, 0xc3});  // VZEROUPPER; RET
  return code;
}

// The host may not execute what it fetched from this address before.
void serialize() {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  __get_cpuid(0, &eax, &ebx, &ecx, &edx);
}

CodeCache make_cache(u64 bytes) {
  auto made = CodeCache::create(bytes);
  CHECK(made);
  return std::move(*made);
}

}  // namespace

StubShape stub_shape(const x86::Instruction& instruction) {
  StubShape shape{};
  for (unsigned i = 0; i < 4; ++i) {
    const x86::Operand& operand = instruction.operands[i];
    const StubOperand kind = stub_operand(operand.kind);
    shape.kinds |= static_cast<u64>(kind) << 2 * i;
    if (kind == StubOperand::none) continue;
    shape.fields |= static_cast<u64>(operand.field) << 3 * i;
    if (operand.read && kind != StubOperand::memory) shape.reads |= u64{1} << i;
  }
  const x86::Operand& last = instruction.operands[instruction.operand_count - 1];
  shape.has_immediate = last.kind == OperandKind::immediate;
  shape.immediate = shape.has_immediate ? instruction.immediate & 0xff : 0;
  shape.writes = instruction.operands[0].written && shape.kind(0) != StubOperand::memory;
  shape.flags = !instruction.operands[0].written;
  shape.map = instruction.opcode_map;
  shape.w = instruction.vex.w;
  shape.l = instruction.vex.l;
  shape.pp = instruction.vex.pp;
  shape.opcode = instruction.opcode;
  shape.extension = instruction.modrm >> 3 & 7;
  for (const x86::Operand& operand : instruction.operands)
    if (operand.field == VexField::reg) shape.extension = 0;
  shape.unresolved = 1;
  return shape;
}

Result<> VectorStubs::check_host() {
  TRY(CodeCache::create(arena_bytes));
  return {};
}

VectorStubs::VectorStubs() : cache_(make_cache(arena_bytes)) {}

Stub VectorStubs::write(u64 offset, StubShape shape) {
  const Code code = stub_code(shape);
  std::copy(code.bytes().begin(), code.bytes().end(), cache_.writable() + offset);
  return reinterpret_cast<Stub>(cache_.address(offset));
}

VectorStubs::Found VectorStubs::find(StubShape shape) {
  const auto key = std::bit_cast<u64>(shape);
  if (const auto at = known_.find(key); at != known_.end()) return {at->second, true};
  if (used_ == arena_bytes) {
    const Stub stub = write(0, shape);
    serialize();
    return {stub, false};
  }
  const Stub stub = write(used_, shape);
  used_ += slot_bytes;
  known_.emplace(key, stub);
  return {stub, true};
}

}  // namespace doppel::interpreter
