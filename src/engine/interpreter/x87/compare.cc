// FCOM, FUCOM, FICOM, FCOMI, FUCOMI with their popping forms, FTST and FXAM. Intel SDM vol. 2 (edition 085).
#include "engine/interpreter/x87/native.h"
#include "engine/interpreter/x87/rows.h"

namespace doppel::interpreter {
namespace {

using x86::Float80;

constexpr u16 unordered = fsw::c0 | fsw::c2 | fsw::c3;

// st(0) = a against st(1) = b; both gone afterwards.
#define DOPPEL_X87_COMPARE(Name, text)                                                       \
  struct Name {                                                                              \
    template <bool trapping>                                                                 \
    [[gnu::always_inline]] static inline u16 run(const Float80* a, const Float80* b) {       \
      u16 status;                                                                            \
      asm volatile("fldt %[b]\n\tfldt %[a]\n\t" text "\n\t" DOPPEL_X87_STATUS DOPPEL_X87_END \
                   : "=&a"(status)                                                           \
                   : [a] "m"(*a), [b] "m"(*b), [trapping] "i"(trapping)                      \
                   : DOPPEL_X87_CLOBBERS);                                                   \
      return status;                                                                         \
    }                                                                                        \
  };
DOPPEL_X87_COMPARE(Ordered, "fcompp")
DOPPEL_X87_COMPARE(Unordered, "fucompp")

template <Source source>
struct WithMemory {
  template <bool trapping>
  [[gnu::always_inline]] static inline u16 run(const Float80* a, SourceBits<source> b) {
    u16 status;
#define DOPPEL_X87_FORM(text)                                                    \
  asm volatile("fldt %[a]\n\t" text " %[b]\n\t" DOPPEL_X87_STATUS DOPPEL_X87_END \
               : "=&a"(status)                                                   \
               : [a] "m"(*a), [b] "m"(b), [trapping] "i"(trapping)               \
               : DOPPEL_X87_CLOBBERS)
    if constexpr (source == Source::real32) DOPPEL_X87_FORM("fcomps");
    if constexpr (source == Source::real64) DOPPEL_X87_FORM("fcompl");
    if constexpr (source == Source::integer16) DOPPEL_X87_FORM("ficomps");
    if constexpr (source == Source::integer32) DOPPEL_X87_FORM("ficompl");
#undef DOPPEL_X87_FORM
    return status;
  }
};

// Where the processors of different makers differ, guests see what the host does.
struct Habits {
  bool codes_despite_error;  // an unmasked error sets the condition codes to "unordered" instead of leaving them
  bool fcomi_clears_c1;      // instead of leaving it
};
Habits observe_host() {
  constexpr u16 invalid_unmasked = 0x037e, negative_normal = fsw::c1 | fsw::c2;
  u16 after_error, after_fcomi;
  // FXAM of -1 gives C1 and C2 known values; the comparison with an empty register is the error.
  asm volatile(
      "fldcw %[unmasked]\n\tfld1\n\tfchs\n\tfxam\n\tfcom %%st(1)\n\tfnstsw %[error]\n\tfninit\n\t"
      "fld1\n\tfchs\n\tfxam\n\tfcomi %%st(0), %%st\n\tfnstsw %[fcomi]\n\tfninit"
      : [error] "=m"(after_error), [fcomi] "=m"(after_fcomi)
      : [unmasked] "m"(invalid_unmasked)
      : "cc", DOPPEL_X87_CLOBBERS);
  return {.codes_despite_error = (after_error & unordered) != (negative_normal & unordered),
          .fcomi_clears_c1 = !(after_fcomi & fsw::c1)};
}
const Habits habits = observe_host();

struct Test {
  template <bool trapping>
  [[gnu::always_inline]] static inline u16 run(const Float80* a) {
    u16 status;
    asm volatile("fldt %[a]\n\tftst\n\t" DOPPEL_X87_STATUS DOPPEL_X87_POP_END
                 : "=&a"(status)
                 : [a] "m"(*a), [trapping] "i"(trapping)
                 : DOPPEL_X87_CLOBBERS);
    return status;
  }
};

void pop_many(Fpu& f, unsigned pops) {
  for (unsigned i = 0; i < pops; ++i) pop(f);
}

bool underflow(Fpu& f, unsigned pops) {
  const bool masked = stack_fault(f, false);
  if (masked || habits.codes_despite_error) set_conditions(f, unordered, unordered);
  if (masked) pop_many(f, pops);
  return true;
}

void finish(Fpu& f, u16 status, unsigned pops) {
  if (suppressed(f, status)) [[unlikely]]
    return commit(f, status, habits.codes_despite_error ? fsw::conditions : fsw::c1);
  commit(f, status, fsw::conditions);
  pop_many(f, pops);
}

template <class Operation, unsigned pops>
bool compare_register(Cpu& cpu, const Op* op) {
  Fpu& f = cpu.s.fpu;
  if (empty(f, 0) || empty(f, op->a)) [[unlikely]]
    return underflow(f, pops);
  finish(f, on_host<Operation>(f.control, &st(f, 0), &st(f, op->a)), pops);
  return true;
}

template <Source source, unsigned pops>
bool compare_memory(Cpu& cpu, const Op* op) {
  const auto operand = load_operand<SourceBits<source>>(cpu, op);
  if (!operand.ok) return false;
  Fpu& f = cpu.s.fpu;
  if (empty(f, 0)) [[unlikely]]
    return underflow(f, pops);
  finish(f, on_host<WithMemory<source>>(f.control, &st(f, 0), operand.value), pops);
  return true;
}

bool test(Cpu& cpu, const Op*) {
  Fpu& f = cpu.s.fpu;
  if (empty(f, 0)) [[unlikely]]
    return underflow(f, 0);
  finish(f, on_host<Test>(f.control, &st(f, 0)), 0);
  return true;
}

// FCOMI gives the outcome of FCOM in EFLAGS: C0 is CF, C2 PF, C3 ZF.
void set_flags(Cpu& cpu, u16 conditions) {
  cpu.flags.unpack((conditions & fsw::c0 ? x86::rflags::cf : 0) | (conditions & fsw::c2 ? x86::rflags::pf : 0) |
                   (conditions & fsw::c3 ? x86::rflags::zf : 0));
}

// With exceptions unmasked, FCOMI itself runs, on the guest's flags: processors differ in what an error leaves in them.
struct CodesAndFlags {
  u16 status;
  u64 flags;
};
template <bool quiet>
[[gnu::noinline]] CodesAndFlags compare_trapping(u16 control, const Float80& a, const Float80& b, u64 flags) {
  u64 rax = (flags & 0xff) << 8 | (flags & x86::rflags::of ? 0x7f : 0);
  u16 status;
  asm volatile(
      "fnclex\n\tfldcw %[control]\n\tfldt %[b]\n\tfldt %[a]\n\taddb $1, %%al\n\tsahf\n\t"
      ".if %c[quiet]\n\tfucomi %%st(1), %%st\n\t.else\n\tfcomi %%st(1), %%st\n\t.endif\n\t"
      "lahf\n\tseto %%al\n\tfnstsw %[status]\n\tfninit"
      : "+&a"(rax), [status] "=m"(status)
      : [a] "m"(a), [b] "m"(b), [control] "m"(control), [quiet] "i"(quiet)
      : "cc", DOPPEL_X87_CLOBBERS);
  return {status, (rax >> 8 & 0xff) | (rax & 1 ? x86::rflags::of : 0)};
}

template <bool quiet, bool pops>
bool compare_to_flags(Cpu& cpu, const Op* op) {
  Fpu& f = cpu.s.fpu;
  if (empty(f, 0) || empty(f, op->a)) [[unlikely]] {
    const bool masked = stack_fault(f, false);
    if (masked || habits.codes_despite_error) set_flags(cpu, unordered);
    if (masked && pops) pop(f);
    return true;
  }
  u16 status;
  if ((f.control & fcw::masks) != fcw::masks) [[unlikely]] {
    const CodesAndFlags outcome = compare_trapping<quiet>(f.control, st(f, 0), st(f, op->a), cpu.flags.pack());
    status = outcome.status;
    cpu.flags.unpack(outcome.flags);
  } else {
    status = on_host<std::conditional_t<quiet, Unordered, Ordered>>(fcw::initial, &st(f, 0), &st(f, op->a));
    set_flags(cpu, status);
  }
  commit(f, status, habits.fcomi_clears_c1 ? fsw::c1 : 0);
  if (pops && !suppressed(f, status)) pop(f);
  return true;
}

u16 classify(const Float80& value) {
  const unsigned exponent = value.sign_exponent & 0x7fff;
  const bool integer_bit = value.significand >> 63;
  if (exponent == 0) return value.significand ? fsw::c3 | fsw::c2 : fsw::c3;  // denormal (pseudo-denormal, too), zero
  if (!integer_bit) return 0;                                                 // unsupported
  if (exponent == 0x7fff) return value.significand << 1 ? fsw::c0 : fsw::c2 | fsw::c0;  // NaN, infinity
  return fsw::c2;
}

bool examine(Cpu& cpu, const Op*) {
  Fpu& f = cpu.s.fpu;
  const Float80& value = st(f, 0);
  const u16 sign = value.sign_exponent & 0x8000 ? fsw::c1 : 0;
  set_conditions(f, fsw::conditions, sign | (empty(f, 0) ? fsw::c3 | fsw::c0 : classify(value)));
  return true;
}

template <class Operation, unsigned pops>
Binding bind_compare(const x86::Instruction& instruction, Op& op) {
  if (!instruction.has_memory()) return bind_numeric<compare_register<Operation, pops>>(instruction, op);
  return instruction.operands[0].bytes == 4
             ? bind_numeric_memory<compare_memory<Source::real32, pops>>(instruction, op)
             : bind_numeric_memory<compare_memory<Source::real64, pops>>(instruction, op);
}

template <unsigned pops>
Binding bind_integer(const x86::Instruction& instruction, Op& op) {
  return instruction.operands[0].bytes == 2
             ? bind_numeric_memory<compare_memory<Source::integer16, pops>>(instruction, op)
             : bind_numeric_memory<compare_memory<Source::integer32, pops>>(instruction, op);
}

constexpr BindRow rows[] = {
    {ZYDIS_MNEMONIC_FCOM, bind_compare<Ordered, 0>},
    {ZYDIS_MNEMONIC_FCOMP, bind_compare<Ordered, 1>},
    {ZYDIS_MNEMONIC_FCOMPP, bind_numeric<compare_register<Ordered, 2>>},
    {ZYDIS_MNEMONIC_FUCOM, bind_numeric<compare_register<Unordered, 0>>},
    {ZYDIS_MNEMONIC_FUCOMP, bind_numeric<compare_register<Unordered, 1>>},
    {ZYDIS_MNEMONIC_FUCOMPP, bind_numeric<compare_register<Unordered, 2>>},
    {ZYDIS_MNEMONIC_FICOM, bind_integer<0>},
    {ZYDIS_MNEMONIC_FICOMP, bind_integer<1>},
    {ZYDIS_MNEMONIC_FCOMI, bind_numeric<compare_to_flags<false, false>>},
    {ZYDIS_MNEMONIC_FCOMIP, bind_numeric<compare_to_flags<false, true>>},
    {ZYDIS_MNEMONIC_FUCOMI, bind_numeric<compare_to_flags<true, false>>},
    {ZYDIS_MNEMONIC_FUCOMIP, bind_numeric<compare_to_flags<true, true>>},
    {ZYDIS_MNEMONIC_FTST, bind_numeric<test>},
    {ZYDIS_MNEMONIC_FXAM, bind_numeric<examine>},
};

}  // namespace

std::span<const BindRow> x87_compare_rows() { return rows; }

}  // namespace doppel::interpreter
