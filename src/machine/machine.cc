// See machine.h.
#include "machine/machine.h"

#include <fmt/format.h>
#include <time.h>

#include "base/log.h"
#include "machine/saved_machine.h"

namespace doppel {

// An engine's vCPU with its pins: an event that comes from outside also wakes the thread that runs it.
class Machine::Processor final : public CpuPins {
 public:
  Processor(Machine& machine, unsigned index) : machine_(machine), index_(index) {}

  Result<> create_vcpu(LocalInterrupts& interrupts) {
    Clock* clock = machine_.host_clock_.get();
    if (machine_.instruction_clock_) clock = machine_.instruction_clock_.get();
    vcpu_ = TRY(machine_.engine_->create_vcpu({.index = index_,
                                               .count = machine_.spec_.board.cpus,
                                               .memory = *machine_.memory_,
                                               .ports = machine_.ports_,
                                               .clock = *clock,
                                               .interrupts = interrupts}));
    return {};
  }
  Vcpu& vcpu() { return *vcpu_; }

  void set_interrupt_request(bool level) override {
    if (!vcpu_) return;  // a pin that moves while the board is being built
    vcpu_->set_interrupt_request(level);
    if (level) wake();
  }
  void raise_nmi() override {
    vcpu_->raise_nmi();
    wake();
  }
  void raise_init() override {
    vcpu_->raise_init();
    wake();
  }
  void raise_sipi(u8 vector) override {
    vcpu_->raise_sipi(vector);
    wake();
  }

 private:
  void wake() {
    if (machine_.run_loop_) machine_.run_loop_->wake(index_);
  }
  Machine& machine_;
  const unsigned index_;
  std::unique_ptr<Vcpu> vcpu_;
};

Machine::Machine(MachineSpec spec) : spec_(std::move(spec)) {}

Result<std::unique_ptr<Machine>> Machine::create(MachineSpec spec, MachineParts parts) {
  TRY(validate(spec));
  std::unique_ptr<Machine> machine(new Machine(std::move(spec)));
  TRY(machine->build(std::move(parts)));
  return machine;
}

Result<> Machine::build(MachineParts parts) {
  const unsigned cpus = spec_.board.cpus;
  engine_ = std::move(parts.engine);
  loop_ = TRY(EventLoop::create());
  memory_ = TRY(PhysicalMemory::create(spec_.board.memory_bytes, mmio_));
  Clock* clock = nullptr;
  if (spec_.clock == ClockMode::instructions) {
    instruction_clock_ = std::make_unique<InstructionClock>();
    clock = instruction_clock_.get();
  } else {
    host_clock_ = TRY(HostClock::create(*loop_));
    clock = host_clock_.get();
  }
  if (spec_.trace.any()) trace_ = TRY(Trace::create(spec_.trace, cpus, *memory_));

  // A run that is to be repeated starts at the same date.
  constexpr i64 reproducible_epoch = 1'767'225'600;  // 2026-01-01
  const i64 epoch = instruction_clock_ ? reproducible_epoch : static_cast<i64>(::time(nullptr));
  std::vector<CpuPins*> pins;
  for (unsigned i = 0; i < cpus; ++i) {
    processors_.push_back(std::make_unique<Processor>(*this, i));
    pins.push_back(processors_.back().get());
  }
  board_ = TRY(parts.board(spec_.board, {.memory = *memory_,
                                         .ports = ports_,
                                         .clock = *clock,
                                         .loop = *loop_,
                                         .deterministic = spec_.clock == ClockMode::instructions,
                                         .control = *this,
                                         .epoch_seconds = epoch,
                                         .cpus = std::move(pins)}));
  std::vector<Vcpu*> vcpus;
  for (unsigned i = 0; i < cpus; ++i) {
    TRY(processors_[i]->create_vcpu(board_->local_interrupts(i)));
    if (trace_) processors_[i]->vcpu().set_trace(trace_->hooks(i));
    vcpus.push_back(&processors_[i]->vcpu());
  }
  if (instruction_clock_) {
    InterleavedOptions options;
    if (spec_.save_at) options.save_at = spec_.save_at->instructions;
    run_loop_ = make_interleaved_run_loop(std::move(vcpus), *loop_, requests_, *instruction_clock_, options);
  } else {
    run_loop_ = make_threaded_run_loop(std::move(vcpus), *loop_, requests_);
  }
  run_loop_->stop_io();
  return {};
}

// Threads first; then the board, whose devices hold alarms of the clock and lines to the processors.
Machine::~Machine() {
  run_loop_.reset();
  board_.reset();
}

Result<Outcome> Machine::run() {
  TRY(start());
  for (;;) {
    const Request request = run_loop_->next_request();
    auto outcome = act_on(request);
    if (!outcome || *outcome) {
      pause();
      if (!outcome) return std::unexpected(std::move(outcome.error()));
      return std::move(**outcome);
    }
    resume();
  }
}

Result<> Machine::start() {
  if (spec_.load.empty()) {
    TRY(reset());
  } else {
    pause_devices();  // as they were when they were saved
    TRY(load(spec_.load));
  }
  resume();
  return {};
}

Result<std::optional<Outcome>> Machine::act_on(const Request& request) {
  switch (request.kind) {
    case Request::Kind::power_off: return Outcome{};
    case Request::Kind::exit: return Outcome{request.exit_code, request.message};
    case Request::Kind::failure: return Outcome{1, request.message};
    case Request::Kind::reset:
      if (spec_.no_reboot) return Outcome{};
      log::info("the guest resets the machine");
      pause();
      TRY(reset());
      return std::nullopt;
    case Request::Kind::save:
      pause();
      TRY(save(spec_.save_at->path));
      return std::nullopt;
  }
  return std::nullopt;
}

void Machine::pause() {
  run_loop_->stop_vcpus();
  if (stopped_) return;
  if (host_clock_) host_clock_->pause();
  pause_devices();
  run_loop_->stop_io();
  stopped_ = true;
}

void Machine::pause_devices() {
  if (devices_paused_) return;
  for (Device* device : board_->devices()) device->pause();
  devices_paused_ = true;
}

void Machine::resume() {
  if (stopped_) {
    run_loop_->start_io();
    if (devices_paused_) {
      for (Device* device : board_->devices()) device->resume();
    }
    devices_paused_ = false;
    if (host_clock_) host_clock_->resume();
    stopped_ = false;
  }
  run_loop_->start_vcpus();
}

Result<> Machine::configure() {
  for (Device* device : board_->devices()) device->reset();
  return board_->configure();
}

Result<> Machine::reset() {
  TRY(configure());
  std::vector<Vcpu*> vcpus;
  for (auto& processor : processors_) {
    processor->vcpu().reset();
    vcpus.push_back(&processor->vcpu());
  }
  return board_->boot(vcpus);
}

Result<> Machine::save(const std::string& path) {
  auto archive = state::Archive::for_saving();
  state(archive);
  TRY(archive.status());
  return write_saved_machine(path, archive.take(), *memory_);
}

Result<> Machine::load(const std::string& path) {
  SavedMachine file = TRY(SavedMachine::open(path));
  auto archive = state::Archive::for_loading(std::move(file.state()));
  for (auto& processor : processors_) processor->vcpu().reset();
  state(archive);
  if (auto status = archive.status(); !status)
    return fail(fmt::format("cannot load '{}': {}", path, status.error().message));
  return file.load_ram(*memory_);
}

std::string Machine::statistics() const {
  std::string text = fmt::format("engine: {}\n", engine_->name());
  for (const auto& processor : processors_) text += processor->vcpu().statistics();
  return text;
}

void Machine::state(state::Archive& archive) {
  archive.begin("machine", 1);
  std::string made_as = fingerprint(spec_);
  const std::string wanted = made_as;
  archive(made_as, 64 * KiB);
  if (archive.loading() && archive.ok() && made_as != wanted) archive.reject(describe_difference(made_as, wanted));
  if (host_clock_) {
    Nanoseconds now = host_clock_->now();
    archive(now);
    if (archive.loading()) host_clock_->set_now(now);
  } else {
    instruction_clock_->state(archive);
  }
  run_loop_->state(archive);
  for (auto& processor : processors_) processor->vcpu().state(archive);
  for (Device* device : board_->devices()) {
    if (archive.ok()) device->state(archive);
  }
  archive.end();
}

void Machine::request_stop(Outcome outcome) {
  ask({.kind = Request::Kind::exit, .exit_code = outcome.exit_code, .message = std::move(outcome.message)});
}

void Machine::ask(Request request) {
  requests_.post(std::move(request));
  if (run_loop_) run_loop_->interrupt();
}

}  // namespace doppel
