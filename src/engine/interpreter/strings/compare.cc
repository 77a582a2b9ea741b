// SCAS, CMPS. Intel SDM vol. 2. Flags are those of the last comparison; a repetition of no elements leaves them alone.
#include <cstring>

#include "engine/interpreter/strings/binders.h"
#include "engine/interpreter/strings/strings.h"

namespace doppel::interpreter {
namespace {

using x86::es;
using x86::rdi;
using x86::rsi;

constexpr u8 accumulator = x86::rax * 8;

template <class T>
void compare(Cpu& cpu, T a, T b) {
  cpu.flags.set_sub(a, b, static_cast<T>(a - b));
}

// The byte offset in its run of element `i` in the guest's direction.
template <class T>
u64 place(u64 i, u64 count, bool down) {
  return (down ? count - 1 - i : i) * sizeof(T);
}

struct Scas {
  static constexpr bool compares = true;

  template <class T>
  static bool one(Cpu& cpu, const Op* op) {
    const Loaded<T> value = load_element<T>(cpu, op, es, rdi);
    if (!value.ok) return false;
    compare<T>(cpu, cpu.reg<T>(accumulator), value.value);
    advance<T>(cpu, op, rdi, 1);
    return true;
  }

  template <class T>
  static u64 run(Cpu& cpu, const Op* op, u64 count) {
    count = std::min(count, run_length<T>(cpu, op, es, rdi));
    if (count == 0) return 0;
    const u8* host = run_host<T>(cpu, op, es, rdi, count, AccessKind::read);
    if (!host) return 0;
    const T value = cpu.reg<T>(accumulator);
    const bool down = backward(cpu), while_equal = op->flags & op_flag::rep;
    u64 last = 0;  // the element that was compared last
    if (sizeof(T) == 1 && !down && !while_equal) {
      const void* found = std::memchr(host, static_cast<u8>(value), count);
      last = found ? static_cast<u64>(static_cast<const u8*>(found) - host) : count - 1;
    } else {
      while (last + 1 < count && (get<T>(host + place<T>(last, count, down)) == value) == while_equal) ++last;
    }
    compare<T>(cpu, value, get<T>(host + place<T>(last, count, down)));
    advance<T>(cpu, op, rdi, last + 1);
    return last + 1;
  }
};

struct Cmps {
  static constexpr bool compares = true;

  template <class T>
  static bool one(Cpu& cpu, const Op* op) {
    const Loaded<T> a = load_source<T>(cpu, op);
    if (!a.ok) return false;
    const Loaded<T> b = load_element<T>(cpu, op, es, rdi);
    if (!b.ok) return false;
    compare<T>(cpu, a.value, b.value);
    advance<T>(cpu, op, rsi, 1);
    advance<T>(cpu, op, rdi, 1);
    return true;
  }

  template <class T>
  static u64 run(Cpu& cpu, const Op* op, u64 count) {
    const auto segment = static_cast<x86::Segment>(op->segment);
    count = std::min({count, run_length<T>(cpu, op, segment, rsi), run_length<T>(cpu, op, es, rdi)});
    if (count == 0) return 0;
    const u8* left = run_host<T>(cpu, op, segment, rsi, count, AccessKind::read);
    const u8* right = run_host<T>(cpu, op, es, rdi, count, AccessKind::read);
    if (!left || !right) return 0;
    const bool down = backward(cpu), while_equal = op->flags & op_flag::rep;
    u64 last = 0;
    for (; last + 1 < count; ++last) {
      const u64 at = place<T>(last, count, down);
      if ((get<T>(left + at) == get<T>(right + at)) != while_equal) break;
    }
    const u64 at = place<T>(last, count, down);
    compare<T>(cpu, get<T>(left + at), get<T>(right + at));
    advance<T>(cpu, op, rsi, last + 1);
    advance<T>(cpu, op, rdi, last + 1);
    return last + 1;
  }
};

}  // namespace

Binding bind_scasb(const x86::Instruction& instruction, Op& op) { return bind_string<Scas, u8>(instruction, op); }
Binding bind_scasw(const x86::Instruction& instruction, Op& op) { return bind_string<Scas, u16>(instruction, op); }
Binding bind_scasd(const x86::Instruction& instruction, Op& op) { return bind_string<Scas, u32>(instruction, op); }
Binding bind_scasq(const x86::Instruction& instruction, Op& op) { return bind_string<Scas, u64>(instruction, op); }
Binding bind_cmpsb(const x86::Instruction& instruction, Op& op) { return bind_string<Cmps, u8>(instruction, op); }
Binding bind_cmpsw(const x86::Instruction& instruction, Op& op) { return bind_string<Cmps, u16>(instruction, op); }
Binding bind_cmpsd(const x86::Instruction& instruction, Op& op) { return bind_string<Cmps, u32>(instruction, op); }
Binding bind_cmpsq(const x86::Instruction& instruction, Op& op) { return bind_string<Cmps, u64>(instruction, op); }

}  // namespace doppel::interpreter
