// Guest instructions per second of the interpreter on small integer programs in 64-bit mode. Each program runs for ever.
#include <benchmark/benchmark.h>
#include <xbyak/xbyak.h>

#include <numeric>
#include <random>

#include "engine/interpreter/interpreter.h"
#include "support/flat_guest.h"

namespace doppel {
namespace {

using testing::FlatGuest;
using Xbyak::CodeGenerator;
using namespace Xbyak::util;

constexpr u64 code_at = FlatGuest::base + 0x1000, stack_at = FlatGuest::base + 0xf000;
constexpr u64 data_at = FlatGuest::base + 0x1'0000, data_bytes = 0x4'0000;

// Which of the first 65536 numbers are prime, one byte each.
void sieve(CodeGenerator& c) {
  Xbyak::Label again, clear, next_number, cross_off, skip;
  c.mov(rbx, data_at);
  c.L(again);
  c.xor_(ecx, ecx);
  c.L(clear);
  c.mov(byte[rbx + rcx], 0);
  c.inc(ecx);
  c.cmp(ecx, 65536);
  c.jne(clear);
  c.mov(esi, 2);
  c.L(next_number);
  c.cmp(byte[rbx + rsi], 0);
  c.jne(skip);
  c.mov(edi, esi);
  c.imul(edi, esi);
  c.L(cross_off);
  c.mov(byte[rbx + rdi], 1);
  c.add(edi, esi);
  c.cmp(edi, 65536);
  c.jb(cross_off);
  c.L(skip);
  c.inc(esi);
  c.cmp(esi, 256);
  c.jb(next_number);
  c.jmp(again);
}

// Insertion sort of 1024 numbers from a linear congruential generator.
void sort(CodeGenerator& c) {
  Xbyak::Label again, fill, outer, inner, place;
  c.mov(rbx, data_at);
  c.mov(r8d, 12345);
  c.L(again);
  c.xor_(ecx, ecx);
  c.L(fill);
  c.imul(r8d, r8d, 1103515245);
  c.add(r8d, 12345);
  c.mov(dword[rbx + rcx * 4], r8d);
  c.inc(ecx);
  c.cmp(ecx, 1024);
  c.jb(fill);
  c.mov(esi, 1);
  c.L(outer);
  c.mov(eax, dword[rbx + rsi * 4]);
  c.mov(edi, esi);
  c.L(inner);
  c.mov(edx, dword[rbx + rdi * 4 - 4]);
  c.cmp(edx, eax);
  c.jbe(place);
  c.mov(dword[rbx + rdi * 4], edx);
  c.dec(edi);
  c.jnz(inner);
  c.L(place);
  c.mov(dword[rbx + rdi * 4], eax);
  c.inc(esi);
  c.cmp(esi, 1024);
  c.jb(outer);
  c.jmp(again);
}

// Every load depends on the one before; 4096 cells in 64 pages, in random order.
void chase(CodeGenerator& c) {
  Xbyak::Label again;
  c.mov(rax, data_at);
  c.L(again);
  for (int i = 0; i < 8; ++i) c.mov(rax, ptr[rax]);
  c.dec(ecx);
  c.jmp(again);
}

// Recursive Fibonacci numbers: calls, returns, pushes.
void fibonacci(CodeGenerator& c) {
  Xbyak::Label again, fib, recurse;
  c.L(again);
  c.mov(edi, 18);
  c.call(fib);
  c.jmp(again);
  c.L(fib);
  c.cmp(edi, 2);
  c.jae(recurse);
  c.mov(eax, edi);
  c.ret();
  c.L(recurse);
  c.push(rbx);
  c.push(rdi);
  c.sub(edi, 1);
  c.call(fib);
  c.mov(ebx, eax);
  c.pop(rdi);
  c.sub(edi, 2);
  c.call(fib);
  c.add(eax, ebx);
  c.pop(rbx);
  c.ret();
}

// A byte-wise hash over 64 KiB: zero-extension, shifts, LEA.
void hash(CodeGenerator& c) {
  Xbyak::Label again, byte_loop;
  c.L(again);
  c.mov(rsi, data_at);
  c.lea(rdi, ptr[rsi + 65536]);
  c.L(byte_loop);
  c.movzx(edx, byte[rsi]);
  c.lea(rsi, ptr[rsi + 1]);
  c.xor_(eax, edx);
  c.mov(ecx, eax);
  c.shl(eax, 5);
  c.shr(ecx, 27);
  c.or_(eax, ecx);
  c.lea(eax, ptr[rax + rax * 4]);
  c.test(eax, eax);
  c.cmovs(edx, ecx);
  c.cmp(rsi, rdi);
  c.jne(byte_loop);
  c.jmp(again);
}

// One page, locked: what spin locks and counters do.
void atomic(CodeGenerator& c) {
  Xbyak::Label again;
  c.mov(rbx, data_at);
  c.L(again);
  c.mov(eax, 1);
  c.lock();
  c.xadd(dword[rbx], eax);
  c.xchg(dword[rbx + 8], eax);
  c.jmp(again);
}

void copy(CodeGenerator& c) {
  Xbyak::Label again;
  c.L(again);
  c.mov(rsi, data_at);
  c.mov(rdi, data_at + 0x2'0000);
  c.mov(ecx, 0x1'0000);
  c.rep();
  c.movsb();
  c.jmp(again);
}

using Program = void (*)(CodeGenerator&);

void prepare_chase(FlatGuest& guest) {
  constexpr u64 cells = 4096, stride = 64;
  std::vector<u64> order(cells);
  std::iota(order.begin(), order.end(), 0);
  std::shuffle(order.begin() + 1, order.end(), std::mt19937{1});
  for (u64 i = 0; i < cells; ++i) {
    const u64 next = data_at + order[(i + 1) % cells] * stride;
    guest.write(data_at + order[i] * stride, {reinterpret_cast<const u8*>(&next), sizeof(next)});
  }
}

void run(benchmark::State& bench, Program program) {
  CodeGenerator code(4096, Xbyak::DontSetProtectRWE);
  program(code);
  auto engine = make_interpreter();
  FlatGuest guest(*engine);
  guest.write(code_at, {code.getCode(), code.getSize()});
  prepare_chase(guest);
  x86::X86State state = FlatGuest::initial_state();
  state.rip = code_at;
  state.gpr[x86::rsp] = stack_at;
  guest.vcpu().set_trace(nullptr);
  guest.vcpu().set_state(state);
  constexpr u64 slice = 2'000'000;
  const u64 before = guest.vcpu().instruction_count();
  for (auto _ : bench) {
    const VcpuExit exit = guest.vcpu().run(program == copy ? slice / 1000 : slice);
    if (!std::holds_alternative<BudgetSpent>(exit)) return bench.SkipWithError("the program did not run on");
  }
  const double instructions = static_cast<double>(guest.vcpu().instruction_count() - before);
  bench.counters["instructions/s"] = benchmark::Counter(instructions, benchmark::Counter::kIsRate);
  if (program == copy)
    bench.counters["bytes/s"] = benchmark::Counter(instructions / 5 * 0x1'0000, benchmark::Counter::kIsRate);
}

BENCHMARK_CAPTURE(run, sieve, sieve);
BENCHMARK_CAPTURE(run, sort, sort);
BENCHMARK_CAPTURE(run, chase, chase);
BENCHMARK_CAPTURE(run, fibonacci, fibonacci);
BENCHMARK_CAPTURE(run, hash, hash);
BENCHMARK_CAPTURE(run, atomic, atomic);
BENCHMARK_CAPTURE(run, copy, copy);

}  // namespace
}  // namespace doppel
