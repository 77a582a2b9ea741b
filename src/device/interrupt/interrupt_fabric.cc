// See interrupt_fabric.h.
#include "device/interrupt/interrupt_fabric.h"

#include <optional>

#include "base/bits.h"
#include "base/check.h"
#include "device/interrupt/io_apic.h"
#include "device/interrupt/local_apic.h"

namespace doppel {

namespace {

namespace msi_address {
using Logical = Bits<2>;
using RedirectionHint = Bits<3>;
using Destination = Bits<12, 8>;
using Window = Bits<20, 44>;
constexpr u64 window = 0xfee;
}  // namespace msi_address
namespace msi_data {
using VectorField = Bits<0, 8>;
using Mode = Bits<8, 3>;
using Assert = Bits<14>;
using LevelTriggered = Bits<15>;
}  // namespace msi_data

}  // namespace

// The destination mode counts whatever the redirection hint says: operating systems send logical MSIs without it.
bool decode_msi(MsiMessage msi, InterruptMessage& message) {
  if (msi_address::Window::get(msi.address) != msi_address::window) return false;
  message = {};
  message.destination = static_cast<u32>(msi_address::Destination::get(msi.address));
  message.to = message.destination == 0xff              ? InterruptMessage::To::all
               : msi_address::Logical::get(msi.address) ? InterruptMessage::To::logical
                                                        : InterruptMessage::To::physical;
  message.mode = static_cast<DeliveryMode>(msi_data::Mode::get(msi.data));
  message.vector = static_cast<u8>(msi_data::VectorField::get(msi.data));
  const bool fixed = message.mode == DeliveryMode::fixed || message.mode == DeliveryMode::lowest_priority;
  message.level = fixed && msi_data::LevelTriggered::get(msi.data);
  if (message.level && !msi_data::Assert::get(msi.data)) return false;
  if (message.mode == DeliveryMode::fixed && msi_address::RedirectionHint::get(msi.address))
    message.mode = DeliveryMode::lowest_priority;
  return message.mode != DeliveryMode::reserved && message.mode != DeliveryMode::startup;
}

void InterruptFabric::attach(LocalApic& apic) {
  CHECK(apic.id() == apics_.size());
  apics_.push_back(&apic);
}

bool InterruptFabric::deliver(const InterruptMessage& message) {
  if (message.to == InterruptMessage::To::physical)
    return message.destination < apics_.size() && apics_[message.destination]->deliver(message);
  if (message.mode == DeliveryMode::lowest_priority) return deliver_to_lowest(message);
  bool accepted = false;
  for (LocalApic* apic : apics_)
    if (apic->addressed_by(message) && apic->deliver(message)) accepted = true;
  return accepted;
}

// The processor of lowest priority takes it. Among equals the vector chooses, which spreads sources and needs no state:
// a run that was saved and loaded goes on as it would have.
bool InterruptFabric::deliver_to_lowest(const InterruptMessage& message) {
  LocalApic* best = nullptr;
  unsigned best_class = 0;
  const std::size_t count = apics_.size();
  for (std::size_t i = 0; i < count; ++i) {
    LocalApic& apic = *apics_[(message.vector + i) % count];
    const std::optional<u8> priority = apic.arbitrate(message);
    if (!priority || (best && *priority >> 4 >= static_cast<int>(best_class))) continue;
    best = &apic;
    best_class = *priority >> 4;
  }
  return best && best->deliver(message);
}

void InterruptFabric::end_of_interrupt(u8 vector) {
  if (io_apic_) io_apic_->end_of_interrupt(vector);
}

void InterruptFabric::deliver_msi(MsiMessage msi) {
  InterruptMessage message;
  if (decode_msi(msi, message)) deliver(message);
}

IrqLine InterruptFabric::lint(unsigned pin) {
  CHECK(pin < 2);
  return IrqLine([this, pin](bool level) {
    for (LocalApic* apic : apics_) apic->set_lint(pin, level);
  });
}

}  // namespace doppel
