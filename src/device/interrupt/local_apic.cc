// Acceptance of interrupts, priorities and delivery to the processor. Intel SDM vol. 3 §11.5, §11.8 (edition 085).
#include "device/interrupt/local_apic.h"

#include <algorithm>

#include "base/check.h"

namespace doppel {

namespace base = apic::base;
namespace lvt = apic::lvt;

namespace {

constexpr u8 first_legal_vector = 16;

constexpr u8 priority_class(int vector) { return static_cast<u8>(vector >> 4); }

}  // namespace

LocalApic::LocalApic(u32 id, unsigned physical_address_bits, Wiring wiring)
    : id_(id), physical_address_bits_(physical_address_bits), wiring_(wiring), timer_(wiring.clock, [this] {
        const std::lock_guard lock(mutex_);
        timer_.alarm_fired();
        service_timer();
      }) {
  CHECK(id < 0xff && physical_address_bits >= 36 && physical_address_bits <= 52);
}

void LocalApic::reset() {
  const std::lock_guard lock(mutex_);
  base_ = base::reset_address | base::Enabled::mask | base::Bootstrap::of(id_ == 0);
  initialize();
  timer_.arm();
  request_ = external_requested();
  wiring_.pins.interrupt_request(request_);
}

void LocalApic::initialize() {
  irr_ = isr_ = tmr_ = {};
  lvt_.fill(lvt::reset);
  external_message_ = false;
  tpr_ = 0;
  ldr_ = 0;
  dfr_ = 0xffff'ffff;
  svr_ = apic::svr::reset;
  esr_ = errors_ = 0;
  icr_ = 0;
  timer_.reset();
}

void LocalApic::pause() {
  const std::lock_guard lock(mutex_);
  timer_.suspend();
}

void LocalApic::resume() {
  const std::lock_guard lock(mutex_);
  timer_.resume();
  service_timer();
  wiring_.pins.interrupt_request(request_);
}

LocalApic::Mode LocalApic::mode() const {
  if (!base::Enabled::get(base_)) return Mode::disabled;
  return base::Extended::get(base_) ? Mode::x2apic : Mode::xapic;
}

// ---- priorities, §11.8.3 ----

u8 LocalApic::processor_priority() const {
  const int in_service = std::max(isr_.highest(), 0);
  return priority_class(tpr_) >= priority_class(in_service) ? tpr_ : static_cast<u8>(in_service & 0xf0);
}

int LocalApic::deliverable() const {
  const int vector = irr_.highest();
  return vector >= 0 && priority_class(vector) > priority_class(processor_priority()) ? vector : -1;
}

// Without a local APIC, LINT0 is the INTR pin (§11.4.3).
bool LocalApic::external_requested() const {
  if (mode() == Mode::disabled) return lint_[0];
  if (external_message_) return true;
  for (unsigned pin = 0; pin < 2; ++pin) {
    const u32 entry = lvt_[lint0 + pin];
    if (lint_[pin] && !lvt::Masked::get(entry) && lvt::Mode::get(entry) == u64{static_cast<u8>(DeliveryMode::external)})
      return true;
  }
  return false;
}

void LocalApic::update_request() {
  const bool wanted = deliverable() >= 0 || external_requested();
  if (wanted == request_) return;
  request_ = wanted;
  wiring_.pins.interrupt_request(wanted);
}

std::optional<u8> LocalApic::acknowledge() {
  {
    const std::lock_guard lock(mutex_);
    if (const int pending = deliverable(); pending >= 0) {
      const u8 vector = static_cast<u8>(pending);
      irr_.clear(vector);
      isr_.set(vector);
      update_request();
      return vector;
    }
    if (!external_requested()) return std::nullopt;
    external_message_ = false;
    update_request();
  }
  return wiring_.external.acknowledge();
}

u8 LocalApic::task_priority() {
  const std::lock_guard lock(mutex_);
  return tpr_ >> 4;
}

void LocalApic::set_task_priority(u8 cr8) {
  const std::lock_guard lock(mutex_);
  tpr_ = static_cast<u8>(cr8 << 4);
  update_request();
}

// §11.8.5. Yields the vector whose end the I/O APIC must hear.
std::optional<u8> LocalApic::end_of_interrupt() {
  const int in_service = isr_.highest();
  if (in_service < 0) return std::nullopt;
  const u8 vector = static_cast<u8>(in_service);
  isr_.clear(vector);
  for (unsigned pin = 0; pin < 2; ++pin) {
    u32& entry = lvt_[lint0 + pin];
    if (!lvt::RemoteIrr::get(entry) || lvt::VectorField::get(entry) != vector) continue;
    entry &= ~static_cast<u32>(lvt::RemoteIrr::mask);
    raise_entry(static_cast<Entry>(lint0 + pin), false);
  }
  update_request();
  const bool broadcast = tmr_.test(vector) && !apic::svr::SuppressEoiBroadcast::get(svr_);
  return broadcast ? std::optional(vector) : std::nullopt;
}

// ---- local sources, §11.5 ----

// A vector of the LVT or of a message joins the IRR. One that is there already coalesces.
bool LocalApic::accept(u8 vector, bool level) {
  if (vector < first_legal_vector) {
    raise_error(apic::esr::receive_illegal_vector);
    return false;
  }
  irr_.set(vector);
  tmr_.assign(vector, level);
  update_request();
  return true;
}

// The error interrupt comes once, until software writes the ESR (§11.5.3). That also ends the recursion by an illegal vector.
void LocalApic::raise_error(u32 bit) {
  const bool first = errors_ == 0;
  errors_ |= bit;
  if (first) raise_entry(error, true);
}

// An LVT entry's source is active: `edge` tells that it just became so. Level-triggered fixed interrupts are for the LINT pins.
void LocalApic::raise_entry(Entry entry, bool edge) {
  u32& value = lvt_[entry];
  if (lvt::Masked::get(value)) return;
  const u8 vector = static_cast<u8>(lvt::VectorField::get(value));
  if (entry != lint0 && entry != lint1) {
    if (edge) accept(vector, false);
    return;
  }
  switch (static_cast<DeliveryMode>(lvt::Mode::get(value))) {
    case DeliveryMode::fixed:
      if (!lvt::LevelTriggered::get(value)) {
        if (edge) accept(vector, false);
      } else if (lint_[entry - lint0] && !lvt::RemoteIrr::get(value) && software_enabled() && accept(vector, true)) {
        value |= lvt::RemoteIrr::mask;
      }
      break;
    case DeliveryMode::nmi:
      if (edge) wiring_.pins.nmi();
      break;
    case DeliveryMode::init:
      if (edge) {
        initialize();
        timer_.arm();
        wiring_.pins.init();
      }
      break;
    default: break;  // ExtINT is a level that update_request() looks at; SMI and the rest do nothing
  }
}

void LocalApic::set_lint(unsigned pin, bool asserted) {
  CHECK(pin < 2);
  const std::lock_guard lock(mutex_);
  if (lint_[pin] == asserted) return;
  lint_[pin] = asserted;
  if (mode() == Mode::disabled) {  // LINT1 is the NMI pin
    if (pin == 1 && asserted) wiring_.pins.nmi();
  } else if (asserted) {
    raise_entry(static_cast<Entry>(lint0 + pin), true);
  }
  update_request();
}

void LocalApic::service_timer() {
  if (timer_.take_expired()) raise_entry(timer, true);
  timer_.arm();
}

void LocalApic::tsc_offset_changed(u64 offset) {
  const std::lock_guard lock(mutex_);
  timer_.set_tsc_offset(offset);
  service_timer();
}

// ---- messages, §11.6.2 and §11.12.10 ----

bool LocalApic::logically_addressed(u32 destination) const {
  if (mode() == Mode::x2apic) {
    const u32 own = logical_id();
    return own >> 16 == destination >> 16 && (own & destination & 0xffff);
  }
  if (destination > 0xff) return false;
  const u32 own = ldr_ >> 24;
  switch (dfr_ >> 28) {
    case 0xf: return own & destination;                                          // flat
    case 0x0: return own >> 4 == destination >> 4 && (own & destination & 0xf);  // cluster
    default: return false;
  }
}

bool LocalApic::addressed_by(const InterruptMessage& message) const {
  switch (message.to) {
    case InterruptMessage::To::physical: return message.destination == id_;
    case InterruptMessage::To::all: return true;
    case InterruptMessage::To::all_but_sender: return message.sender != id_;
    case InterruptMessage::To::logical: break;
  }
  const std::lock_guard lock(mutex_);
  return logically_addressed(message.destination);
}

std::optional<u8> LocalApic::arbitrate(const InterruptMessage& message) const {
  if (!addressed_by(message)) return std::nullopt;
  const std::lock_guard lock(mutex_);
  if (mode() == Mode::disabled || !software_enabled()) return std::nullopt;
  return processor_priority();
}

bool LocalApic::deliver(const InterruptMessage& message) {
  const std::lock_guard lock(mutex_);
  if (mode() == Mode::disabled) return false;
  switch (message.mode) {
    case DeliveryMode::fixed:
    case DeliveryMode::lowest_priority: return software_enabled() && accept(message.vector, message.level);
    case DeliveryMode::nmi: wiring_.pins.nmi(); return true;
    case DeliveryMode::init:
      initialize();
      timer_.arm();
      update_request();
      wiring_.pins.init();
      return true;
    case DeliveryMode::startup: wiring_.pins.sipi(message.vector); return true;
    case DeliveryMode::external:
      if (!software_enabled()) return false;
      external_message_ = true;
      update_request();
      return true;
    case DeliveryMode::smi:
    case DeliveryMode::reserved: return false;
  }
  return false;
}

}  // namespace doppel
