// The local APIC's registers, from both sides: the xAPIC page and the MSRs. Intel SDM vol. 3 §11.4–§11.12 (edition 085).
#include "base/check.h"
#include "device/interrupt/local_apic.h"

namespace doppel {

namespace base = apic::base;
namespace icr = apic::icr;
namespace lvt = apic::lvt;
namespace reg = apic::reg;

namespace {

// The ICR's halves are one register here; a message is made of both.
constexpr u64 icr_destination_shift(bool x2apic) { return x2apic ? 32 : 56; }
constexpr u32 broadcast_id(bool x2apic) { return x2apic ? 0xffff'ffff : 0xff; }

}  // namespace

void LocalApic::send(const Outgoing& outgoing) {
  if (outgoing.end_of_interrupt) wiring_.bus.end_of_interrupt(*outgoing.end_of_interrupt);
  if (outgoing.message) wiring_.bus.deliver(*outgoing.message);
}

// ---- the xAPIC page, §11.4.1 ----

std::optional<u64> LocalApic::page() {
  const std::lock_guard lock(mutex_);
  if (mode() != Mode::xapic) return std::nullopt;
  return base_ & low_bits(physical_address_bits_) & ~u64{0xfff};
}

// A register is the first four of its 16 bytes; the others read zero.
u32 LocalApic::read(u32 offset) {
  const std::lock_guard lock(mutex_);
  if (mode() != Mode::xapic) return 0xffff'ffff;
  if (offset & 0xf) return 0;
  const apic::Register* entry = apic::find_register(offset, false);
  if (!entry) raise_error(apic::esr::illegal_register_address);
  return entry && entry->readable ? static_cast<u32>(read_register(offset)) : 0;
}

void LocalApic::write(u32 offset, u32 value) {
  Outgoing outgoing;
  {
    const std::lock_guard lock(mutex_);
    if (mode() != Mode::xapic || (offset & 0xf)) return;
    const apic::Register* entry = apic::find_register(offset, false);
    if (!entry) return raise_error(apic::esr::illegal_register_address);
    if (!entry->writable) return;
    outgoing = write_register(offset, value & entry->settable);
  }
  send(outgoing);
}

// ---- MSRs, §11.12.1 ----

std::optional<u64> LocalApic::read_msr(u32 index) {
  const std::lock_guard lock(mutex_);
  if (index == apic::msr_apic_base) return base_;
  if (index == apic::msr_tsc_deadline) return timer_.tsc_deadline();
  if (index < apic::msr_x2apic_first || index > apic::msr_x2apic_last || mode() != Mode::x2apic) return std::nullopt;
  const u32 offset = (index - apic::msr_x2apic_first) << 4;
  const apic::Register* entry = apic::find_register(offset, true);
  if (!entry || !entry->readable) return std::nullopt;
  return read_register(offset);
}

bool LocalApic::write_msr(u32 index, u64 value) {
  Outgoing outgoing;
  {
    const std::lock_guard lock(mutex_);
    if (index == apic::msr_apic_base) return write_base(value);
    if (index == apic::msr_tsc_deadline) {
      timer_.set_tsc_deadline(value);
      service_timer();
      return true;
    }
    if (index < apic::msr_x2apic_first || index > apic::msr_x2apic_last || mode() != Mode::x2apic) return false;
    const u32 offset = (index - apic::msr_x2apic_first) << 4;
    const apic::Register* entry = apic::find_register(offset, true);
    if (!entry || !entry->writable || (value & ~(entry->settable | entry->ignored))) return false;
    outgoing = write_register(offset, value & entry->settable);
  }
  send(outgoing);
  return true;
}

// Legal transitions: disabled ↔ xAPIC, xAPIC → x2APIC → disabled (figure 11-28). Everything else is a #GP.
bool LocalApic::write_base(u64 value) {
  constexpr u64 defined = base::Bootstrap::mask | base::Extended::mask | base::Enabled::mask;
  if (value & ~(defined | (low_bits(physical_address_bits_) & ~u64{0xfff}))) return false;
  const bool enabled = base::Enabled::get(value), extended = base::Extended::get(value);
  const Mode old = mode();
  if (extended && (!enabled || old == Mode::disabled)) return false;
  if (!extended && enabled && old == Mode::x2apic) return false;
  if (old != Mode::disabled && !enabled) {
    initialize();
    timer_.arm();
  }
  if (old == Mode::xapic && extended) icr_ &= 0xffff'ffff;
  base_ = value;
  update_request();
  return true;
}

// ---- registers of either mode; access rights were checked ----

// x2APIC: cluster in bits 16–31, one of 16 members in bits 0–15, both from the ID (§11.12.10.2).
u32 LocalApic::logical_id() const { return (id_ >> 4) << 16 | 1u << (id_ & 0xf); }

u64 LocalApic::read_register(u32 offset) {
  const bool x2apic = mode() == Mode::x2apic;
  switch (offset) {
    case reg::id: return x2apic ? id_ : id_ << 24;
    case reg::version: return apic::version_value;
    case reg::tpr: return tpr_;
    case reg::ppr: return processor_priority();
    case reg::ldr: return x2apic ? logical_id() : ldr_;
    case reg::dfr: return dfr_;
    case reg::svr: return svr_;
    case reg::esr: return esr_;
    case reg::icr_low: return x2apic ? icr_ : icr_ & 0xffff'ffff;
    case reg::icr_high: return icr_ >> 32;
    case reg::initial_count: return timer_.initial_count();
    case reg::divide: return timer_.divide();
    case reg::current_count: {
      const u32 count = timer_.current_count();
      service_timer();
      return count;
    }
    default: break;
  }
  if (offset >= reg::isr && offset < reg::isr + 0x80) return isr_.word((offset - reg::isr) >> 4);
  if (offset >= reg::tmr && offset < reg::tmr + 0x80) return tmr_.word((offset - reg::tmr) >> 4);
  if (offset >= reg::irr && offset < reg::irr + 0x80) return irr_.word((offset - reg::irr) >> 4);
  if (offset >= reg::lvt_timer && offset <= reg::lvt_error) return lvt_[(offset - reg::lvt_timer) >> 4];
  return 0;
}

LocalApic::Outgoing LocalApic::write_register(u32 offset, u64 wide_value) {
  const u32 value = static_cast<u32>(wide_value);
  Outgoing outgoing;
  switch (offset) {
    case reg::tpr:
      tpr_ = static_cast<u8>(value);
      update_request();
      break;
    case reg::eoi: outgoing.end_of_interrupt = end_of_interrupt(); break;
    case reg::ldr: ldr_ = value; break;
    case reg::dfr: dfr_ = value | 0x0fff'ffff; break;
    case reg::svr: write_svr(value); break;
    case reg::esr: write_esr(); break;
    case reg::icr_low:
      outgoing.message = write_icr(mode() == Mode::x2apic ? wide_value : (icr_ >> 32 << 32) | value);
      break;
    case reg::icr_high: icr_ = u64{value} << 32 | (icr_ & 0xffff'ffff); break;
    case reg::initial_count:
      service_timer();
      timer_.set_initial_count(value);
      timer_.arm();
      break;
    case reg::divide:
      service_timer();
      timer_.set_divide(value);
      timer_.arm();
      break;
    case reg::self_ipi: send_self(static_cast<u8>(value)); break;
    default:
      if (offset >= reg::lvt_timer && offset <= reg::lvt_error)
        write_entry(static_cast<Entry>((offset - reg::lvt_timer) >> 4), value);
  }
  return outgoing;
}

// Software disable masks every LVT entry; what is in IRR and ISR stays (§11.4.7.2).
void LocalApic::write_svr(u32 value) {
  svr_ = value;
  if (software_enabled()) return;
  for (unsigned entry = 0; entry < entries; ++entry) write_entry(static_cast<Entry>(entry), lvt_[entry]);
}

void LocalApic::write_entry(Entry entry, u32 value) {
  if (!software_enabled()) value |= lvt::Masked::mask;
  if (entry == timer) {
    service_timer();
    lvt_[timer] = value;
    timer_.configure(static_cast<ApicTimer::Mode>(lvt::TimerMode::get(value)), lvt::Masked::get(value));
    timer_.arm();
    return;
  }
  const bool keeps_irr = lvt::LevelTriggered::get(value) && lvt::Mode::get(value) == 0;
  lvt_[entry] = value | (keeps_irr ? lvt_[entry] & static_cast<u32>(lvt::RemoteIrr::mask) : 0);
  if (entry == lint0 || entry == lint1) {
    raise_entry(entry, false);  // a level that was there already counts once it is unmasked
    update_request();
  }
}

// The first write shows what has happened since the one before, and lets the error interrupt come again (§11.5.3).
void LocalApic::write_esr() {
  esr_ = errors_;
  errors_ = 0;
}

// ---- interprocessor interrupts, §11.6.1, §11.12.9 ----

void LocalApic::send_self(u8 vector) {
  if (vector < 16) raise_error(apic::esr::send_illegal_vector);
  if (software_enabled()) accept(vector, false);
}

// Yields the message to send with the lock released, unless there is none. Level-triggered IPIs are edges since the Pentium 4,
// and INIT level de-assert does nothing; combinations that table 11-3 calls invalid are delivered as they are written.
std::optional<InterruptMessage> LocalApic::write_icr(u64 value) {
  const bool x2apic = mode() == Mode::x2apic;
  icr_ = value;
  InterruptMessage message{
      .to = icr::Logical::get(value) ? InterruptMessage::To::logical : InterruptMessage::To::physical,
      .destination = static_cast<u32>(value >> icr_destination_shift(x2apic)),
      .sender = id_,
      .mode = static_cast<DeliveryMode>(icr::Mode::get(value)),
      .vector = static_cast<u8>(icr::VectorField::get(value)),
  };
  const bool has_vector = message.mode == DeliveryMode::fixed || message.mode == DeliveryMode::lowest_priority;
  if (message.mode == DeliveryMode::reserved || message.mode == DeliveryMode::external) return std::nullopt;
  if (message.mode == DeliveryMode::init && icr::LevelTriggered::get(value) && !icr::Assert::get(value))
    return std::nullopt;
  if (message.destination == broadcast_id(x2apic)) message.to = InterruptMessage::To::all;
  switch (icr::Shorthand::get(value)) {
    case icr::self:
      if (has_vector) return send_self(message.vector), std::nullopt;
      message.to = InterruptMessage::To::physical;
      message.destination = id_;
      break;
    case icr::all_including_self: message.to = InterruptMessage::To::all; break;
    case icr::all_excluding_self: message.to = InterruptMessage::To::all_but_sender; break;
    default: break;
  }
  if (has_vector && message.vector < 16) {
    raise_error(apic::esr::send_illegal_vector);
    return std::nullopt;
  }
  return message;
}

// ---- saved state ----

void LocalApic::state(state::Archive& archive) {
  const std::lock_guard lock(mutex_);
  archive.begin("local-apic", 1);
  u32 id = id_;
  archive(id);
  archive.require(id == id_, "local APIC: another processor's state");
  state_of_registers(archive);
  timer_.state(archive);
  archive.end();
  if (!archive.loading() || !archive.ok()) return;
  request_ = deliverable() >= 0 || external_requested();
  wiring_.pins.interrupt_request(request_);
  timer_.arm();
}

void LocalApic::state_of_registers(state::Archive& archive) {
  archive(base_);
  for (VectorSet* set : {&irr_, &isr_, &tmr_}) archive(set->words());
  archive(lvt_);
  archive(lint_);
  archive(external_message_);
  archive(tpr_);
  for (u32* field : {&ldr_, &dfr_, &svr_, &esr_, &errors_}) archive(*field);
  archive(icr_);

  const u64 base_bits = 0xd00 | (low_bits(physical_address_bits_) & ~u64{0xfff});
  archive.require(!(base_ & ~base_bits) && (base::Enabled::get(base_) || !base::Extended::get(base_)),
                  "local APIC: base");
  for (VectorSet* set : {&irr_, &isr_, &tmr_})
    archive.require(!(set->word(0) & 0xffff), "local APIC: vectors below 16");
  for (unsigned entry = 0; entry < entries; ++entry) {
    const apic::Register& known = *apic::find_register(reg::lvt_timer + 16 * entry, false);
    archive.require(!(lvt_[entry] & ~(known.settable | known.ignored)), "local APIC: local vector table");
  }
  archive.require(!(ldr_ & 0x00ff'ffff) && (dfr_ & 0x0fff'ffff) == 0x0fff'ffff && !(svr_ & ~0x13ffu),
                  "local APIC: LDR, DFR or SVR");
  archive.require(!((esr_ | errors_) & ~0xe0u), "local APIC: errors");
}

}  // namespace doppel
