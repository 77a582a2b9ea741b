#include "laboratory.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <thread>

#include "isa/x86/paging.h"

namespace doppel::guest {

namespace {

constexpr u16 lab_base = 0x580, lab_size = 0x20;
// Where the guest's loader finds what to do; tests/guest/include/layout.inc.
constexpr u64 start_mode = 0x500, start_entry = 0x504;
// Instructions until a thread lets others run: processors wait for each other in loops, and their threads may share a CPU of the host.
constexpr u64 patience_of_threads = 100'000;
constexpr std::chrono::microseconds patience_when_free{200};
void let_others_run() { std::this_thread::sleep_for(std::chrono::microseconds(1)); }

struct LocalInterruptsOfApic final : LocalInterrupts {
  explicit LocalInterruptsOfApic(LocalApic& local_apic) : apic(local_apic) {}
  std::optional<u8> acknowledge() override { return apic.acknowledge(); }
  u8 task_priority() override { return apic.task_priority(); }
  void set_task_priority(u8 cr8) override { apic.set_task_priority(cr8); }
  std::optional<u64> read_msr(u32 index) override { return apic.read_msr(index); }
  bool write_msr(u32 index, u64 value) override { return apic.write_msr(index, value); }
  void tsc_offset_changed(u64 offset) override { apic.tsc_offset_changed(offset); }
  u64 apic_page() override { return apic.page().value_or(no_apic_page); }
  u32 read_apic(u32 offset) override { return apic.read(offset); }
  void write_apic(u32 offset, u32 value) override { apic.write(offset, value); }
  LocalApic& apic;
};

}  // namespace

// The wires between a local APIC and its vCPU.
class Laboratory::Processor final : public ProcessorPins {
 public:
  void interrupt_request(bool level) override {
    if (vcpu) vcpu->set_interrupt_request(level);
  }
  void nmi() override { vcpu->raise_nmi(); }
  void init() override { vcpu->raise_init(); }
  void sipi(u8 vector) override { vcpu->raise_sipi(vector); }

  Vcpu* vcpu = nullptr;
  std::unique_ptr<LocalInterruptsOfApic> interrupts;
};

// +00 sixteen bytes that read as they were written  +10 DMA address  +14 DMA data: a write stores it there  +18 count of writes
class Laboratory::Device final : public IoHandler {
 public:
  explicit Device(PhysicalMemory& memory) : dma_(memory) {}

  u64 read(Access access) override {
    if (access.offset == count_offset) return writes_;
    u64 value = 0;
    std::memcpy(&value, bytes_.data() + access.offset, std::min<u64>(access.bytes, lab_size - access.offset));
    return value;
  }
  void write(Access access, u64 value) override {
    ++writes_;
    std::memcpy(bytes_.data() + access.offset, &value, std::min<u64>(access.bytes, lab_size - access.offset));
    if (access.offset != data_offset) return;
    u32 address = 0;
    std::memcpy(&address, bytes_.data() + address_offset, sizeof(address));
    dma_.write(address, &value, access.bytes);
  }

 private:
  static constexpr u64 address_offset = 0x10, data_offset = 0x14, count_offset = 0x18;
  Dma dma_;
  std::array<u8, lab_size> bytes_{};
  std::atomic<u32> writes_{0};
};

class Laboratory::HostTime final : public Clock {
 public:
  struct Never final : Alarm {
    void set(Nanoseconds) override {}
    void cancel() override {}
  };
  Nanoseconds now() override {
    return static_cast<u64>(std::chrono::nanoseconds(std::chrono::steady_clock::now() - start_).count());
  }
  std::unique_ptr<Alarm> make_alarm(std::function<void()>) override { return std::make_unique<Never>(); }

 private:
  const std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

Laboratory::Laboratory(const Case& test, Schedule schedule, u64 quantum)
    : test_(test), schedule_(schedule), quantum_(quantum) {
  if (schedule != Schedule::turns) host_time_ = std::make_unique<HostTime>();
}
Laboratory::~Laboratory() = default;

Clock& Laboratory::clock() {
  if (host_time_) return *host_time_;
  return instruction_clock_;
}

Result<std::unique_ptr<Laboratory>> Laboratory::create(Engine& engine, const Program& program, const Case& test,
                                                       Schedule schedule, u64 quantum, const TraceHooks* hooks) {
  std::unique_ptr<Laboratory> laboratory(new Laboratory(test, schedule, quantum));
  TRY(laboratory->build(engine, program, hooks));
  return laboratory;
}

Result<> Laboratory::map_ports() {
  pic_ = std::make_unique<I8259>(fabric_.lint(0));
  io_apic_ = std::make_unique<IoApic>(fabric_);
  pit_ = std::make_unique<I8254>(clock(), pic_->line(0));
  device_ = std::make_unique<Device>(*memory_);
  TRY(ports_.map(0x20, 2, pic_->master_ports(), "8259 master"));
  TRY(ports_.map(0xa0, 2, pic_->slave_ports(), "8259 slave"));
  TRY(ports_.map(0x40, I8254::port_count, *pit_, "8254"));
  TRY(ports_.map(lab_base, lab_size, *device_, "laboratory"));
  TRY(mmio_.map(0xfec0'0000, 0x1000, *io_apic_, "I/O APIC"));
  return {};
}

Result<> Laboratory::build(Engine& engine, const Program& program, const TraceHooks* hooks) {
  memory_ = TRY(PhysicalMemory::create(test_.memory_bytes, mmio_));
  TRY(memory_->map(0, 0, test_.memory_bytes, PhysicalMemory::Kind::ram, "ram"));
  TRY(map_ports());
  for (unsigned i = 0; i < test_.cpus; ++i) {
    Processor& processor = *processors_.emplace_back(std::make_unique<Processor>());
    LocalApic& apic = *apics_.emplace_back(std::make_unique<LocalApic>(
        i, x86::physical_address_bits, LocalApic::Wiring{clock(), fabric_, processor, *pic_}));
    fabric_.attach(apic);
    processor.interrupts = std::make_unique<LocalInterruptsOfApic>(apic);
    vcpus_.push_back(TRY(engine.create_vcpu({.index = i,
                                             .count = test_.cpus,
                                             .memory = *memory_,
                                             .ports = ports_,
                                             .clock = clock(),
                                             .interrupts = *processor.interrupts})));
    processor.vcpu = vcpus_.back().get();
    if (hooks) processor.vcpu->set_trace(hooks);
  }
  fabric_.attach(*io_apic_);
  for (doppel::Device* device : {static_cast<doppel::Device*>(pic_.get()), static_cast<doppel::Device*>(io_apic_.get()),
                                 static_cast<doppel::Device*>(pit_.get())})
    device->reset();
  for (auto& apic : apics_) apic->reset();

  std::memcpy(memory_->ram() + program.load_address, program.image.data(), program.image.size());
  const auto entry = static_cast<u32>(test_.entry);
  std::memcpy(memory_->ram() + start_mode, &test_.mode, sizeof(u32));
  std::memcpy(memory_->ram() + start_entry, &entry, sizeof(u32));
  x86::X86State state;
  x86::reset(state);
  state.segments[x86::cs].selector = 0;
  state.segments[x86::cs].base = 0;
  state.rip = program.load_address;
  vcpus_.front()->set_state(state);
  return {};
}

std::string Laboratory::run() { return schedule_ == Schedule::turns ? run_in_turns() : run_in_threads(); }

u64 Laboratory::patience() const { return schedule_ == Schedule::freely ? unlimited_budget : patience_of_threads; }

// The first processor decides: it halts for good, or any processor shuts down.
bool Laboratory::ended(const VcpuExit& exit, std::string& how) {
  if (std::holds_alternative<TripleFault>(exit)) {
    how = "triple_fault";
    return true;
  }
  Vcpu& first = *vcpus_.front();
  if (!std::holds_alternative<Halted>(exit) || first.runnable()) return false;
  how = "halt";
  return !(first.get_state().rflags & x86::rflags::if_);
}

std::string Laboratory::run_in_turns() {
  u64 used = 0;
  unsigned idle = 0;
  std::string how;
  for (std::size_t current = 0; used < test_.budget; current = (current + 1) % vcpus_.size()) {
    instruction_clock_.fire_due();
    Vcpu& vcpu = *vcpus_[current];
    if (!vcpu.runnable()) {
      if (++idle <= vcpus_.size()) continue;
      const auto deadline = instruction_clock_.next_deadline();
      if (!deadline) return "halt";
      instruction_clock_.skip_to(*deadline);
      idle = 0;
      continue;
    }
    idle = 0;
    u64 budget = std::min(quantum_, test_.budget - used);
    if (const auto deadline = instruction_clock_.next_deadline()) {
      const Nanoseconds now = instruction_clock_.now();
      budget = std::min(budget, *deadline > now ? *deadline - now : 1);
    }
    const u64 before = instruction_clock_.total_instructions();
    const VcpuExit exit = instruction_clock_.run(vcpu, budget);
    used += std::max<u64>(1, instruction_clock_.total_instructions() - before);
    if ((current == 0 || std::holds_alternative<TripleFault>(exit)) && ended(exit, how)) return how;
  }
  return "no end";
}

void Laboratory::run_on_thread(unsigned index) {
  Vcpu& vcpu = *vcpus_[index];
  while (!stop_.load()) {
    if (!vcpu.runnable()) {
      std::this_thread::sleep_for(std::chrono::microseconds(20));
      continue;
    }
    if (std::holds_alternative<TripleFault>(vcpu.run(patience()))) return;
    let_others_run();
  }
}

void Laboratory::interrupt_now_and_then() {
  while (!stop_.load()) {
    std::this_thread::sleep_for(patience_when_free);
    for (auto& vcpu : vcpus_) vcpu->kick();
  }
}

std::string Laboratory::run_in_threads() {
  std::vector<std::thread> threads;
  if (schedule_ == Schedule::freely) threads.emplace_back([this] { interrupt_now_and_then(); });
  for (unsigned i = 1; i < test_.cpus; ++i) threads.emplace_back([this, i] { run_on_thread(i); });
  std::string how;
  const u64 start = vcpus_.front()->instruction_count();
  for (;;) {
    const u64 used = vcpus_.front()->instruction_count() - start;
    if (used >= test_.budget) how = "no end";
    if (used >= test_.budget) break;
    const VcpuExit exit = vcpus_.front()->run(patience());
    if (ended(exit, how)) break;
    if (std::holds_alternative<Halted>(exit)) std::this_thread::sleep_for(std::chrono::microseconds(20));
    let_others_run();
  }
  stop_.store(true);
  for (auto& vcpu : vcpus_) vcpu->kick();
  for (auto& thread : threads) thread.join();
  return how;
}

}  // namespace doppel::guest
