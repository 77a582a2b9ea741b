// INS and OUTS, with and without REP. Intel SDM vol. 2. Index registers move and repetition is interrupted as with the other string
// instructions (strings/strings.h).
#include "engine/interpreter/strings/strings.h"
#include "engine/interpreter/system/handlers.h"

namespace doppel::interpreter {

using namespace x86;

namespace {

struct Input {
  // The destination is probed first: a port must not be read for nothing.
  template <class T>
  static bool one(Cpu& cpu, const Op* op) {
    const auto port = static_cast<u16>(cpu.gpr[rdx]);
    if (!io_allowed(cpu, port, sizeof(T))) return false;
    const Linear linear = segment_linear(cpu, es, read_index(cpu, op, rdi), sizeof(T), AccessKind::write);
    if (!linear.ok || !probe_write(cpu, linear.address, sizeof(T), es)) return false;
    if (!store<T>(cpu, linear.address, static_cast<T>(port_read(cpu, port, sizeof(T))), es)) return false;
    advance<T>(cpu, op, rdi, 1);
    return true;
  }
};

struct Output {
  template <class T>
  static bool one(Cpu& cpu, const Op* op) {
    const auto port = static_cast<u16>(cpu.gpr[rdx]);
    if (!io_allowed(cpu, port, sizeof(T))) return false;
    const Loaded<T> value = load_source<T>(cpu, op);
    if (!value.ok) return false;
    port_write(cpu, port, sizeof(T), value.value);
    advance<T>(cpu, op, rsi, 1);
    return true;
  }
};

template <class Direction, class T>
void execute_once(Cpu& cpu, const Op* op) {
  if (!Direction::template one<T>(cpu, op)) return faulted(cpu, op);
  return next_or_attend(cpu, op);
}

template <class Direction, class T>
[[gnu::noinline]] Progress repeat_io(Cpu& cpu, const Op* op) {
  const bool stepping = cpu.other_flags & rflags::tf;
  if (!io_allowed(cpu, cpu.reg<u16>(rdx * 8), sizeof(T))) return Progress::fault;  // even for no repetition at all
  for (;;) {
    const u64 left = read_index(cpu, op, rcx);
    if (left == 0) return Progress::done;
    if (!Direction::template one<T>(cpu, op)) return Progress::fault;
    write_index(cpu, op, rcx, left - 1);
    if (left == 1) return Progress::done;
    if (stepping || cpu.pending_debug) return Progress::stepped;
    if (cpu.attention.load(std::memory_order_relaxed) && cpu.events.load(std::memory_order_relaxed))
      return Progress::interrupted;
  }
}

template <class Direction, class T>
void execute_repeated(Cpu& cpu, const Op* op) {
  switch (repeat_io<Direction, T>(cpu, op)) {
    case Progress::done: return next_or_attend(cpu, op);
    case Progress::interrupted: return leave_before(cpu, op, Leave::restart);
    case Progress::stepped: cpu.rip = cpu.op_rip(op); return leave_after(cpu, op);
    case Progress::fault: return faulted(cpu, op);
  }
}

template <class Direction>
Binding bind_port_string(const Instruction& instruction, Op& op) {
  op.c = instruction.address_bytes;
  op.segment = instruction.memory.segment;
  const bool repeated = instruction.rep || instruction.repne;
  switch (instruction.operand_bytes) {
    case 1: return {repeated ? execute_repeated<Direction, u8> : execute_once<Direction, u8>, true};
    case 2: return {repeated ? execute_repeated<Direction, u16> : execute_once<Direction, u16>, true};
    default: return {repeated ? execute_repeated<Direction, u32> : execute_once<Direction, u32>, true};
  }
}

}  // namespace

Binding bind_ins(const Instruction& instruction, Op& op) { return bind_port_string<Input>(instruction, op); }
Binding bind_outs(const Instruction& instruction, Op& op) { return bind_port_string<Output>(instruction, op); }

}  // namespace doppel::interpreter
