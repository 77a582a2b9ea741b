// For tests of machine/: an engine whose vCPUs run a C++ function per instruction, and a board of one device.
#pragma once

#include <deque>

#include "base/check.h"
#include "machine/machine.h"

namespace doppel {

class FakeVcpu;
// What a vCPU does as its instruction number `count` (from 0). Set `halt` to halt after it.
using Program = std::function<void(FakeVcpu& vcpu, u64 count)>;

class FakeVcpu final : public Vcpu {
 public:
  FakeVcpu(const VcpuWiring& wiring, Program program)
      : index(wiring.index), clock(wiring.clock), program_(std::move(program)) {}

  VcpuExit run(u64 budget) override {
    while (true) {
      if (kicked_.exchange(false)) return Kicked{};
      if (interrupt_.exchange(false)) {
        halt = false;
        ++interrupts_taken;
      }
      if (triple_fault) return TripleFault{0x1234};
      if (halt) return Halted{};
      if (budget-- == 0) return BudgetSpent{};
      program_(*this, state_.instruction_count++);
    }
  }
  void kick() override { kicked_ = true; }
  void set_interrupt_request(bool level) override { interrupt_ = level; }
  void raise_nmi() override {}
  void raise_init() override {}
  void raise_sipi(u8) override {}
  bool runnable() const override { return !halt || interrupt_ || kicked_; }
  const x86::X86State& get_state() override { return state_; }
  void set_state(const x86::X86State& state) override { state_ = state; }
  void reset() override { halt = triple_fault = false; }
  u64 instruction_count() const override { return state_.instruction_count; }
  void set_trace(const TraceHooks*) override {}
  void state(state::Archive& archive) override {
    archive.begin("fake-vcpu", 1);
    archive(state_.instruction_count);
    archive(state_.gpr);
    bool halted = halt;
    archive(halted);
    halt = halted;
    archive.end();
  }

  const unsigned index;
  Clock& clock;
  std::atomic<bool> halt{false};
  bool triple_fault = false;
  std::atomic<unsigned> interrupts_taken{0};
  x86::X86State state_;

 private:
  Program program_;
  std::atomic<bool> kicked_{false}, interrupt_{false};
};

class FakeEngine final : public Engine {
 public:
  explicit FakeEngine(Program program) : program_(std::move(program)) {}
  std::string_view name() const override { return "fake"; }
  Result<std::unique_ptr<Vcpu>> create_vcpu(const VcpuWiring& wiring) override {
    return std::make_unique<FakeVcpu>(wiring, program_);
  }

 private:
  Program program_;
};

struct NoInterrupts final : LocalInterrupts {
  std::optional<u8> acknowledge() override { return std::nullopt; }
  u8 task_priority() override { return 0; }
  void set_task_priority(u8) override {}
  std::optional<u64> read_msr(u32) override { return std::nullopt; }
  bool write_msr(u32, u64) override { return false; }
};

// One device with one alarm, and whatever else a test wants to look at.
class FakeBoard final : public Board, public Device {
 public:
  explicit FakeBoard(const BoardContext& c) : context(c) {
    alarm = context.clock.make_alarm([this] {
      log += "alarm@" + std::to_string(context.clock.now()) + " ";
      deadline = 0;
      if (on_alarm) on_alarm(*this);
    });
  }
  std::vector<Device*> devices() override { return {this}; }
  LocalInterrupts& local_interrupts(unsigned) override { return none_; }
  Result<> configure() override {
    log += "configure ";
    return {};
  }
  Result<> boot(std::span<Vcpu* const>) override {
    log += "boot ";
    return {};
  }
  CharacterPort& console() override { return port_; }
  void press_power_button() override { context.control.request_power_off(); }
  std::vector<Wire> wires() const override { return {}; }

  std::string_view name() const override { return "fake"; }
  void reset() override { log += "reset "; }
  void pause() override { log += "pause "; }
  void resume() override { log += "resume "; }
  void state(state::Archive& archive) override {
    archive.begin("fake", 1);
    archive(deadline);
    archive.end();
    if (archive.loading() && archive.ok() && deadline != 0) alarm->set(deadline);
  }
  void set(Nanoseconds when) {
    deadline = when;
    alarm->set(when);
  }

  BoardContext context;
  std::unique_ptr<Alarm> alarm;
  Nanoseconds deadline = 0;
  std::function<void(FakeBoard&)> on_alarm;
  std::string log;

 private:
  struct NoPort final : CharacterPort {
    void connect(Sink, std::function<void()>) override {}
    void flush() override {}
    std::size_t can_receive() override { return 0; }
    std::size_t receive(std::span<const u8>) override { return 0; }
  };
  NoInterrupts none_;
  NoPort port_;
};

struct FakeMachine {
  FakeMachine(MachineSpec spec, Program program, std::function<void(FakeBoard&)> on_alarm = {}) {
    if (spec.board.kernel.empty()) spec.board.kernel = "kernel";
    spec.board.memory_bytes = 4 * MiB;
    auto made = Machine::create(
        spec, {.engine = std::make_unique<FakeEngine>(std::move(program)),
               .board = [&](const BoardSpec&, const BoardContext& context) -> Result<std::unique_ptr<Board>> {
                 auto result = std::make_unique<FakeBoard>(context);
                 result->on_alarm = on_alarm;
                 board = result.get();
                 return result;
               }});
    CHECK(made);
    machine = std::move(*made);
  }
  std::unique_ptr<Machine> machine;
  FakeBoard* board = nullptr;
};

}  // namespace doppel
