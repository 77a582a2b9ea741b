// A processor's local APIC in xAPIC and x2APIC mode. Intel SDM vol. 3 §11 (edition 085); CPUID must state family 6 or later
// (integrated APIC, version 14h), x2APIC, TSC-deadline, and leaf 15h as apic_timer.h says.
// Left out: CMCI, SMM (SMI messages vanish), bus arbitration and focus processor (gone since the Pentium 4), remote read.
// Deviations: the xAPIC ID is read-only, as on recent processors. LINT pins are told "asserted", so polarity is stored only.
// Thermal and performance LVT entries hold what is written; nothing here raises them. No spurious vector is ever given:
// acknowledge() says that nothing is there.
#pragma once

#include <array>
#include <mutex>
#include <optional>

#include "device/device.h"
#include "device/interrupt/apic_registers.h"
#include "device/interrupt/apic_timer.h"
#include "device/interrupt/interrupt_message.h"
#include "device/interrupt/processor_pins.h"
#include "device/interrupt/vector_set.h"

namespace doppel {

class LocalApic final : public Device {
 public:
  // All of it outlives the APIC. Nothing is called by the constructor.
  struct Wiring {
    Clock& clock;
    InterruptBus& bus;
    ProcessorPins& pins;
    InterruptAcknowledge& external;  // who answers when LINT0 passes an interrupt: the 8259s
  };
  // `id` is the processor's index (below 255); `physical_address_bits` as CPUID leaf 80000008h states it.
  LocalApic(u32 id, unsigned physical_address_bits, Wiring wiring);

  std::string_view name() const override { return "local-apic"; }
  void reset() override;
  void pause() override;
  void resume() override;  // also drives the INTR pin anew
  void state(state::Archive& archive) override;

  u32 id() const { return id_; }

  // ---- the processor's side: its own thread; meanings as in engine/vcpu.h, LocalInterrupts ----
  std::optional<u8> acknowledge();
  u8 task_priority();
  void set_task_priority(u8 cr8);
  std::optional<u64> read_msr(u32 index);
  bool write_msr(u32 index, u64 value);
  void tsc_offset_changed(u64 offset);
  std::optional<u64> page();  // where the register window is; nothing if disabled or in x2APIC mode
  u32 read(u32 offset);       // xAPIC window
  void write(u32 offset, u32 value);

  // ---- the bus's side: any thread ----
  bool addressed_by(const InterruptMessage& message) const;
  // Processor priority, if it is addressed and would take a fixed or lowest-priority message.
  std::optional<u8> arbitrate(const InterruptMessage& message) const;
  // Takes a message that is meant for this APIC. False if the APIC is disabled or the vector is illegal.
  bool deliver(const InterruptMessage& message);
  // The local interrupt pins, 0 or 1. Any thread; may be called with the 8259s' or the I/O APIC's lock held.
  void set_lint(unsigned pin, bool asserted);

 private:
  enum class Mode : u8 { disabled, xapic, x2apic };
  enum Entry : u8 { timer, thermal, performance, lint0, lint1, error, entries };

  // What a register write must do once the lock is released.
  struct Outgoing {
    std::optional<u8> end_of_interrupt;
    std::optional<InterruptMessage> message;
  };
  void send(const Outgoing& outgoing);

  // ---- local_apic.cc: acceptance and priorities ----
  Mode mode() const;
  bool software_enabled() const { return apic::svr::Enabled::get(svr_); }
  u8 processor_priority() const;
  bool logically_addressed(u32 destination) const;
  bool external_requested() const;
  int deliverable() const;  // the vector that may interrupt now, or -1
  void update_request();
  void initialize();  // INIT and power-up: everything but the base, the ID and the levels of pins
  bool accept(u8 vector, bool level);
  void raise_error(u32 bit);
  void raise_entry(Entry entry, bool edge);
  void service_timer();
  std::optional<u8> end_of_interrupt();

  // ---- local_apic_registers.cc ----
  u32 logical_id() const;
  bool write_base(u64 value);
  u64 read_register(u32 offset);
  Outgoing write_register(u32 offset, u64 value);
  void write_svr(u32 value);
  void write_entry(Entry entry, u32 value);
  std::optional<InterruptMessage> write_icr(u64 value);
  void send_self(u8 vector);
  void write_esr();
  void state_of_registers(state::Archive& archive);

  const u32 id_;
  const unsigned physical_address_bits_;
  const Wiring wiring_;
  mutable std::mutex mutex_;  // guards everything below

  u64 base_ = 0;
  VectorSet irr_, isr_, tmr_;
  std::array<u32, entries> lvt_{};
  std::array<bool, 2> lint_{};     // levels of the pins
  bool external_message_ = false;  // an ExtINT message, not yet acknowledged
  bool request_ = false;           // what INTR was last told
  u8 tpr_ = 0;
  u32 ldr_ = 0, dfr_ = 0, svr_ = 0;
  u32 esr_ = 0, errors_ = 0;  // what software sees, and what has happened since it last wrote the ESR
  u64 icr_ = 0;               // destination in bits 32–63: xAPIC 56–63
  ApicTimer timer_;
};

}  // namespace doppel
