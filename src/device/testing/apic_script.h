// Scripts against a PC's interrupt controllers with four processors. A command may name its processor ("2.ack"), else it is 0.
//   w OFFSET,VALUE  r OFFSET  eoi  cr8 VALUE  getcr8  rdmsr INDEX  wrmsr INDEX,VALUE  page  offset TSC-OFFSET
//   intr  ack  events  lint PIN,LEVEL  msi ADDRESS,DATA  rte N,VALUE  irq N,LEVEL  reg N (of the I/O APIC)  pic IRQ
//   tick NS  alarms  pause  resume  reset  reload
#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>

#include "device/testing/apic_system.h"
#include "device/testing/script.h"

namespace doppel::testing {

class ApicScript {
 public:
  std::string run(std::string_view script) {
    for (const Command& command : parse_script(script)) {
      const bool names_cpu = command.name.size() > 2 && command.name[1] == '.';
      cpu_ = names_cpu ? static_cast<unsigned>(command.name[0] - '0') : 0;
      perform(names_cpu ? command.name.substr(2) : command.name, command);
    }
    return printed_.empty() ? "" : printed_.substr(1);
  }

 private:
  template <class T>
  void print(const T& value) {
    if constexpr (std::is_integral_v<T>) {
      printed_ += fmt::format(" {:x}", value);
    } else {
      printed_ += fmt::format(" {}", value);
    }
  }
  template <class T>
  void print(const std::optional<T>& value) {
    value ? print(*value) : print("-");
  }

  void perform(const std::string& name, const Command& command) {
    if (!perform_cpu(name, command) && !perform_system(name, command)) ADD_FAILURE() << "unknown command " << name;
  }

  bool perform_cpu(const std::string& name, const Command& command) {
    LocalApic& apic = *system_->apics[cpu_];
    RecordedPins& pins = system_->pins[cpu_];
    const u32 first = static_cast<u32>(command[0]), second = static_cast<u32>(command[1]);
    if (name == "w") return apic.write(first, second), true;
    if (name == "r") return print(apic.read(first)), true;
    if (name == "eoi") return apic.write(0xb0, 0), true;
    if (name == "cr8") return apic.set_task_priority(static_cast<u8>(first)), true;
    if (name == "getcr8") return print(apic.task_priority()), true;
    if (name == "rdmsr") return print(apic.read_msr(first)), true;
    if (name == "wrmsr") return apic.write_msr(first, command[1]) ? void() : print("gp"), true;
    if (name == "page") return print(apic.page()), true;
    if (name == "offset") return apic.tsc_offset_changed(command[0]), true;
    if (name == "intr") return print(static_cast<unsigned>(pins.intr)), true;
    if (name == "ack") return print(apic.acknowledge()), true;
    if (name == "events")
      return print(pins.events.empty() ? "none" : pins.events.substr(0, pins.events.size() - 1)), pins.events.clear(),
             true;
    if (name == "lint") return apic.set_lint(first, second), true;
    return false;
  }

  bool perform_system(const std::string& name, const Command& command) {
    const u32 first = static_cast<u32>(command[0]);
    if (name == "msi") return system_->fabric.deliver_msi({command[0], static_cast<u32>(command[1])}), true;
    if (name == "irq") return system_->io_apic.set_input(first, command[1]), true;
    if (name == "pic") return system_->pic.line(first).pulse(), true;
    if (name == "tick") return system_->clock.advance(command[0]), true;
    if (name == "alarms") return print(system_->clock.armed()), true;
    if (name == "rte") return set_entry(first, command[1]), true;
    if (name == "reg") return system_->io_apic.write({0, 4}, first), print(system_->io_apic.read({0x10, 4})), true;
    if (name == "reload") return reload(), true;
    for (Device* device : system_->devices()) {
      if (name == "reset") device->reset();
      if (name == "pause") device->pause();
      if (name == "resume") device->resume();
    }
    return name == "reset" || name == "pause" || name == "resume";
  }

  void set_entry(u32 input, u64 value) {
    system_->io_apic.write({0, 4}, 0x11 + 2 * input);
    system_->io_apic.write({0x10, 4}, value >> 32);
    system_->io_apic.write({0, 4}, 0x10 + 2 * input);
    system_->io_apic.write({0x10, 4}, value & 0xffff'ffff);
  }

  void reload() {
    auto saved = state::Archive::for_saving();
    system_->state(saved);
    auto archive = state::Archive::for_loading(saved.take());
    const Nanoseconds now = system_->clock.now();
    system_ = std::make_unique<ApicSystem>(4);
    system_->clock.advance(now);
    system_->state(archive);
    EXPECT_TRUE(archive.status()) << archive.status().error().message;
  }

  std::unique_ptr<ApicSystem> system_ = std::make_unique<ApicSystem>(4);
  unsigned cpu_ = 0;
  std::string printed_;
};

}  // namespace doppel::testing
