// FXCH and FCMOVcc. Intel SDM vol. 2 (edition 085).
#include "engine/interpreter/x87/rows.h"
#include "engine/interpreter/x87/state.h"

namespace doppel::interpreter {
namespace {

using x86::Float80;

bool exchange(Cpu& cpu, const Op* op) {
  Fpu& f = cpu.s.fpu;
  Float80& a = st(f, 0);
  Float80& b = st(f, op->a);
  if (empty(f, 0) || empty(f, op->a)) [[unlikely]] {
    if (!stack_fault(f, false)) return true;
    if (empty(f, 0)) a = indefinite;
    if (empty(f, op->a)) b = indefinite;
    mark_valid(f, 0);
    mark_valid(f, op->a);
  } else {
    set_conditions(f, fsw::c1, 0);
  }
  const u64 significand = a.significand;
  const u16 sign_exponent = a.sign_exponent;
  copy(a, b);
  b.significand = significand;
  b.sign_exponent = sign_exponent;
  return true;
}

template <unsigned code>
bool move_if(Cpu& cpu, const Op* op) {
  Fpu& f = cpu.s.fpu;
  if (empty(f, 0) || empty(f, op->a)) [[unlikely]] {
    if (stack_fault(f, false)) {
      st(f, 0) = indefinite;
      mark_valid(f, 0);
    }
    return true;
  }
  if (condition<code>(cpu.flags)) copy(st(f, 0), st(f, op->a));
  return true;
}

constexpr BindRow rows[] = {
    {ZYDIS_MNEMONIC_FXCH, bind_numeric<exchange>},       {ZYDIS_MNEMONIC_FCMOVB, bind_numeric<move_if<2>>},
    {ZYDIS_MNEMONIC_FCMOVNB, bind_numeric<move_if<3>>},  {ZYDIS_MNEMONIC_FCMOVE, bind_numeric<move_if<4>>},
    {ZYDIS_MNEMONIC_FCMOVNE, bind_numeric<move_if<5>>},  {ZYDIS_MNEMONIC_FCMOVBE, bind_numeric<move_if<6>>},
    {ZYDIS_MNEMONIC_FCMOVNBE, bind_numeric<move_if<7>>}, {ZYDIS_MNEMONIC_FCMOVU, bind_numeric<move_if<10>>},
    {ZYDIS_MNEMONIC_FCMOVNU, bind_numeric<move_if<11>>},
};

}  // namespace

std::span<const BindRow> x87_move_rows() { return rows; }

}  // namespace doppel::interpreter
