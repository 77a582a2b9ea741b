// The bare machine that a guest test runs in: RAM, processors of one engine, the interrupt controllers and the timer of a PC, and a
// device of its own. Time is derived from instructions, so that a run repeats exactly; or, with a thread for each processor, it is
// the host's and there are no timers.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "device/interrupt/i8259.h"
#include "device/interrupt/interrupt_fabric.h"
#include "device/interrupt/io_apic.h"
#include "device/interrupt/local_apic.h"
#include "device/timer/i8254.h"
#include "engine/vcpu.h"
#include "guest_case.h"
#include "machine/instruction_clock.h"

namespace doppel::guest {

// freely: on threads without budgets, as machines run on the host's clock; the threads are interrupted now and then.
enum class Schedule : u8 { turns, threads, freely };

class Laboratory {
 public:
  static Result<std::unique_ptr<Laboratory>> create(Engine& engine, const Program& program, const Case& test,
                                                    Schedule schedule, u64 quantum, const TraceHooks* hooks);
  ~Laboratory();

  // "halt" (the first processor halts with interrupts off), "triple_fault", or "no end" after the case's budget.
  std::string run();

  const x86::X86State& state() { return vcpus_.front()->get_state(); }
  const PhysicalMemory& memory() const { return *memory_; }

 private:
  class Processor;
  class Device;
  class HostTime;

  Laboratory(const Case& test, Schedule schedule, u64 quantum);
  Result<> build(Engine& engine, const Program& program, const TraceHooks* hooks);
  Result<> map_ports();
  Clock& clock();
  std::string run_in_turns();
  std::string run_in_threads();
  u64 patience() const;
  void run_on_thread(unsigned index);
  void interrupt_now_and_then();
  bool ended(const VcpuExit& exit, std::string& how);

  const Case& test_;
  const Schedule schedule_;
  const u64 quantum_;
  Bus mmio_{u64{1} << 52};
  Bus ports_{0x10000};
  InstructionClock instruction_clock_;
  std::unique_ptr<HostTime> host_time_;
  std::unique_ptr<PhysicalMemory> memory_;
  InterruptFabric fabric_;
  std::unique_ptr<I8259> pic_;
  std::unique_ptr<IoApic> io_apic_;
  std::unique_ptr<I8254> pit_;
  std::unique_ptr<Device> device_;
  std::vector<std::unique_ptr<Processor>> processors_;
  std::vector<std::unique_ptr<LocalApic>> apics_;
  std::vector<std::unique_ptr<Vcpu>> vcpus_;
  std::atomic<bool> stop_{false};
};

}  // namespace doppel::guest
