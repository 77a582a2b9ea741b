// ADD, ADC, SUB, SBB, CMP, INC, DEC, NEG. Intel SDM vol. 2.
#include "engine/interpreter/integer/alu.h"
#include "engine/interpreter/integer/binders.h"

namespace doppel::interpreter {
namespace {

struct Add {
  static constexpr bool writes = true;
  template <class T>
  static T compute(const LazyFlags&, T a, T b) {
    return static_cast<T>(a + b);
  }
  template <class T>
  static void flags(LazyFlags& flags, T a, T b, T value) {
    flags.set_add(a, b, value);
  }
};

struct Adc : Add {
  template <class T>
  static T compute(const LazyFlags& flags, T a, T b) {
    return static_cast<T>(a + b + T{flags.cf()});
  }
};

struct Sub {
  static constexpr bool writes = true;
  template <class T>
  static T compute(const LazyFlags&, T a, T b) {
    return static_cast<T>(a - b);
  }
  template <class T>
  static void flags(LazyFlags& flags, T a, T b, T value) {
    flags.set_sub(a, b, value);
  }
};

struct Sbb : Sub {
  template <class T>
  static T compute(const LazyFlags& flags, T a, T b) {
    return static_cast<T>(a - b - T{flags.cf()});
  }
};

struct Cmp : Sub {
  static constexpr bool writes = false;
};

// INC and DEC leave CF alone.
struct Inc {
  template <class T>
  static T compute(T a) {
    return static_cast<T>(a + 1);
  }
  template <class T>
  static void flags(LazyFlags& flags, T a, T value) {
    const bool cf = flags.cf();
    flags.set_add<T>(a, 1, value);
    replace_cf(flags, cf);
  }
};

struct Dec {
  template <class T>
  static T compute(T a) {
    return static_cast<T>(a - 1);
  }
  template <class T>
  static void flags(LazyFlags& flags, T a, T value) {
    const bool cf = flags.cf();
    flags.set_sub<T>(a, 1, value);
    replace_cf(flags, cf);
  }
};

struct Neg {
  template <class T>
  static T compute(T a) {
    return static_cast<T>(0 - a);
  }
  template <class T>
  static void flags(LazyFlags& flags, T a, T value) {
    flags.set_sub<T>(0, a, value);
  }
};

}  // namespace

Binding bind_add(const x86::Instruction& instruction, Op& op) { return bind_alu<Add>(instruction, op); }
Binding bind_adc(const x86::Instruction& instruction, Op& op) { return bind_alu<Adc>(instruction, op); }
Binding bind_sub(const x86::Instruction& instruction, Op& op) { return bind_alu<Sub>(instruction, op); }
Binding bind_sbb(const x86::Instruction& instruction, Op& op) { return bind_alu<Sbb>(instruction, op); }
Binding bind_cmp(const x86::Instruction& instruction, Op& op) { return bind_alu<Cmp>(instruction, op); }
Binding bind_inc(const x86::Instruction& instruction, Op& op) { return bind_unary<Inc>(instruction, op); }
Binding bind_dec(const x86::Instruction& instruction, Op& op) { return bind_unary<Dec>(instruction, op); }
Binding bind_neg(const x86::Instruction& instruction, Op& op) { return bind_unary<Neg>(instruction, op); }

}  // namespace doppel::interpreter
