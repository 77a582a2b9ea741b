// MOVS, STOS, LODS. Intel SDM vol. 2.
#include <cstring>

#include "engine/interpreter/strings/binders.h"
#include "engine/interpreter/strings/strings.h"

namespace doppel::interpreter {
namespace {

using x86::es;
using x86::rdi;
using x86::rsi;

constexpr u8 accumulator = x86::rax * 8;

// Copies in the guest's direction, element by element: an overlap repeats what has just been written.
template <class T>
void copy_overlapping(u8* to, const u8* from, u64 count, bool down) {
  for (u64 i = 0; i < count; ++i) {
    const u64 at = (down ? count - 1 - i : i) * sizeof(T);
    put<T>(to + at, get<T>(from + at));
  }
}

// Whether writing in the guest's direction reaches elements that are still to be read.
bool overlaps_ahead(const u8* to, const u8* from, u64 bytes, bool down) {
  return down ? from > to && from < to + bytes : to > from && to < from + bytes;
}

struct Movs {
  static constexpr bool compares = false;

  template <class T>
  static bool one(Cpu& cpu, const Op* op) {
    const Loaded<T> value = load_source<T>(cpu, op);
    if (!value.ok || !store_destination<T>(cpu, op, value.value)) return false;
    advance<T>(cpu, op, rsi, 1);
    advance<T>(cpu, op, rdi, 1);
    return true;
  }

  template <class T>
  static u64 run(Cpu& cpu, const Op* op, u64 count) {
    const auto segment = static_cast<x86::Segment>(op->segment);
    count = std::min({count, run_length<T>(cpu, op, segment, rsi), run_length<T>(cpu, op, es, rdi)});
    if (count == 0) return 0;
    const u8* from = run_host<T>(cpu, op, segment, rsi, count, AccessKind::read);
    u8* to = run_host<T>(cpu, op, es, rdi, count, AccessKind::write);
    if (!from || !to) return 0;
    const u64 bytes = count * sizeof(T);
    if (overlaps_ahead(to, from, bytes, backward(cpu)))
      copy_overlapping<T>(to, from, count, backward(cpu));
    else
      std::memmove(to, from, bytes);
    note_store(cpu, to, static_cast<unsigned>(bytes));
    advance<T>(cpu, op, rsi, count);
    advance<T>(cpu, op, rdi, count);
    return count;
  }
};

struct Stos {
  static constexpr bool compares = false;

  template <class T>
  static bool one(Cpu& cpu, const Op* op) {
    if (!store_destination<T>(cpu, op, cpu.reg<T>(accumulator))) return false;
    advance<T>(cpu, op, rdi, 1);
    return true;
  }

  template <class T>
  static u64 run(Cpu& cpu, const Op* op, u64 count) {
    count = std::min(count, run_length<T>(cpu, op, es, rdi));
    if (count == 0) return 0;
    u8* to = run_host<T>(cpu, op, es, rdi, count, AccessKind::write);
    if (!to) return 0;
    const T value = cpu.reg<T>(accumulator);
    if (sizeof(T) == 1 || value == 0)
      std::memset(to, static_cast<u8>(value), count * sizeof(T));
    else
      for (u64 i = 0; i < count; ++i) put<T>(to + i * sizeof(T), value);
    note_store(cpu, to, static_cast<unsigned>(count * sizeof(T)));
    advance<T>(cpu, op, rdi, count);
    return count;
  }
};

struct Lods {
  static constexpr bool compares = false;

  template <class T>
  static bool one(Cpu& cpu, const Op* op) {
    const Loaded<T> value = load_source<T>(cpu, op);
    if (!value.ok) return false;
    cpu.set_reg<T>(accumulator, value.value);
    advance<T>(cpu, op, rsi, 1);
    return true;
  }

  // Only the last element is seen.
  template <class T>
  static u64 run(Cpu& cpu, const Op* op, u64 count) {
    const auto segment = static_cast<x86::Segment>(op->segment);
    count = std::min(count, run_length<T>(cpu, op, segment, rsi));
    if (count == 0) return 0;
    const u8* from = run_host<T>(cpu, op, segment, rsi, count, AccessKind::read);
    if (!from) return 0;
    cpu.set_reg<T>(accumulator, get<T>(backward(cpu) ? from : from + (count - 1) * sizeof(T)));
    advance<T>(cpu, op, rsi, count);
    return count;
  }
};

}  // namespace

Binding bind_movsb(const x86::Instruction& instruction, Op& op) { return bind_string<Movs, u8>(instruction, op); }
Binding bind_movsw(const x86::Instruction& instruction, Op& op) { return bind_string<Movs, u16>(instruction, op); }
Binding bind_movsd(const x86::Instruction& instruction, Op& op) { return bind_string<Movs, u32>(instruction, op); }
Binding bind_movsq(const x86::Instruction& instruction, Op& op) { return bind_string<Movs, u64>(instruction, op); }
Binding bind_stosb(const x86::Instruction& instruction, Op& op) { return bind_string<Stos, u8>(instruction, op); }
Binding bind_stosw(const x86::Instruction& instruction, Op& op) { return bind_string<Stos, u16>(instruction, op); }
Binding bind_stosd(const x86::Instruction& instruction, Op& op) { return bind_string<Stos, u32>(instruction, op); }
Binding bind_stosq(const x86::Instruction& instruction, Op& op) { return bind_string<Stos, u64>(instruction, op); }
Binding bind_lodsb(const x86::Instruction& instruction, Op& op) { return bind_string<Lods, u8>(instruction, op); }
Binding bind_lodsw(const x86::Instruction& instruction, Op& op) { return bind_string<Lods, u16>(instruction, op); }
Binding bind_lodsd(const x86::Instruction& instruction, Op& op) { return bind_string<Lods, u32>(instruction, op); }
Binding bind_lodsq(const x86::Instruction& instruction, Op& op) { return bind_string<Lods, u64>(instruction, op); }

}  // namespace doppel::interpreter
