#include "support/flat_guest.h"

#include <cstring>

#include "base/check.h"
#include "isa/x86/paging.h"

namespace doppel::testing {
namespace {

using namespace x86;

constexpr u64 entry_bits = pte::Present::mask | pte::Writable::mask | pte::User::mask | pte::Accessed::mask |
                           pte::Dirty::mask;

class StoppedClock final : public Clock {
 public:
  Nanoseconds now() override { return 0; }
  std::unique_ptr<Alarm> make_alarm(std::function<void()>) override {
    struct Never final : Alarm {
      void set(Nanoseconds) override {}
      void cancel() override {}
    };
    return std::make_unique<Never>();
  }
};

class NoInterrupts final : public LocalInterrupts {
 public:
  std::optional<u8> acknowledge() override { return std::nullopt; }
  u8 task_priority() override { return 0; }
  void set_task_priority(u8) override {}
  std::optional<u64> read_msr(u32) override { return std::nullopt; }
  bool write_msr(u32, u64) override { return false; }
};

}  // namespace

struct FlatGuest::Board {
  Bus mmio{~u64{0}};
  Bus ports{0x10000};
  StoppedClock clock;
  NoInterrupts interrupts;
};

FlatGuest::FlatGuest(Engine& engine, unsigned cpus) : board_(std::make_unique<Board>()) {
  auto memory = PhysicalMemory::create(size, board_->mmio);
  CHECK(memory);
  memory_ = std::move(*memory);
  CHECK(memory_->map(0, 0, size, PhysicalMemory::Kind::ram, "ram"));
  // PML4 → PDPT → PD → PT, a page each; the PT maps all of RAM in order.
  u64* table = reinterpret_cast<u64*>(memory_->ram() + (tables - base));
  const u64 physical = tables - base;
  table[0] = (physical + 0x1000) | entry_bits;
  table[512] = (physical + 0x2000) | entry_bits;
  table[2 * 512 + (base >> 21 & 511)] = (physical + 0x3000) | entry_bits;
  for (u64 i = 0; i < 512; ++i) table[3 * 512 + i] = i << 12 | entry_bits;

  hooks_.exception = [this](u8 vector, u64 error, const X86State& state) {
    if (outcome_.exception) return;  // the double and triple fault that follow
    outcome_.exception = vector;
    outcome_.error_code = error;
    outcome_.state = state;
  };
  for (unsigned i = 0; i < cpus; ++i) {
    auto vcpu = engine.create_vcpu({i, cpus, *memory_, board_->ports, board_->clock, board_->interrupts});
    CHECK(vcpu);
    vcpus_.push_back(std::move(*vcpu));
  }
  vcpus_[0]->set_trace(&hooks_);
}

FlatGuest::~FlatGuest() = default;

X86State FlatGuest::initial_state(bool compatibility_mode) {
  X86State state;
  x86::reset(state);
  state.gpr = {};
  state.rip = base;
  state.cr0 = cr0::pe | cr0::mp | cr0::et | cr0::ne | cr0::wp | cr0::pg;
  state.cr3 = tables - base;
  state.cr4 = cr4::pae | cr4::osfxsr | cr4::osxmmexcpt;
  state.efer = efer::lme | efer::lma | efer::nxe;
  constexpr u16 data = 0xc093, code64 = 0xa09b, code32 = 0xc09b;
  for (auto& segment : state.segments)
    segment = {.base = 0, .limit = 0xffff'ffff, .selector = 0x10, .attributes = data};
  state.segments[cs] = {
      .base = 0, .limit = 0xffff'ffff, .selector = 8, .attributes = compatibility_mode ? code32 : code64};
  state.idtr.limit = 0;
  return state;
}

FlatGuest::Outcome FlatGuest::run(const X86State& state, u64 budget) {
  outcome_ = {};
  vcpus_[0]->set_state(state);
  outcome_.exit = vcpus_[0]->run(budget);
  if (!outcome_.exception) outcome_.state = vcpus_[0]->get_state();
  return outcome_;
}

void FlatGuest::write(u64 linear, std::span<const u8> bytes) {
  CHECK(Dma(*memory_).write(linear - base, bytes.data(), bytes.size()));
}

const u8* FlatGuest::memory(u64 linear) const { return memory_->ram() + (linear - base); }

void FlatGuest::change_entry(u64 linear, u64 clear, u64 set) {
  u64* entry = reinterpret_cast<u64*>(memory_->ram() + (tables - base) + 0x3000) + (linear >> 12 & 511);
  *entry = (*entry & ~clear) | set;
}
void FlatGuest::set_present(u64 linear, bool present) {
  change_entry(linear, pte::Present::mask, present ? pte::Present::mask : 0);
}
void FlatGuest::set_writable(u64 linear, bool writable) {
  change_entry(linear, pte::Writable::mask, writable ? pte::Writable::mask : 0);
}

void FlatGuest::set_device(u64 linear) { change_entry(linear, 0, u64{1} << 32); }

}  // namespace doppel::testing
