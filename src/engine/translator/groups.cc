#include "engine/translator/groups.h"

#include <algorithm>

#include "engine/translator/code_writer.h"

namespace doppel::translator {

using namespace x86;

namespace {

constexpr i64 widest_group = 512;  // bytes
constexpr unsigned longest_group = 24;

u32 registers_written(const Step& step) {
  u32 written = step.enc.gprs_written;
  if (step.kind == StepKind::pop) written |= bit_of(stack_register(step));
  if (step.kind == StepKind::leave) written |= bit_of(x86::rsp) | bit_of(x86::rbp);
  return written;
}

bool ends_group(const Step& step) { return step.kind == StepKind::call || step.kind == StepKind::ret; }

}  // namespace

bool stands_alone(const Step& step) {
  switch (step.kind) {
    case StepKind::outline:
    case StepKind::jump:
    case StepKind::jump_indirect:
    case StepKind::call_indirect:
    case StepKind::push_memory:
    case StepKind::push_flags:
    case StepKind::cli:
    case StepKind::sti:
    case StepKind::swapgs:
    case StepKind::pause:
    case StepKind::load_control:
    case StepKind::cld:
    case StepKind::std:
    case StepKind::stac:
    case StepKind::clac:
    case StepKind::bit_string:
    case StepKind::rep_stos:
    case StepKind::rep_movs: return true;
    default: return !expressible(step);
  }
}

bool may_be_in_group(const Step& step) {
  return step.kind != StepKind::branch && !stands_alone(step) && scratch_needed(step) <= 1;
}

std::optional<Access> access_of(const Step& step, i32 page_offset) {
  switch (step.kind) {
    case StepKind::push:
    case StepKind::call: return Access{{.base = x86::rsp}, -i64{step.word}, step.word, true};
    case StepKind::pop:
    case StepKind::ret: return Access{{.base = x86::rsp}, 0, step.word, false};
    case StepKind::leave: return Access{{.base = x86::rbp}, 0, step.word, false};
    default: break;
  }
  if (!step.has_memory()) return std::nullopt;
  const MemoryOperand& memory = step.in.memory;
  Access access{{.base = memory.base,
                 .index = memory.index,
                 .scale = memory.index == MemoryOperand::none ? u8{0} : memory.scale,
                 .segment = memory.segment >= x86::fs ? memory.segment : x86::ds},
                memory.displacement,
                step.enc.memory_bytes,
                step.enc.rm.written};
  if (memory.base == MemoryOperand::rip) access.displacement += page_offset + step.end();
  if (step.kind == StepKind::jump_indirect || step.kind == StepKind::call_indirect) access.bytes = step.word;
  if (step.word == 4) access.displacement = static_cast<i32>(access.displacement);
  return access;
}

unsigned stack_register(const Step& step) {
  return step.enc.opcode_reg.kind == FieldKind::gpr ? step.enc.opcode_reg.number : step.enc.rm.number;
}

std::optional<i64> movement(const Step& step, unsigned gpr) {
  if (gpr == x86::rsp) {
    switch (step.kind) {
      case StepKind::push:
      case StepKind::call: return -i64{step.word};
      case StepKind::pop:
        if (stack_register(step) == x86::rsp) return std::nullopt;
        return step.word;
      case StepKind::ret: return step.word;
      case StepKind::leave: return std::nullopt;
      default: break;
    }
  }
  if (!(registers_written(step) & bit_of(gpr))) return 0;
  const Instruction& in = step.in;
  if (in.operand_bytes != step.word) return std::nullopt;
  if (step.kind == StepKind::lea && in.memory.base == gpr && in.memory.index == MemoryOperand::none)
    return in.memory.displacement;
  if (step.kind != StepKind::copy || in.operands[0].kind != OperandKind::gpr) return std::nullopt;
  if (in.mnemonic == ZYDIS_MNEMONIC_INC) return 1;
  if (in.mnemonic == ZYDIS_MNEMONIC_DEC) return -1;
  if (in.operands[1].kind != OperandKind::immediate) return std::nullopt;
  if (in.mnemonic == ZYDIS_MNEMONIC_ADD) return static_cast<i64>(in.immediate);
  if (in.mnemonic == ZYDIS_MNEMONIC_SUB) return -static_cast<i64>(in.immediate);
  return std::nullopt;
}

bool changes(const Step& step, const Place& place, i64& moved) {
  u32 written = registers_written(step);
  if (place.one_register()) {
    const auto by = movement(step, place.base);
    if (!by) return true;
    moved += *by;
    written &= ~bit_of(place.base);
  }
  return (written & (bit_of(place.base) | bit_of(place.index))) != 0;
}

Group find_group(std::span<const Step> steps, unsigned first, i32 page_offset) {
  const Access start = *access_of(steps[first], page_offset);
  Group group{.first = first,
              .last = first,
              .place = start.place,
              .low = start.displacement,
              .high = start.displacement + start.bytes,
              .write = start.write};
  i64 moved = 0;
  for (unsigned i = first; i < steps.size() && i < first + longest_group; ++i) {
    const Step& step = steps[i];
    if (!may_be_in_group(step) || (i == first && ends_group(step))) break;
    if (const auto access = access_of(step, page_offset)) {
      if (!(access->place == start.place)) break;
      const i64 at = access->displacement + moved;
      const i64 low = std::min(group.low, at), high = std::max(group.high, at + access->bytes);
      if (high - low > widest_group || low != static_cast<i32>(low)) break;
      group.low = low;
      group.high = high;
      group.write |= access->write;
      group.last = i;
    }
    if (ends_group(step)) break;
    if (changes(step, start.place, moved)) break;
  }
  return group;
}

}  // namespace doppel::translator
