// Running one operation on the host's own x87 unit, which gives the exact results, flags and masked and unmasked responses.
//
// Each operation is a struct with `template <bool trapping> static u16 run(…)`: it loads its operands, executes, and returns the
// status word. Between operations the host's unit has the control word 0x037f and an empty stack, as the ABI demands; its sticky
// exception flags are always among the guest's, so that they need no clearing before each operation. Hence whoever clears guest
// flags calls forget_host_flags(), and so does run() on entry.
//
// run<true> executes with exceptions unmasked: nothing between the operation and FNCLEX waits, so the host never sees the error.
// It ends in FNINIT, whatever the operation left on the stack.
#pragma once

#include "engine/interpreter/x87/state.h"

namespace doppel::interpreter {

inline void load_host_control(u16 control) { asm volatile("fldcw %0" : : "m"(control)); }

// Everything masked, but another rounding or precision than the default.
template <class Operation, class... Arguments>
[[gnu::noinline]] u16 run_with_rounding(u16 control, Arguments... arguments) {
  load_host_control(control);
  const u16 status = Operation::template run<false>(arguments...);
  load_host_control(fcw::initial);
  return status;
}
template <class Operation, class... Arguments>
[[gnu::noinline]] u16 run_trapping(u16 control, Arguments... arguments) {
  asm volatile("fnclex");
  load_host_control(control);
  return Operation::template run<true>(arguments...);
}

template <class Operation, class... Arguments>
[[gnu::always_inline]] inline u16 on_host(u16 control, Arguments... arguments) {
  if (control == fcw::initial) [[likely]]
    return Operation::template run<false>(arguments...);
  if ((control & fcw::masks) == fcw::masks) return run_with_rounding<Operation>(control, arguments...);
  return run_trapping<Operation>(control, arguments...);
}

// What operands in memory are.
enum class Source : u8 { real32, real64, integer16, integer32 };
template <Source source>
using SourceBits = std::conditional_t<source == Source::integer16, u16,
                                      std::conditional_t<source == Source::real64, u64, u32>>;

// Text around the operation: status, and with run<true> the clearing of what is pending and the final clean-up.
#define DOPPEL_X87_STATUS "fnstsw %%ax\n\t.if %c[trapping]\n\tfnclex\n\t.endif\n\t"
#define DOPPEL_X87_END ".if %c[trapping]\n\tfninit\n\t.endif"
#define DOPPEL_X87_POP_END ".if %c[trapping]\n\tfninit\n\t.else\n\tfstp %%st(0)\n\t.endif"
#define DOPPEL_X87_CLOBBERS "st", "st(1)", "st(2)", "st(3)", "st(4)", "st(5)", "st(6)", "st(7)"

// result = text(a): one register in, one out.
#define DOPPEL_X87_UNARY(Name, text)                                                                  \
  struct Name {                                                                                       \
    template <bool trapping>                                                                          \
    [[gnu::always_inline]] static inline u16 run(x86::Float80* result, const x86::Float80* a) {       \
      u16 status;                                                                                     \
      asm volatile("fldt %[a]\n\t" text "\n\t" DOPPEL_X87_STATUS "fstpt %[result]\n\t" DOPPEL_X87_END \
                   : [result] "=m"(*result), "=&a"(status)                                            \
                   : [a] "m"(*a), [trapping] "i"(trapping)                                            \
                   : DOPPEL_X87_CLOBBERS);                                                            \
      return status;                                                                                  \
    }                                                                                                 \
  };

// result = text(st = a, st(1) = b), which does not pop.
#define DOPPEL_X87_BINARY(Name, text)                                                                                  \
  struct Name {                                                                                                        \
    template <bool trapping>                                                                                           \
    [[gnu::always_inline]] static inline u16 run(x86::Float80* result, const x86::Float80* a, const x86::Float80* b) { \
      u16 status;                                                                                                      \
      asm volatile("fldt %[b]\n\tfldt %[a]\n\t" text "\n\t" DOPPEL_X87_STATUS "fstpt %[result]\n\t" DOPPEL_X87_POP_END \
                   : [result] "=m"(*result), "=&a"(status)                                                             \
                   : [a] "m"(*a), [b] "m"(*b), [trapping] "i"(trapping)                                                \
                   : DOPPEL_X87_CLOBBERS);                                                                             \
      return status;                                                                                                   \
    }                                                                                                                  \
  };

}  // namespace doppel::interpreter
