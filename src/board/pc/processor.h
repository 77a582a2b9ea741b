// A processor's socket on a PC: its local APIC, wired on one side to the engine's vCPU and on the other to the machine's pins.
#pragma once

#include "board/board.h"
#include "device/interrupt/local_apic.h"

namespace doppel::pc {

class Processor final : public LocalInterrupts, private ProcessorPins {
 public:
  Processor(unsigned index, CpuPins& pins, Clock& clock, InterruptBus& bus, InterruptAcknowledge& external);

  LocalApic& apic() { return apic_; }

  // ---- what instructions see ----
  std::optional<u8> acknowledge() override { return apic_.acknowledge(); }
  u8 task_priority() override { return apic_.task_priority(); }
  void set_task_priority(u8 cr8) override { apic_.set_task_priority(cr8); }
  std::optional<u64> read_msr(u32 index) override { return apic_.read_msr(index); }
  bool write_msr(u32 index, u64 value) override { return apic_.write_msr(index, value); }
  void tsc_offset_changed(u64 offset) override { apic_.tsc_offset_changed(offset); }
  u64 apic_page() override { return apic_.page().value_or(no_apic_page); }
  u32 read_apic(u32 offset) override { return apic_.read(offset); }
  void write_apic(u32 offset, u32 value) override { apic_.write(offset, value); }

 private:
  void interrupt_request(bool level) override { pins_.set_interrupt_request(level); }
  void nmi() override { pins_.raise_nmi(); }
  void init() override { pins_.raise_init(); }
  void sipi(u8 vector) override { pins_.raise_sipi(vector); }

  CpuPins& pins_;
  LocalApic apic_;
};

}  // namespace doppel::pc
