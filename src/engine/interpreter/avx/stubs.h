// Host functions that execute one VEX instruction each, with its operands renamed to fixed registers. See README.md.
#pragma once

#include <bit>
#include <span>
#include <unordered_map>

#include "base/result.h"
#include "base/types.h"
#include "engine/code_cache.h"
#include "isa/x86/instruction.h"

namespace doppel::interpreter {

enum class StubOperand : u8 { none /* or the immediate */, vector, gpr, memory };

// All that tells one stub from another. It fits Op::immediate until the stub is there, and is told from an address by its top bit.
struct StubShape {
  u64 kinds : 8;    // StubOperand of operands 0–3, two bits each
  u64 fields : 12;  // x86::VexField of operands 0–3, three bits each
  u64 reads : 4;    // operand i is loaded before
  u64 writes : 1;   // operand 0 is stored afterwards
  u64 flags : 1;    // the status flags are the result
  u64 map : 2;
  u64 w : 1;
  u64 l : 1;
  u64 pp : 2;
  u64 opcode : 8;
  u64 extension : 3;  // ModRM.reg where it belongs to the opcode
  u64 has_immediate : 1;
  u64 immediate : 8;
  u64 unused : 11;
  u64 unresolved : 1;  // always set

  StubOperand kind(unsigned operand) const { return static_cast<StubOperand>(kinds >> 2 * operand & 3); }
  x86::VexField field(unsigned operand) const { return static_cast<x86::VexField>(fields >> 3 * operand & 7); }
};
static_assert(sizeof(StubShape) == 8);

StubShape stub_shape(const x86::Instruction& instruction);

// Arguments: where operands 0–3 are (32 bytes of a vector, 8 of a general register, memory). Returns RFLAGS if the shape has `flags`.
using Stub = u64 (*)(void*, void*, void*, void*);

// Belongs to one vCPU, whose thread alone uses it.
class VectorStubs {
 public:
  VectorStubs();
  // Whether this host lets a process map what a VectorStubs needs; without that making one is fatal.
  static Result<> check_host();

  // The function for a shape; `lasting` is false if it holds until the next call only (the store is full).
  struct Found {
    Stub stub;
    bool lasting;
  };
  Found find(StubShape shape);

 private:
  static constexpr u64 arena_bytes = u64{4} << 20, slot_bytes = 64;

  Stub write(u64 offset, StubShape shape);

  CodeCache cache_;
  u64 used_ = slot_bytes;  // the first slot is for shapes that find no room
  std::unordered_map<u64, Stub> known_;
};

}  // namespace doppel::interpreter
