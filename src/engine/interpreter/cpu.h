// One interpreted processor: the canonical X86State, held so that handlers reach the hot parts quickly, plus what is derived
// from it (TLB, decoded blocks, mode summaries). Internal to the engine: handlers use its members directly.
//
// While it runs, gpr, rip, flags and other_flags are the truth and the same fields of `s` are stale; load_state()/store_state()
// convert. Everything else of the processor is always in `s`.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>

#include "engine/interpreter/access_observer.h"
#include "engine/interpreter/avx/stubs.h"
#include "engine/interpreter/block.h"
#include "engine/interpreter/flags.h"
#include "engine/interpreter/native_state.h"
#include "engine/interpreter/op.h"
#include "engine/interpreter/tlb.h"
#include "engine/vcpu.h"
#include "isa/x86/decoder.h"
#include "isa/x86/paging.h"
#include "isa/x86/registers.h"

namespace doppel::interpreter {

// Why the threaded chain returned to the run loop.
enum class Leave : u8 {
  next_block,  // cpu.rip is where to go on (its block was not in the jump cache, or attention is wanted)
  fault,       // cpu.fault is to be delivered; leave_op was not retired
  restart,     // leave_op was not retired and is to be executed again (REP interrupted, code changed under the block)
  halt,        // HLT retired
  triple_fault,
};

struct Fault {
  u8 vector = 0;  // or run_alone
  bool has_error = false;
  u32 error = 0;
  u64 address = 0;  // page fault: CR2
};

// In Fault::vector: no exception, the instruction is to be executed again, in a block of its own.
constexpr u8 run_alone = 0xfe;

// Events from other threads; bits of Cpu::events.
namespace event {
constexpr u32 kick = 1, interrupt = 2, nmi = 4, init = 8, sipi = 16;
}

// Random numbers fetched from the host and not yet given out.
struct RandomBuffer {
  u64 words[16];
  u8 left = 0;
};
u64 host_random(Cpu& cpu, const Op* op);  // integer/random.h

// The kinds of memory access that translation tells apart.
enum class AccessKind : u8 { read, write, fetch };

struct Cpu {
  Cpu(const VcpuWiring& wiring, const x86::Decoder& decoder, u64 block_arena_bytes);

  // ---- hot ----
  u64 gpr[18] = {};  // [16]: block's rip, [17]: zero
  // Below NativeState, where translated code has its stack pointer: what CALL pushes, and above that, where
  // PUSHFQ puts them, the status flags.
  u64 host_stack[5];
  u64 saved_flags = 0;  // as engine/translator/flag_state.h says; any other bits may be set
  NativeState native;   // reached with small displacements, as are the registers before it
  LazyFlags flags;
  TlbEntries* tlb = nullptr;  // the current table
  u8* ram = nullptr;
  std::atomic<u8>* page_flags = nullptr;
  std::atomic<u32>* generations = nullptr;
  JumpCacheEntry* jumps = nullptr;
  u64 code_context = 1;  // address space, mode and privilege under which jump-cache entries hold
  i64 remaining = 0;     // budget left; blocks are charged whole on entry
  const Block* block = nullptr;
  u64 rip = 0;                         // valid between blocks
  u64 other_flags = 2;                 // RFLAGS without the status flags
  std::atomic<bool> attention{false};  // look at `events` (or at a flag that changed) at the next block
  bool long64 = false;                 // in 64-bit mode
  bool user = false;                   // CPL 3
  u8 sse_fault = 0;  // the exception that an SSE instruction meets (#UD, #NM), or 0: CR0.EM, CR0.TS, CR4.OSFXSR
  u8 avx_fault = 0;  // the same for AVX: CR4.OSXSAVE, XCR0, CR0.TS
  Leave leave = Leave::next_block;
  const Op* leave_op = nullptr;
  const Op* next_op = nullptr;  // unthreaded dispatch only
  bool chains_blocks = true;    // blocks go on to each other by the jump cache; false: each returns to the run loop
  unsigned longest_block = Block::max_instructions;  // instructions

  // ---- the rest ----
  x86::X86State s;
  Fault fault;
  x86::CodeMode mode = x86::CodeMode::real16;
  bool single_step = false;  // one instruction per round: TF, breakpoints, an interrupt shadow, or an instruction trace
  bool debug_accesses = false;  // data breakpoints are armed: every access takes the slow path
  bool in_delivery = false;     // an event is being delivered (for double faults)
  bool step_trap_suppressed = false;  // the instruction delivered an event or cleared TF by SYSCALL: no single-step trap after it
  u64 pending_debug = 0;              // DR6 bits for a trap-class #DB after the current instruction
  u64 rules = 0;                      // paging rules that the TLB was filled under
  // Of the code that jump-cache entries lead to: slots of its pages in the TLB (a page flush that meets none leaves the entries), and
  // whether any is the supervisor's and not global.
  std::array<bool, Tlb::entries> jumped_pages{};
  bool local_jumps = false;
  u32 epoch = 0;         // part of code_context: bumped when cached translations of code may be wrong
  u64 budget_start = 0;  // `remaining` and s.instruction_count belong together: see executed()
  std::atomic<u32> events{0};
  std::atomic<u8> sipi_vector{0};
  alignas(32) u8 scratch[64] = {};  // slow-path operand values
  // What RDRAND and RDSEED give: the host's numbers, or under an instruction clock instruction_random (integer/random.h).
  u64 (*random)(Cpu& cpu, const Op* op) = host_random;
  RandomBuffer random_buffer;
  // Under an instruction clock: what reaches a device executes in a block of its own, so that the device sees the exact time and an
  // event that it raises is taken right behind the instruction, however code is cut into blocks. `alone`: the next instruction is one.
  bool repeatable = false;
  bool alone = false;

  PhysicalMemory& memory;
  Bus& ports;
  Clock& clock;
  LocalInterrupts& interrupts;
  const x86::Decoder& decoder;
  const unsigned index;
  const unsigned count;
  Tlb tlbs;
  BlockCache blocks;
  VectorStubs stubs;
  GracePeriods::Member grace;  // outside while the vCPU does not run
  u64 flagged_pages = 0;       // how many of memory.for_each_flagged the TLB watches
  const TraceHooks* trace = nullptr;
  AccessObserver* observer = nullptr;  // null: nobody
  u64 walks = 0;                       // of the page tables, for statistics
  std::vector<u64> refused_msrs;       // already in the log: index, bit 32 for writes (system/msr_access.cc)

  // ---- registers ----
  template <class T>
  T& reg(u8 byte_offset) {
    return *reinterpret_cast<T*>(reinterpret_cast<u8*>(gpr) + byte_offset);
  }
  // Writes as the architecture does: 8 and 16 bits merge, 32 bits zero the upper half.
  template <class T>
  void set_reg(u8 byte_offset, T value) {
    if constexpr (sizeof(T) == 4)
      reg<u64>(byte_offset) = value;
    else
      reg<T>(byte_offset) = value;
  }
  u64 get_rflags() const { return flags.pack() | other_flags; }
  // All bits as given (callers mask what may change). Takes care of attention and single step.
  void set_rflags(u64 value);
  u64 op_rip(const Op* op) const { return gpr[slot_rip] + op->offset; }           // its own address (offset in CS)
  u64 next_rip(const Op* op) const { return wrap_rip(op_rip(op) + op->length); }  // the following instruction's
  u64 wrap_rip(u64 value) const {
    return long64 ? value : mode_is_32() ? static_cast<u32>(value) : static_cast<u16>(value);
  }
  bool mode_is_32() const { return mode == x86::CodeMode::legacy32 || mode == x86::CodeMode::compat32; }

  bool protected_mode() const { return s.cr0 & x86::cr0::pe; }
  bool vm86() const { return other_flags & x86::rflags::vm; }
  // Whether an access to a device is to be refused with run_alone.
  bool must_be_alone() const { return repeatable && block && block->count > 1 && !in_delivery; }
  bool real_or_vm86() const { return !protected_mode() || vm86(); }
  unsigned cpl() const { return real_or_vm86() ? (vm86() ? 3 : 0) : s.cpl(); }
  unsigned iopl() const { return static_cast<unsigned>(x86::rflags::Iopl::get(other_flags)); }

  // ---- derived state (cpu.cc) ----
  // After any change of CR0 (CLTS too), CR4, EFER, CS, SS (CPL), RFLAGS.VM/AC/TF, DR7: recomputes mode, TLB table, code context.
  void update_mode();
  // The part of it that CPL decides, where all else is as it was.
  void update_privilege();
  // How often the epochs that NativeState::context has room for have come to an end.
  u32 epoch_round() const { return epoch >> (32 - epoch_shift); }
  static constexpr unsigned epoch_shift = 15;
  // Jump-cache entries of every address space become invalid (code translations changed).
  void forget_jumps();
  void begin_epoch();  // the part of it that makes them so
  // PhysicalMemory::mark_code, between two blocks; no store of this vCPU hits the page in the TLB afterwards.
  bool mark_code(u64 page, unsigned first_byte, unsigned last_byte);
  // The same for what others marked.
  void watch_flagged_pages();
  // The translations of some pages changed, or of all; so many do not come round the end of the slots.
  void forget_jumps_to(Tlb::Range range) {
    const bool* const first = jumped_pages.data() + Tlb::slot_of(range.linear);
    if (range.pages == 0 || std::find(first, first + range.pages, true) != first + range.pages) forget_jumps();
  }
  // Code at `linear` was found through the current table, and may be entered in a jump cache.
  void note_code_page(u64 linear, TlbTable table) {
    jumped_pages[Tlb::slot_of(linear)] = true;
    if (!user && !local_jumps) local_jumps = !tlbs.is_global(table, linear);
  }
  void load_state(const x86::X86State& state);
  void store_state();    // makes `s` whole
  u64 executed() const;  // instructions retired since power-on
  void request_attention() {
    attention.store(true, std::memory_order_seq_cst);
    native.stop();
  }
  void signal(u32 event_bits) {
    events.fetch_or(event_bits, std::memory_order_seq_cst);
    request_attention();
  }
};

// ---- leaving the chain ----

[[gnu::always_inline]] inline void leave_after(Cpu& cpu, const Op* op) {
  cpu.leave = Leave::next_block;
  cpu.leave_op = op;
  cpu.remaining += cpu.block->count - (op - cpu.block->ops) - 1;  // what was charged and not executed
  cpu.next_op = nullptr;
}
[[gnu::always_inline]] inline void leave_before(Cpu& cpu, const Op* op, Leave why) {
  cpu.leave = why;
  cpu.leave_op = op;
  cpu.rip = cpu.op_rip(op);
  cpu.remaining += cpu.block->count - (op - cpu.block->ops);
  cpu.next_op = nullptr;
}
inline void faulted(Cpu& cpu, const Op* op) { leave_before(cpu, op, Leave::fault); }
inline void set_fault(Cpu& cpu, u8 vector) { cpu.fault = {.vector = vector}; }
inline void set_fault(Cpu& cpu, u8 vector, u32 error) {
  cpu.fault = {.vector = vector, .has_error = true, .error = error};
}
[[gnu::noinline, gnu::cold]] inline void raise(Cpu& cpu, const Op* op, u8 vector) {
  set_fault(cpu, vector);
  faulted(cpu, op);
}
[[gnu::noinline, gnu::cold]] inline void raise(Cpu& cpu, const Op* op, u8 vector, u32 error) {
  set_fault(cpu, vector, error);
  faulted(cpu, op);
}

// ---- going on ----

[[gnu::always_inline]] inline void next(Cpu& cpu, const Op* op) {
#if DOPPEL_THREADED_DISPATCH
  return op[1].handler(cpu, op + 1);
#else
  cpu.next_op = op + 1;
#endif
}

// Enters a block whose charge fits the budget.
[[gnu::always_inline]] inline void enter(Cpu& cpu, const Block* block, u64 rip) {
  cpu.block = block;
  cpu.gpr[slot_rip] = rip;
#if DOPPEL_THREADED_DISPATCH
  return block->ops[0].handler(cpu, block->ops);
#else
  cpu.next_op = block->ops;
#endif
}

// Control transfer to `rip` (already wrapped and checked); `op` is the last of its block, which is thereby retired.
[[gnu::always_inline]] inline void jump(Cpu& cpu, u64 rip) {
  const JumpCacheEntry& entry = cpu.jumps[BlockCache::jump_slot(rip)];
  if (entry.rip == rip && entry.context == cpu.code_context && !cpu.attention.load(std::memory_order_relaxed))
      [[likely]] {
    const Block* block = entry.block;
    if (block->valid() && cpu.remaining >= block->count) [[likely]] {
      cpu.remaining -= block->count;
      return enter(cpu, block, rip);
    }
  }
  cpu.rip = rip;
  cpu.leave = Leave::next_block;
  cpu.next_op = nullptr;
}

}  // namespace doppel::interpreter
