// FBLD and FBSTP: 18 packed decimal digits and a sign byte. Intel SDM vol. 2 (edition 085).
#include "engine/interpreter/x87/native.h"
#include "engine/interpreter/x87/rows.h"

namespace doppel::interpreter {
namespace {

using x86::Float80;

struct Packed {
  u64 low;   // digits 0–15
  u16 high;  // digits 16 and 17, sign in bit 15
};
constexpr Packed packed_indefinite{0xc000'0000'0000'0000, 0xffff};

[[gnu::noinline]] Float80 from_packed(Packed value) {
  Float80 result;
  asm volatile("fbld %[value]\n\tfstpt %[result]" : [result] "=m"(result) : [value] "m"(value) : DOPPEL_X87_CLOBBERS);
  return result;
}

struct ToPacked {
  u16 status;
  Packed value;
};
[[gnu::noinline]] ToPacked to_packed(u16 control, const Float80& a) {
  ToPacked result{};
  asm volatile("fnclex\n\tfldcw %[control]\n\tfldt %[a]\n\tfbstp %[to]\n\tfnstsw %%ax\n\tfninit"
               : [to] "=m"(result.value), "=&a"(result.status)
               : [a] "m"(a), [control] "m"(control)
               : DOPPEL_X87_CLOBBERS);
  return result;
}

[[gnu::noinline]] bool load_packed(Cpu& cpu, const Op* op) {
  const Linear linear = operand_linear(cpu, op, 10, AccessKind::read);
  if (!linear.ok || !load_bytes(cpu, linear.address, cpu.scratch, 10, static_cast<x86::Segment>(op->segment)))
    return false;
  Fpu& f = cpu.s.fpu;
  if (!empty(f, 7)) return push_overflow(f), true;
  push(f, from_packed({get<u64>(cpu.scratch), get<u16>(cpu.scratch + 8)}));
  set_conditions(f, fsw::c1, 0);
  return true;
}

bool store_image(Cpu& cpu, const Op* op, Packed value) {
  const Linear linear = operand_linear(cpu, op, 10, AccessKind::write);
  if (!linear.ok) return false;
  put(cpu.scratch, value.low);
  put(cpu.scratch + 8, value.high);
  return store_bytes(cpu, linear.address, cpu.scratch, 10, static_cast<x86::Segment>(op->segment));
}

[[gnu::noinline]] bool store_packed(Cpu& cpu, const Op* op) {
  Fpu& f = cpu.s.fpu;
  if (empty(f, 0)) {
    if (!(f.control & fsw::ie ? store_image(cpu, op, packed_indefinite) : check_store_address(cpu, op, 10)))
      return false;
    if (stack_fault(f, false)) pop(f);
    return true;
  }
  const ToPacked result = to_packed(f.control, st(f, 0));
  const bool suppress = store_suppressed(f, result.status);
  if (!(suppress ? check_store_address(cpu, op, 10) : store_image(cpu, op, result.value))) return false;
  commit(f, result.status);
  if (!suppress) pop(f);
  return true;
}

constexpr BindRow rows[] = {
    {ZYDIS_MNEMONIC_FBLD, bind_numeric_memory<load_packed>},
    {ZYDIS_MNEMONIC_FBSTP, bind_numeric_memory<store_packed>},
};

}  // namespace

std::span<const BindRow> x87_bcd_rows() { return rows; }

}  // namespace doppel::interpreter
