// Local APICs, an I/O APIC and the 8259s wired as on a PC, around processors that only write down what their pins say.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "device/interrupt/i8259.h"
#include "device/interrupt/interrupt_fabric.h"
#include "device/interrupt/io_apic.h"
#include "device/interrupt/local_apic.h"
#include "device/testing/fake_clock.h"

namespace doppel::testing {

struct RecordedPins final : ProcessorPins {
  bool intr = false;
  std::string events;  // "nmi init sipi9a "

  void interrupt_request(bool level) override { intr = level; }
  void nmi() override { events += "nmi "; }
  void init() override { events += "init "; }
  void sipi(u8 vector) override {
    constexpr std::string_view digits = "0123456789abcdef";
    events += std::string("sipi") + digits[vector >> 4] + digits[vector & 15] + ' ';
  }
};

class ApicSystem {
 public:
  static constexpr unsigned physical_address_bits = 40;

  explicit ApicSystem(unsigned cpus) : pins(cpus) {
    fabric.attach(io_apic);
    for (unsigned i = 0; i < cpus; ++i) {
      apics.push_back(
          std::make_unique<LocalApic>(i, physical_address_bits, LocalApic::Wiring{clock, fabric, pins[i], pic}));
      fabric.attach(*apics.back());
    }
    for (Device* device : devices()) device->reset();
  }

  std::vector<Device*> devices() {
    std::vector<Device*> all{&pic, &io_apic};
    for (auto& apic : apics) all.push_back(apic.get());
    return all;
  }

  void state(state::Archive& archive) {
    for (Device* device : devices()) device->state(archive);
  }

  FakeClock clock;
  InterruptFabric fabric;
  I8259 pic{fabric.lint(0)};
  IoApic io_apic{fabric};
  std::vector<RecordedPins> pins;
  std::vector<std::unique_ptr<LocalApic>> apics;
};

}  // namespace doppel::testing
