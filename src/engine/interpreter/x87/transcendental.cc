// Transcendental and partial operations: F2XM1, FYL2X, FYL2XP1, FPTAN, FPATAN, FSIN, FCOS, FSINCOS, FPREM, FPREM1, FXTRACT.
// Intel SDM vol. 2 (edition 085). Their last bits are those of the host's processor.
//
// All run with the guest's true control word and clean up with FNINIT: they are slow anyhow.
#include "engine/interpreter/x87/native.h"
#include "engine/interpreter/x87/rows.h"

namespace doppel::interpreter {
namespace {

using x86::Float80;

// The host's ST(0) and ST(1) after the operation. What the operation left empty is not meaningful.
struct Outcome {
  u16 status;
  Float80 top, below;
};

#define DOPPEL_X87_FUNCTION(Name, text)                                                          \
  struct Name {                                                                                  \
    [[gnu::noinline]] static Outcome run(u16 control, Float80 a, Float80 b) {                    \
      Outcome outcome{};                                                                         \
      asm volatile("fnclex\n\tfldcw %[control]\n\tfldt %[b]\n\tfldt %[a]\n\t" text               \
                   "\n\tfnstsw %%ax\n\tfnclex\n\t"                                               \
                   "fstpt %[top]\n\tfnclex\n\tfstpt %[below]\n\tfninit"                          \
                   : [top] "=m"(outcome.top), [below] "=m"(outcome.below), "=&a"(outcome.status) \
                   : [a] "m"(a), [b] "m"(b), [control] "m"(control)                              \
                   : DOPPEL_X87_CLOBBERS);                                                       \
      return outcome;                                                                            \
    }                                                                                            \
  };
DOPPEL_X87_FUNCTION(TwoToXMinus1, "f2xm1")
DOPPEL_X87_FUNCTION(YLog2X, "fyl2x")
DOPPEL_X87_FUNCTION(YLog2XPlus1, "fyl2xp1")
DOPPEL_X87_FUNCTION(ArcTangent, "fpatan")
DOPPEL_X87_FUNCTION(Tangent, "fptan")
DOPPEL_X87_FUNCTION(Sine, "fsin")
DOPPEL_X87_FUNCTION(Cosine, "fcos")
DOPPEL_X87_FUNCTION(SineCosine, "fsincos")
DOPPEL_X87_FUNCTION(Remainder, "fprem")
DOPPEL_X87_FUNCTION(Remainder1, "fprem1")
DOPPEL_X87_FUNCTION(Extract, "fxtract")

// The condition codes that an operation defines besides C1.
constexpr u16 none = 0, c2 = fsw::c2, quotient = fsw::c0 | fsw::c2 | fsw::c3;

bool is_nan(const Float80& value) { return (value.sign_exponent & 0x7fff) == 0x7fff && value.significand << 1; }

// A stack fault clears C2 of those that define it.
template <u16 conditions>
bool masked_stack_fault(Fpu& f, bool overflow) {
  set_conditions(f, conditions & fsw::c2, 0);
  return stack_fault(f, overflow);
}

// ST(0) = f(ST(0)).
template <class Function, u16 conditions>
[[gnu::noinline]] bool unary(Cpu& cpu, const Op*) {
  Fpu& f = cpu.s.fpu;
  if (empty(f, 0)) {
    if (masked_stack_fault<conditions>(f, false)) st(f, 0) = indefinite, mark_valid(f, 0);
    return true;
  }
  const Outcome outcome = Function::run(f.control, st(f, 0), {});
  commit(f, outcome.status, fsw::c1 | conditions);
  st(f, 0) = outcome.top;
  return true;
}

// ST(0) = f(ST(0), ST(1)); or, popping, ST(1) = f(ST(0), ST(1)), which becomes ST(0).
template <class Function, u16 conditions, bool pops>
[[gnu::noinline]] bool binary(Cpu& cpu, const Op*) {
  Fpu& f = cpu.s.fpu;
  if (empty(f, 0) || empty(f, 1)) {
    if (!masked_stack_fault<conditions>(f, false)) return true;
    if (pops) pop(f);
    st(f, 0) = indefinite;
    mark_valid(f, 0);
    return true;
  }
  const Outcome outcome = Function::run(f.control, st(f, 0), st(f, 1));
  const bool unchanged = suppressed(f, outcome.status);
  const bool no_quotient = unchanged || outcome.status & fsw::ie ||
                           is_nan(outcome.top);  // then its bits stay as they were
  commit(f, outcome.status, fsw::c1 | (no_quotient ? conditions & fsw::c2 : conditions));
  if (unchanged) return true;
  if (pops) pop(f);
  st(f, 0) = outcome.top;
  return true;
}

// Two results: ST(0) replaced and another pushed. C2 set: out of range, nothing happened.
template <class Function, u16 conditions>
[[gnu::noinline]] bool pushing(Cpu& cpu, const Op*) {
  Fpu& f = cpu.s.fpu;
  if (empty(f, 0) || !empty(f, 7)) {
    if (!masked_stack_fault<conditions>(f, !empty(f, 0))) return true;
    st(f, 0) = indefinite;
    mark_valid(f, 0);
    push(f, indefinite);
    return true;
  }
  const Outcome outcome = Function::run(f.control, st(f, 0), {});
  commit(f, outcome.status, fsw::c1 | conditions);
  if (suppressed(f, outcome.status) || (outcome.status & conditions & fsw::c2)) return true;
  st(f, 0) = outcome.below;
  push(f, outcome.top);
  return true;
}

constexpr BindRow rows[] = {
    {ZYDIS_MNEMONIC_F2XM1, bind_numeric<unary<TwoToXMinus1, none>>},
    {ZYDIS_MNEMONIC_FSIN, bind_numeric<unary<Sine, c2>>},
    {ZYDIS_MNEMONIC_FCOS, bind_numeric<unary<Cosine, c2>>},
    {ZYDIS_MNEMONIC_FYL2X, bind_numeric<binary<YLog2X, none, true>>},
    {ZYDIS_MNEMONIC_FYL2XP1, bind_numeric<binary<YLog2XPlus1, none, true>>},
    {ZYDIS_MNEMONIC_FPATAN, bind_numeric<binary<ArcTangent, none, true>>},
    {ZYDIS_MNEMONIC_FPREM, bind_numeric<binary<Remainder, quotient, false>>},
    {ZYDIS_MNEMONIC_FPREM1, bind_numeric<binary<Remainder1, quotient, false>>},
    {ZYDIS_MNEMONIC_FPTAN, bind_numeric<pushing<Tangent, c2>>},
    {ZYDIS_MNEMONIC_FSINCOS, bind_numeric<pushing<SineCosine, c2>>},
    {ZYDIS_MNEMONIC_FXTRACT, bind_numeric<pushing<Extract, none>>},
};

}  // namespace

std::span<const BindRow> x87_transcendental_rows() { return rows; }

}  // namespace doppel::interpreter
