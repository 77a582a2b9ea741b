#include "engine/interpreter/interpreter.h"

#include <algorithm>
#include <limits>

#include "engine/interpreter/builder.h"
#include "engine/interpreter/cpu.h"
#include "engine/interpreter/debug.h"
#include "engine/interpreter/fpu_environment.h"
#include "engine/interpreter/integer/random.h"
#include "engine/interpreter/interpreter_vcpu.h"
#include "engine/interpreter/sse/vector.h"
#include "engine/interpreter/state.h"
#include "engine/interpreter/system.h"

namespace doppel {
namespace interpreter {

using namespace x86;

namespace {

constexpr u64 dr6_single_step = u64{1} << 14;
constexpr u64 debugctl_branches = u64{1} << 1;  // BTF: TF traps at taken branches only

// Grace periods wait for a vCPU only while it is in run().
class RunScope {
 public:
  explicit RunScope(GracePeriods::Member& member) : member_(member) { member_.pass(); }
  ~RunScope() { member_.leave(); }
  RunScope(const RunScope&) = delete;
  RunScope& operator=(const RunScope&) = delete;

 private:
  GracePeriods::Member& member_;
};

}  // namespace

void InterpreterVcpu::reset() {
  settle_count();
  X86State state;
  x86::reset(state);
  state.instruction_count = cpu_.s.instruction_count;
  if (cpu_.index != 0) state.activity = Activity::wait_for_sipi;
  cpu_.events.store(0);
  cpu_.pending_debug = 0;
  cpu_.load_state(state);
}

// Folds what was executed in the last run() into s.instruction_count.
void InterpreterVcpu::settle_count() {
  cpu_.s.instruction_count = cpu_.executed();
  cpu_.budget_start = 0;
  cpu_.remaining = 0;
}

bool InterpreterVcpu::runnable() const {
  const u32 events = cpu_.events.load();
  if (events & (event::kick | event::init)) return true;
  switch (cpu_.s.activity) {
    case Activity::running: return true;
    case Activity::wait_for_sipi: return events & event::sipi;
    case Activity::halted:
      return ((events & event::nmi) && !cpu_.s.nmi_blocked) ||
             ((events & event::interrupt) && (cpu_.other_flags & rflags::if_));
    case Activity::shutdown: return false;
  }
  return false;
}

VcpuExit InterpreterVcpu::run(u64 budget) {
  const HostFpuScope host_fpu(cpu_);
  const RunScope running(cpu_.grace);
  settle_count();
  cpu_.budget_start = std::min<u64>(budget, std::numeric_limits<i64>::max());
  cpu_.remaining = static_cast<i64>(cpu_.budget_start);
  cpu_.request_attention();
  for (;;) {
    if (cpu_.attention.exchange(false, std::memory_order_seq_cst)) {
      cpu_.grace.pass();
      if (auto exit = attend()) return *exit;
    }
    if (cpu_.s.activity == Activity::shutdown) return TripleFault{cpu_.rip};
    if (cpu_.s.activity != Activity::running) return Halted{};
    if (cpu_.remaining <= 0) return BudgetSpent{};
    if (cpu_.single_step)
      step_one();
    else
      step();
  }
}

// Events from other threads, and whatever made the flag be set. Single stepping keeps the flag up.
std::optional<VcpuExit> InterpreterVcpu::attend() {
  if (cpu_.single_step) cpu_.request_attention();
  if (const u32 pending = cpu_.events.load(std::memory_order_seq_cst)) return take_events(pending);
  return std::nullopt;
}

std::optional<VcpuExit> InterpreterVcpu::take_events(u32 pending) {
  if (pending & event::kick) {
    cpu_.events.fetch_and(~event::kick);
    return Kicked{};
  }
  if (pending & event::init) {
    cpu_.events.fetch_and(~event::init);
    settle();
    cpu_.store_state();
    X86State state = cpu_.s;
    x86::init(state, cpu_.index == 0);
    settle_count();
    const u64 count = cpu_.s.instruction_count;
    cpu_.load_state(state);
    cpu_.s.instruction_count = count;
    return Kicked{};
  }
  if ((pending & event::sipi)) {
    cpu_.events.fetch_and(~event::sipi);
    if (cpu_.s.activity == Activity::wait_for_sipi) start_sipi();
  }
  if (cpu_.s.activity == Activity::wait_for_sipi || cpu_.s.activity == Activity::shutdown) return std::nullopt;
  const bool shadow = cpu_.s.sti_shadow || cpu_.s.mov_ss_shadow;
  if ((pending & event::nmi) && !cpu_.s.nmi_blocked && !cpu_.s.mov_ss_shadow) {
    cpu_.events.fetch_and(~event::nmi);
    cpu_.s.activity = Activity::running;
    cpu_.s.nmi_blocked = true;
    deliver(cpu_, EventKind::nmi, {.vector = x86::nmi});
    settle();
    return std::nullopt;
  }
  if ((pending & event::interrupt) && (cpu_.other_flags & rflags::if_) && !shadow) {
    if (const auto vector = cpu_.interrupts.acknowledge()) {
      cpu_.s.activity = Activity::running;
      if (cpu_.trace && cpu_.trace->interrupt) cpu_.trace->interrupt(*vector, get_state());
      deliver(cpu_, EventKind::external_interrupt, {.vector = *vector});
      settle();
    }
  }
  return std::nullopt;
}

// SDM vol. 3 §10.4.4: real mode at vector << 12.
void InterpreterVcpu::start_sipi() {
  const u8 vector = cpu_.sipi_vector.load();
  cpu_.s.segments[cs].selector = static_cast<u16>(vector << 8);
  cpu_.s.segments[cs].base = u64{vector} << 12;
  cpu_.rip = 0;
  cpu_.s.activity = Activity::running;
  cpu_.update_mode();
}

void InterpreterVcpu::execute(const Block* block) {
  cpu_.leave = Leave::next_block;
  cpu_.remaining -= block->count;
  enter(cpu_, block, cpu_.rip);
#if !DOPPEL_THREADED_DISPATCH
  while (cpu_.next_op) cpu_.next_op->handler(cpu_, cpu_.next_op);
#endif
  cpu_.block = nullptr;
}

void InterpreterVcpu::step() {
  Block* block = find_block(cpu_, step_limit(), scratch_);
  if (block)
    execute(block);
  else
    cpu_.leave = Leave::fault;
  settle();
}

// Acts on why the chain was left.
void InterpreterVcpu::settle() {
  const Leave why = cpu_.leave;
  cpu_.leave = Leave::next_block;
  switch (why) {
    case Leave::next_block:
    case Leave::restart: return;
    case Leave::halt: cpu_.s.activity = Activity::halted; return;
    case Leave::triple_fault: cpu_.s.activity = Activity::shutdown; return;
    case Leave::fault:
      if (cpu_.fault.vector == run_alone) {
        cpu_.alone = true;
        return;
      }
      if (cpu_.trace && cpu_.trace->exception) cpu_.trace->exception(cpu_.fault.vector, cpu_.fault.error, get_state());
      deliver(cpu_, EventKind::exception, cpu_.fault);
      if (cpu_.leave == Leave::triple_fault) cpu_.s.activity = Activity::shutdown;
      cpu_.leave = Leave::next_block;
      return;
  }
}

// One instruction, with all that debugging asks for around it: instruction breakpoints before, traps after.
void InterpreterVcpu::step_one() {
  const bool stepping = cpu_.other_flags & rflags::tf;
  const bool resume = cpu_.other_flags & rflags::rf;
  const bool shadow = cpu_.s.sti_shadow || cpu_.s.mov_ss_shadow;
  const bool debug_shadow = cpu_.s.mov_ss_shadow;
  if (cpu_.debug_accesses && !resume && !debug_shadow) {
    const u64 linear = cpu_.long64 ? cpu_.rip : static_cast<u32>(cpu_.s.segments[cs].base + cpu_.rip);
    if (const u64 hit = instruction_breakpoints(cpu_, linear)) return trap(hit);
  }
  if (cpu_.trace && cpu_.trace->instruction) cpu_.trace->instruction(get_state());
  cpu_.s.sti_shadow = cpu_.s.mov_ss_shadow = false;
  cpu_.step_trap_suppressed = false;
  cpu_.other_flags &= ~rflags::rf;  // gone when the instruction completes; what IRET loads stays

  const i64 before = cpu_.remaining;
  const u64 rip = cpu_.rip;
  Block* block = find_block(cpu_, 1, scratch_);
  if (block)
    execute(block);
  else
    cpu_.leave = Leave::fault;
  const bool retired = cpu_.remaining < before;
  const bool again = cpu_.leave == Leave::restart;
  if (resume && again) cpu_.other_flags |= rflags::rf;
  const bool branched = block && !again && cpu_.rip != cpu_.wrap_rip(rip + block->length);
  const bool step_trap = stepping && !cpu_.step_trap_suppressed && (branched || !(cpu_.s.debugctl & debugctl_branches));
  settle();
  if (retired && step_trap) cpu_.pending_debug |= dr6_single_step;
  if (shadow) cpu_.update_mode();
  if (retired && cpu_.pending_debug && !cpu_.s.mov_ss_shadow && cpu_.s.activity != Activity::shutdown) {
    const u64 bits = cpu_.pending_debug;
    cpu_.pending_debug = 0;
    if (cpu_.s.activity == Activity::halted) cpu_.s.activity = Activity::running;
    trap(bits);
  }
  if (cpu_.single_step || shadow) cpu_.request_attention();
}

// #DB; deliver() puts the bits into DR6.
void InterpreterVcpu::trap(u64 dr6_bits) {
  const Fault fault{.vector = debug, .address = dr6_bits};
  if (cpu_.trace && cpu_.trace->exception) cpu_.trace->exception(debug, 0, get_state());
  deliver(cpu_, EventKind::exception, fault);
  settle();
}

void InterpreterVcpu::state(state::Archive& archive) {
  cpu_.store_state();
  X86State state = cpu_.s;
  PendingEvents pending{.events = cpu_.events.load() & ~event::kick,
                        .sipi_vector = cpu_.sipi_vector.load(),
                        .pending_debug = cpu_.pending_debug};
  save_or_load(archive, state, pending);
  if (archive.saving() || !archive.ok()) return;
  settle_count();
  cpu_.events.store(pending.events);
  cpu_.sipi_vector.store(pending.sipi_vector);
  cpu_.pending_debug = pending.pending_debug;
  cpu_.load_state(state);
}

namespace {

class InterpreterEngine final : public Engine {
 public:
  explicit InterpreterEngine(const InterpreterOptions& options) : options_(options), decoder_(options.cpu_model) {
    install_simd_probe();
  }

  std::string_view name() const override { return "interpreter"; }
  Result<std::unique_ptr<Vcpu>> create_vcpu(const VcpuWiring& wiring) override {
    TRY(VectorStubs::check_host());
    constexpr u64 least = u64{4} << 20;
    const u64 share = std::max(least, options_.block_cache_bytes / std::max(1u, wiring.count));
    return std::make_unique<InterpreterVcpu>(wiring, decoder_, share, options_.repeatable);
  }

 private:
  InterpreterOptions options_;
  Decoder decoder_;
};

}  // namespace
}  // namespace interpreter

std::unique_ptr<Engine> make_interpreter(const InterpreterOptions& options) {
  return std::make_unique<interpreter::InterpreterEngine>(options);
}

}  // namespace doppel
