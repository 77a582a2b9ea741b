// FADD … FDIVR in all forms, and the operations that round exactly: FSQRT, FRNDINT, FSCALE, FABS, FCHS.
// Intel SDM vol. 2 (edition 085).
#include "engine/interpreter/x87/native.h"
#include "engine/interpreter/x87/rows.h"

namespace doppel::interpreter {
namespace {

using x86::Float80;

// *to = *to text operand, the operand a register or a value in memory.
#define DOPPEL_X87_FORM(text)                                                                \
  asm volatile("fldt %[a]\n\t" text "\n\t" DOPPEL_X87_STATUS "fstpt %[a]\n\t" DOPPEL_X87_END \
               : [a] "+m"(*to), "=&a"(status)                                                \
               : [b] "m"(b), [trapping] "i"(trapping)                                        \
               : DOPPEL_X87_CLOBBERS)
#define DOPPEL_X87_ARITHMETIC(Name, stem)                                               \
  DOPPEL_X87_BINARY(Name##Register, "f" stem " %%st(1), %%st")                          \
  struct Name {                                                                         \
    using Register = Name##Register;                                                    \
    template <Source source>                                                            \
    struct Memory {                                                                     \
      template <bool trapping>                                                          \
      [[gnu::always_inline]] static inline u16 run(Float80* to, SourceBits<source> b) { \
        u16 status;                                                                     \
        if constexpr (source == Source::real32) DOPPEL_X87_FORM("f" stem "s %[b]");     \
        if constexpr (source == Source::real64) DOPPEL_X87_FORM("f" stem "l %[b]");     \
        if constexpr (source == Source::integer16) DOPPEL_X87_FORM("fi" stem "s %[b]"); \
        if constexpr (source == Source::integer32) DOPPEL_X87_FORM("fi" stem "l %[b]"); \
        return status;                                                                  \
      }                                                                                 \
    };                                                                                  \
  };
DOPPEL_X87_ARITHMETIC(Add, "add")
DOPPEL_X87_ARITHMETIC(Multiply, "mul")
DOPPEL_X87_ARITHMETIC(Subtract, "sub")
DOPPEL_X87_ARITHMETIC(SubtractReversed, "subr")
DOPPEL_X87_ARITHMETIC(Divide, "div")
DOPPEL_X87_ARITHMETIC(DivideReversed, "divr")

// The masked response to an empty operand; `to` is relative to TOP.
void underflow(Fpu& f, unsigned to, bool pops) {
  if (!stack_fault(f, false)) return;
  st(f, to) = indefinite;
  mark_valid(f, to);
  if (pops) pop(f);
}

template <class Operation, bool to_st0, bool pops>
bool with_register(Cpu& cpu, const Op* op) {
  Fpu& f = cpu.s.fpu;
  const unsigned to = to_st0 ? 0 : op->a, from = to_st0 ? op->a : 0;
  if (empty(f, to) || empty(f, from)) [[unlikely]]
    return underflow(f, to, pops), true;
  Float80* result = &st(f, to);
  const u16 status = on_host<typename Operation::Register>(f.control, result, result, &st(f, from));
  commit(f, status);
  if (pops && !suppressed(f, status)) pop(f);
  return true;
}

template <class Operation, Source source>
bool with_memory(Cpu& cpu, const Op* op) {
  const auto operand = load_operand<SourceBits<source>>(cpu, op);
  if (!operand.ok) return false;
  Fpu& f = cpu.s.fpu;
  if (empty(f, 0)) [[unlikely]]
    return underflow(f, 0, false), true;
  commit(f, on_host<typename Operation::template Memory<source>>(f.control, &st(f, 0), operand.value));
  return true;
}

DOPPEL_X87_UNARY(SquareRoot, "fsqrt")
DOPPEL_X87_UNARY(RoundToInteger, "frndint")
DOPPEL_X87_BINARY(Scale, "fscale")

template <class Operation>
bool unary(Cpu& cpu, const Op*) {
  Fpu& f = cpu.s.fpu;
  if (empty(f, 0)) [[unlikely]]
    return underflow(f, 0, false), true;
  commit(f, on_host<Operation>(f.control, &st(f, 0), &st(f, 0)));
  return true;
}

bool scale(Cpu& cpu, const Op*) {
  Fpu& f = cpu.s.fpu;
  if (empty(f, 0) || empty(f, 1)) [[unlikely]]
    return underflow(f, 0, false), true;
  commit(f, on_host<Scale>(f.control, &st(f, 0), &st(f, 0), &st(f, 1)));
  return true;
}

template <bool negate>
bool change_sign(Cpu& cpu, const Op*) {
  Fpu& f = cpu.s.fpu;
  if (empty(f, 0)) [[unlikely]]
    return underflow(f, 0, false), true;
  u16& sign_exponent = st(f, 0).sign_exponent;
  sign_exponent = static_cast<u16>(negate ? sign_exponent ^ 0x8000 : sign_exponent & 0x7fff);
  set_conditions(f, fsw::c1, 0);
  return true;
}

// D8: to ST(0); DC: to ST(i); DE: to ST(i), popping.
template <class Operation>
Binding bind_real(const x86::Instruction& instruction, Op& op) {
  if (instruction.has_memory())
    return instruction.operands[0].bytes == 4
               ? bind_numeric_memory<with_memory<Operation, Source::real32>>(instruction, op)
               : bind_numeric_memory<with_memory<Operation, Source::real64>>(instruction, op);
  return instruction.opcode == 0xd8 ? bind_numeric<with_register<Operation, true, false>>(instruction, op)
                                    : bind_numeric<with_register<Operation, false, false>>(instruction, op);
}
template <class Operation>
constexpr Binder bind_popping = bind_numeric<with_register<Operation, false, true>>;

template <class Operation>
Binding bind_integer(const x86::Instruction& instruction, Op& op) {
  return instruction.operands[0].bytes == 2
             ? bind_numeric_memory<with_memory<Operation, Source::integer16>>(instruction, op)
             : bind_numeric_memory<with_memory<Operation, Source::integer32>>(instruction, op);
}

constexpr BindRow rows[] = {
    {ZYDIS_MNEMONIC_FADD, bind_real<Add>},
    {ZYDIS_MNEMONIC_FMUL, bind_real<Multiply>},
    {ZYDIS_MNEMONIC_FSUB, bind_real<Subtract>},
    {ZYDIS_MNEMONIC_FSUBR, bind_real<SubtractReversed>},
    {ZYDIS_MNEMONIC_FDIV, bind_real<Divide>},
    {ZYDIS_MNEMONIC_FDIVR, bind_real<DivideReversed>},
    {ZYDIS_MNEMONIC_FADDP, bind_popping<Add>},
    {ZYDIS_MNEMONIC_FMULP, bind_popping<Multiply>},
    {ZYDIS_MNEMONIC_FSUBP, bind_popping<Subtract>},
    {ZYDIS_MNEMONIC_FSUBRP, bind_popping<SubtractReversed>},
    {ZYDIS_MNEMONIC_FDIVP, bind_popping<Divide>},
    {ZYDIS_MNEMONIC_FDIVRP, bind_popping<DivideReversed>},
    {ZYDIS_MNEMONIC_FIADD, bind_integer<Add>},
    {ZYDIS_MNEMONIC_FIMUL, bind_integer<Multiply>},
    {ZYDIS_MNEMONIC_FISUB, bind_integer<Subtract>},
    {ZYDIS_MNEMONIC_FISUBR, bind_integer<SubtractReversed>},
    {ZYDIS_MNEMONIC_FIDIV, bind_integer<Divide>},
    {ZYDIS_MNEMONIC_FIDIVR, bind_integer<DivideReversed>},
    {ZYDIS_MNEMONIC_FSQRT, bind_numeric<unary<SquareRoot>>},
    {ZYDIS_MNEMONIC_FRNDINT, bind_numeric<unary<RoundToInteger>>},
    {ZYDIS_MNEMONIC_FSCALE, bind_numeric<scale>},
    {ZYDIS_MNEMONIC_FABS, bind_numeric<change_sign<false>>},
    {ZYDIS_MNEMONIC_FCHS, bind_numeric<change_sign<true>>},
};

}  // namespace

std::span<const BindRow> x87_arithmetic_rows() { return rows; }

}  // namespace doppel::interpreter
