// The interpreter's vCPU: the run loop around blocks, events and single steps. The translator's is one of these, with another step().
#pragma once

#include <optional>
#include <utility>

#include "engine/interpreter/builder.h"
#include "engine/interpreter/cpu.h"
#include "engine/interpreter/integer/random.h"

namespace doppel::interpreter {

class InterpreterVcpu : public Vcpu {
 public:
  InterpreterVcpu(const VcpuWiring& wiring, const x86::Decoder& decoder, u64 block_cache_bytes, bool repeatable)
      : cpu_(wiring, decoder, block_cache_bytes) {
    if (repeatable) {
      cpu_.random = instruction_random;
      cpu_.repeatable = true;
    }
    reset();
  }

  VcpuExit run(u64 budget) override;

  void kick() override { cpu_.signal(event::kick); }
  void set_interrupt_request(bool level) override {
    if (level)
      cpu_.signal(event::interrupt);
    else
      cpu_.events.fetch_and(~event::interrupt, std::memory_order_seq_cst);
  }
  void raise_nmi() override { cpu_.signal(event::nmi); }
  // What came before it is void; a SIPI that comes after it stays, however late this vCPU's thread gets to look.
  void raise_init() override {
    cpu_.events.fetch_and(~(event::sipi | event::nmi));
    cpu_.signal(event::init);
  }
  void raise_sipi(u8 vector) override {
    cpu_.sipi_vector.store(vector);
    cpu_.signal(event::sipi);
  }
  bool runnable() const override;

  const x86::X86State& get_state() override {
    cpu_.store_state();
    return cpu_.s;
  }
  void set_state(const x86::X86State& state) override {
    settle_count();
    cpu_.load_state(state);
  }
  void reset() override;
  u64 instruction_count() const override { return cpu_.executed(); }
  void set_trace(const TraceHooks* hooks) override {
    cpu_.trace = hooks;
    cpu_.update_mode();
  }
  void state(state::Archive& archive) override;

 protected:
  // Goes on from cpu_.rip for a while: some blocks, or one event.
  virtual void step();
  void execute(const Block* block);
  // What the next step may execute.
  u64 step_limit() { return std::exchange(cpu_.alone, false) ? 1 : static_cast<u64>(cpu_.remaining); }
  // Acts on why the chain was left.
  void settle();

  Cpu cpu_;
  ScratchBlock scratch_;

 private:
  std::optional<VcpuExit> attend();
  std::optional<VcpuExit> take_events(u32 pending);
  void step_one();
  void trap(u64 dr6_bits);
  void settle_count();
  void start_sipi();
};

}  // namespace doppel::interpreter
