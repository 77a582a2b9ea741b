// What every CPU engine is to the machine. Engines perform port and memory-mapped I/O on the buses themselves, so `run`
// returns only for what the machine's run loop must decide.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <variant>

#include "base/clock.h"
#include "base/result.h"
#include "base/types.h"
#include "isa/x86/registers.h"
#include "memory/bus.h"
#include "memory/physical_memory.h"
#include "state/archive.h"

namespace doppel {

// The processor's own interrupt controller as instructions see it. The board adapts its local APIC to this.
// Called on the vCPU's thread only.
class LocalInterrupts {
 public:
  virtual ~LocalInterrupts() = default;
  // INTA: the vector to deliver now (local APIC first, then the 8259 if LINT0 passes it); nothing if it went away.
  virtual std::optional<u8> acknowledge() = 0;
  // CR8 (bits 0–3 are the priority class). Writing may raise or lower the interrupt request.
  virtual u8 task_priority() = 0;
  virtual void set_task_priority(u8 cr8) = 0;
  // IA32_APIC_BASE, IA32_TSC_DEADLINE and the x2APIC range; nullopt / false: not such an MSR, or refused: the engine raises #GP.
  virtual std::optional<u64> read_msr(u32 index) = 0;
  virtual bool write_msr(u32 index, u64 value) = 0;
  // X86State::tsc_offset is now `offset`: after WRMSR of the TSC or TSC_ADJUST, set_state, reset and a load, and once before
  // the first run. An armed TSC deadline moves with it.
  virtual void tsc_offset_changed(u64 offset) { static_cast<void>(offset); }

  // The xAPIC register window is private to each processor, so that engines ask here before they ask the memory bus.
  // Guest-physical address of its 4 KiB page, or no_apic_page (disabled, x2APIC mode). It changes only in
  // write_msr(IA32_APIC_BASE), at a machine reset and at a load: the engine drops cached translations of it there.
  static constexpr u64 no_apic_page = ~u64{0};
  virtual u64 apic_page() { return no_apic_page; }
  // `offset` into the page, a multiple of 4. Only aligned 32-bit accesses are architectural (Intel SDM vol. 3 §11.4.1):
  // the engine takes narrower loads out of the 32-bit value and drops stores of any other size or alignment.
  virtual u32 read_apic(u32 offset) { return static_cast<void>(offset), ~u32{0}; }
  virtual void write_apic(u32 offset, u32 value) { static_cast<void>(offset), static_cast<void>(value); }
};

// What a vCPU is wired to. Everything outlives the vCPU.
struct VcpuWiring {
  unsigned index;  // 0 is the bootstrap processor; also the initial APIC ID
  unsigned count;
  PhysicalMemory& memory;
  Bus& ports;
  Clock& clock;
  LocalInterrupts& interrupts;
};

struct BudgetSpent {};
struct Kicked {};  // kick() was called
struct Halted {};  // HLT (with interrupts on or off), or waiting for INIT/SIPI: nothing to run until an event comes
struct TripleFault {
  u64 rip;
};
struct DebugStop {
  u64 rip;
};  // a machine-level breakpoint, not the guest's own
struct Diverged {
  std::string report;
};  // an engine that verifies itself did otherwise than the one that it is checked against
using VcpuExit = std::variant<BudgetSpent, Kicked, Halted, TripleFault, DebugStop, Diverged>;

constexpr u64 unlimited_budget = ~u64{0};

// Observers of execution for --trace; null when off, so that engines choose the untraced path once, outside their hot loop.
struct TraceHooks {
  std::function<void(const x86::X86State&)> instruction;                           // before each instruction
  std::function<void(u8 vector, u64 error_code, const x86::X86State&)> exception;  // before delivery
  std::function<void(u8 vector, const x86::X86State&)> interrupt;
  std::function<void(bool write, u64 address, unsigned bytes, u64 value, u64 rip)> port_io;
  std::function<void(bool write, u64 address, unsigned bytes, u64 value, u64 rip)> mmio;
};

class Vcpu {
 public:
  virtual ~Vcpu() = default;

  // Runs until something in VcpuExit happens, at most `budget` instructions (exactly, when the budget is what ends it).
  // One thread at a time.
  virtual VcpuExit run(u64 budget) = 0;

  // ---- any thread, async-signal-safe ----
  // Makes run() return Kicked within microseconds; one that is not running returns at once at its next run().
  virtual void kick() = 0;
  // Level of the INTR pin. Raising it makes the running vCPU look within microseconds.
  virtual void set_interrupt_request(bool level) = 0;
  virtual void raise_nmi() = 0;
  virtual void raise_init() = 0;
  virtual void raise_sipi(u8 vector) = 0;
  // True if run() would make progress: not halted, or an event that wakes it is pending.
  virtual bool runnable() const = 0;

  // ---- while not running, on any one thread ----
  virtual const x86::X86State& get_state() = 0;
  virtual void set_state(const x86::X86State& state) = 0;  // drops everything derived (TLB, decoded blocks stay valid)
  virtual void reset() = 0;                                // power-on state; APs wait for SIPI
  virtual u64 instruction_count() const = 0;  // also from within run(), on its thread; see the engine's options
  virtual void set_trace(const TraceHooks* hooks) = 0;
  // What the engine counted, for people: lines of text, or nothing.
  virtual std::string statistics() const { return {}; }
  // Pending events and X86State, versioned; the same section under every engine.
  virtual void state(state::Archive& archive) = 0;
};

class Engine {
 public:
  virtual ~Engine() = default;
  virtual std::string_view name() const = 0;
  virtual Result<std::unique_ptr<Vcpu>> create_vcpu(const VcpuWiring& wiring) = 0;
};

}  // namespace doppel
