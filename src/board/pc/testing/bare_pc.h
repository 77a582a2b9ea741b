// A PC without processors: the board on a hand-turned clock, with its pins and requests written down.
#pragma once

#include <fmt/format.h>

#include "base/check.h"
#include "board/pc/pc.h"
#include "device/testing/fake_clock.h"

namespace doppel::testing {

class BarePc final : private MachineControl {
 public:
  explicit BarePc(BoardSpec spec = {}) {
    spec.memory_bytes = 16 * MiB;
    for (unsigned i = 0; i < spec.cpus; ++i) pins_.push_back(std::make_unique<Pins>(*this, i));
    std::vector<CpuPins*> pins;
    for (auto& pin : pins_) pins.push_back(pin.get());
    auto made = pc::Pc::create(spec, {.memory = *memory,
                                      .ports = ports,
                                      .clock = clock,
                                      .loop = *loop,
                                      .deterministic = true,
                                      .control = *this,
                                      .epoch_seconds = 1'000'000'000,
                                      .cpus = std::move(pins)});
    CHECK(made);
    board = std::move(*made);
    for (Device* device : board->devices()) device->reset();
    CHECK(board->configure());
    log.clear();
  }

  u64 in(u64 port, unsigned bytes = 1) { return ports.read(port, bytes); }
  void out(u64 port, u64 value, unsigned bytes = 1) { ports.write(port, bytes, value); }
  u32 pci(unsigned slot, unsigned function, unsigned offset) {
    out(0xcf8, 0x8000'0000 | slot << 11 | function << 8 | offset, 4);
    return static_cast<u32>(in(0xcfc, 4));
  }
  std::vector<u8> save() {
    auto archive = state::Archive::for_saving();
    for (Device* device : board->devices()) device->pause();
    for (Device* device : board->devices()) device->state(archive);
    for (Device* device : board->devices()) device->resume();
    return archive.take();
  }
  Result<> load(std::vector<u8> bytes) {
    auto archive = state::Archive::for_loading(std::move(bytes));
    for (Device* device : board->devices()) device->pause();
    for (Device* device : board->devices()) device->state(archive);
    if (archive.ok()) {
      for (Device* device : board->devices()) device->resume();
    }
    return archive.status();
  }

  Bus mmio{u64{1} << 52}, ports{0x10000};
  std::unique_ptr<PhysicalMemory> memory = std::move(*PhysicalMemory::create(16 * MiB, mmio));
  std::unique_ptr<EventLoop> loop = std::move(*EventLoop::create());
  FakeClock clock;
  std::unique_ptr<Board> board;
  std::string log;  // what reached the processors and the machine

 private:
  struct Pins final : CpuPins {
    Pins(BarePc& pc, unsigned i) : owner(pc), index(i) {}
    void set_interrupt_request(bool level) override { owner.note("cpu{}.intr={}", index, level ? 1 : 0); }
    void raise_nmi() override { owner.note("cpu{}.nmi", index); }
    void raise_init() override { owner.note("cpu{}.init", index); }
    void raise_sipi(u8 vector) override { owner.note("cpu{}.sipi={:x}", index, vector); }
    BarePc& owner;
    const unsigned index;
  };
  template <class... Args>
  void note(fmt::format_string<Args...> format, Args&&... args) {
    log += fmt::format(format, std::forward<Args>(args)...) + " ";
  }
  void request_reset() override { note("reset"); }
  void request_power_off() override { note("power-off"); }
  void request_exit(int code) override { note("exit={}", code); }

  std::vector<std::unique_ptr<Pins>> pins_;
};

}  // namespace doppel::testing
