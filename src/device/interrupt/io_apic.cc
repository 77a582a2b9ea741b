// 82093AA datasheet §3; see io_apic.h.
#include "device/interrupt/io_apic.h"

#include "base/bits.h"
#include "base/check.h"

namespace doppel {

namespace {

// Redirection entry, 82093AA §3.2.4.
namespace entry {
using VectorField = Bits<0, 8>;
using Mode = Bits<8, 3>;
using Logical = Bits<11>;
using RemoteIrr = Bits<14>;
using LevelTriggered = Bits<15>;
using Masked = Bits<16>;
using Destination = Bits<56, 8>;
constexpr u64 writable = 0xff00'0000'0001'afff;  // not: delivery status, remote IRR
}  // namespace entry

enum Register : u8 { id = 0x00, version = 0x01, arbitration = 0x02, first_entry = 0x10 };
enum Offset : u8 { select = 0x00, window = 0x10, eoi = 0x40 };

constexpr u32 version_value = (IoApic::inputs - 1) << 16 | 0x20;

// Fixed and lowest-priority interrupts may be levels; NMI, INIT and ExtINT are edges whatever the entry says.
bool is_level(u64 value) {
  const auto mode = static_cast<DeliveryMode>(entry::Mode::get(value));
  return entry::LevelTriggered::get(value) && (mode == DeliveryMode::fixed || mode == DeliveryMode::lowest_priority);
}

}  // namespace

// The levels of the inputs stay: they are the state of those who drive them.
void IoApic::reset() {
  const std::lock_guard lock(mutex_);
  select_ = id_ = 0;
  entries_.fill(reset_entry);
}

void IoApic::state(state::Archive& archive) {
  const std::lock_guard lock(mutex_);
  archive.begin("io-apic", 1);
  archive(asserted_);
  archive(select_);
  archive(id_);
  archive(entries_);
  archive.require(!(asserted_ >> inputs) && id_ < 16, "I/O APIC: inputs or ID");
  for (const u64 value : entries_) {
    archive.require(!(value & ~(entry::writable | entry::RemoteIrr::mask)), "I/O APIC: redirection entry");
    archive.require(!entry::RemoteIrr::get(value) || entry::LevelTriggered::get(value),
                    "I/O APIC: remote IRR of an edge");
  }
  archive.end();
}

IrqLine IoApic::line(unsigned input) {
  CHECK(input < inputs);
  return IrqLine([this, input](bool level) { set_input(input, level); });
}

void IoApic::set_input(unsigned input, bool asserted) {
  CHECK(input < inputs);
  const std::lock_guard lock(mutex_);
  const u32 bit = u32{1} << input;
  if (static_cast<bool>(asserted_ & bit) == asserted) return;
  asserted_ ^= bit;
  if (asserted) serve(input, true);
}

// Sends the input's message if it is due: a level that no processor is servicing yet, or an edge just now. An edge at a masked
// input is lost (82093AA §3.2.4).
void IoApic::serve(unsigned input, bool edge) {
  u64& value = entries_[input];
  if (entry::Masked::get(value)) return;
  if (!is_level(value)) {
    if (edge) send(value, false);
    return;
  }
  if (!(asserted_ & u32{1} << input) || entry::RemoteIrr::get(value)) return;
  value = entry::RemoteIrr::set(value, send(value, true));
}

bool IoApic::send(u64 value, bool level) {
  const auto destination = static_cast<u32>(entry::Destination::get(value));
  InterruptMessage message{
      .to = destination == 0xff          ? InterruptMessage::To::all
            : entry::Logical::get(value) ? InterruptMessage::To::logical
                                         : InterruptMessage::To::physical,
      .destination = destination,
      .mode = static_cast<DeliveryMode>(entry::Mode::get(value)),
      .vector = static_cast<u8>(entry::VectorField::get(value)),
      .level = level,
  };
  if (message.mode == DeliveryMode::reserved || message.mode == DeliveryMode::startup) return false;
  return bus_.deliver(message);
}

void IoApic::end_of_interrupt(u8 vector) {
  const std::lock_guard lock(mutex_);
  end_locked(vector);
}

void IoApic::end_locked(u8 vector) {
  for (unsigned input = 0; input < inputs; ++input) {
    u64& value = entries_[input];
    if (!entry::RemoteIrr::get(value) || entry::VectorField::get(value) != vector) continue;
    value = entry::RemoteIrr::set(value, 0);
    serve(input, false);
  }
}

// ---- registers ----

u64 IoApic::read(Access access) {
  const std::lock_guard lock(mutex_);
  const u32 value = (access.offset & ~u64{3}) == select   ? select_
                    : (access.offset & ~u64{3}) == window ? read_register()
                                                          : 0;
  return value >> (8 * (access.offset & 3));
}

// IOREGSEL takes any width; the others only whole words, as the datasheet demands.
void IoApic::write(Access access, u64 value) {
  const std::lock_guard lock(mutex_);
  if (access.offset == select) {
    select_ = static_cast<u8>(value);
  } else if (access.bytes < 4) {
    return;
  } else if (access.offset == window) {
    write_register(static_cast<u32>(value));
  } else if (access.offset == eoi) {
    end_locked(static_cast<u8>(value));
  }
}

u32 IoApic::read_register() const {
  switch (select_) {
    case id:
    case arbitration: return u32{id_} << 24;
    case version: return version_value;
    default: break;
  }
  const unsigned index = (select_ - first_entry) / 2u;
  if (select_ < first_entry || index >= inputs) return 0;
  return static_cast<u32>(select_ & 1 ? entries_[index] >> 32 : entries_[index]);
}

void IoApic::write_register(u32 value) {
  if (select_ == id) id_ = value >> 24 & 0xf;
  const unsigned index = (select_ - first_entry) / 2u;
  if (select_ < first_entry || index >= inputs) return;
  const u64 old = entries_[index];
  write_entry(index, select_ & 1 ? (old & 0xffff'ffff) | u64{value} << 32 : (old >> 32 << 32) | value);
}

// Remote IRR belongs to levels: an entry that becomes an edge loses it, which is how older kernels end a level interrupt.
void IoApic::write_entry(unsigned input, u64 value) {
  u64& current = entries_[input];
  const u64 remote_irr = current & entry::RemoteIrr::mask;
  current = value & entry::writable;
  if (is_level(current)) current |= remote_irr;
  serve(input, false);
}

}  // namespace doppel
