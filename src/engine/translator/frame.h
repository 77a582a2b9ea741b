// How translated code sees the machine: host registers of guest registers, and the vCPU's state relative to the stack pointer.
//
// While translated code runs, RSP is the address of Cpu::native, R13 the current TLB table + slot_control, R14 and R15 are scratch, and
// the guest's general registers are in the host's of the same name, but for RSP (in R12) and R12–R15 (in Cpu::gpr).
#pragma once

#include <xbyak/xbyak.h>

#include <cstddef>

#include "engine/interpreter/cpu.h"

namespace doppel::translator {

using interpreter::Cpu;
using interpreter::NativeState;

constexpr unsigned host_rsp = 4, scratch1 = 14, scratch2 = 15;
constexpr unsigned guest_rsp_host = 12;

// What BEXTR takes the slot from an address by (SDM vol. 2: the first bit, and in bits 8–15 how many), in the low bits of R13.
constexpr int slot_control = 12 | interpreter::TlbEntries::slot_bits << 8;
static_assert(slot_control < static_cast<int>(alignof(interpreter::TlbEntries)));
static_assert(slot_control - offsetof(interpreter::TlbEntries, host) <= 128);  // reached by one byte of displacement

// In memory rather than in a register.
constexpr bool is_slot(unsigned gpr) { return gpr >= 12; }
constexpr u32 bit_of(unsigned gpr) { return gpr < 16 ? 1u << gpr : 0; }  // none for RIP and no register
constexpr unsigned host_of(unsigned gpr) { return gpr == x86::rsp ? guest_rsp_host : gpr; }

// Displacements from Cpu::native.
class Frame {
 public:
  explicit Frame(const Cpu& cpu) : cpu_(cpu) {}
  template <class T>
  i32 at(const T& member) const {
    return static_cast<i32>(reinterpret_cast<const u8*>(&member) - reinterpret_cast<const u8*>(&cpu_.native));
  }
  i32 gpr(unsigned number) const { return at(cpu_.gpr[number]); }
  i32 segment_base(x86::Segment segment) const { return at(cpu_.s.segments[segment].base); }
  i32 vector(unsigned number) const { return at(cpu_.s.vectors[number]); }
  const Cpu& cpu() const { return cpu_; }

 private:
  const Cpu& cpu_;
};

}  // namespace doppel::translator
