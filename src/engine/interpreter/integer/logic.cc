// AND, OR, XOR, TEST, NOT. CF and OF become 0; AF is undefined and becomes 0, too. Intel SDM vol. 2.
#include "engine/interpreter/integer/alu.h"
#include "engine/interpreter/integer/binders.h"

namespace doppel::interpreter {
namespace {

struct Logic {
  static constexpr bool writes = true;
  template <class T>
  static void flags(LazyFlags& flags, T, T, T value) {
    flags.set_logic(value);
  }
};

struct And : Logic {
  template <class T>
  static T compute(const LazyFlags&, T a, T b) {
    return a & b;
  }
};

struct Or : Logic {
  template <class T>
  static T compute(const LazyFlags&, T a, T b) {
    return a | b;
  }
};

struct Xor : Logic {
  template <class T>
  static T compute(const LazyFlags&, T a, T b) {
    return a ^ b;
  }
};

struct Test : And {
  static constexpr bool writes = false;
};

struct Not {
  template <class T>
  static T compute(T a) {
    return static_cast<T>(~a);
  }
  template <class T>
  static void flags(LazyFlags&, T, T) {}
};

// XOR r, r: the idiom for zero.
template <class T>
void clear(Cpu& cpu, const Op* op) {
  cpu.flags.set_logic(T{0});
  cpu.set_reg<T>(op->a, 0);
  return next(cpu, op);
}

// TEST r, r: one load fewer.
template <class T>
void test_self(Cpu& cpu, const Op* op) {
  cpu.flags.set_logic(cpu.reg<T>(op->a));
  return next(cpu, op);
}

bool same_register(const x86::Instruction& instruction, const Op& op) {
  return form_of(instruction) == Form::reg_reg && op.a == op.b;
}

}  // namespace

Binding bind_and(const x86::Instruction& instruction, Op& op) { return bind_alu<And>(instruction, op); }
Binding bind_or(const x86::Instruction& instruction, Op& op) { return bind_alu<Or>(instruction, op); }
Binding bind_not(const x86::Instruction& instruction, Op& op) { return bind_unary<Not>(instruction, op); }

Binding bind_xor(const x86::Instruction& instruction, Op& op) {
  if (same_register(instruction, op))
    return {by_width(instruction.operands[0].bytes, []<class T>() -> Handler { return clear<T>; })};
  return bind_alu<Xor>(instruction, op);
}

Binding bind_test(const x86::Instruction& instruction, Op& op) {
  if (same_register(instruction, op))
    return {by_width(instruction.operands[0].bytes, []<class T>() -> Handler { return test_self<T>; })};
  return bind_alu<Test>(instruction, op);
}

}  // namespace doppel::interpreter
