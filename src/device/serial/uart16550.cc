// The registers and interrupts of the 16550A; the host's end is in uart16550_host.cc. See uart16550.h.
//
//   +0 RBR/THR   +1 IER   +2 IIR/FCR   +3 LCR   +4 MCR   +5 LSR   +6 MSR   +7 SCR   (DLAB=1: +0 DLL  +1 DLM)
#include "device/serial/uart16550.h"

#include <algorithm>

#include "device/io_window.h"
#include "device/serial/uart16550_registers.h"

namespace doppel {

using namespace uart16550;

Uart16550::Uart16550(std::string_view name, Clock& clock, IrqLine irq)
    : name_(name), clock_(clock), irq_(std::move(irq)) {
  msr_ = msr::connected;
  alarm_ = clock_.make_alarm([this] {
    {
      const std::lock_guard lock(mutex_);
      flush_at_ = 0;
    }
    flush();
  });
}

// The modem's lines and the divisor survive a master reset (datasheet table 1); output on its way still goes out.
void Uart16550::reset() {
  const std::lock_guard lock(mutex_);
  ier_ = fcr_ = lcr_ = mcr_ = 0;
  msr_ = msr::connected;
  overrun_ = thre_pending_ = false;
  received_count_ = 0;
  update_interrupt();
}

u64 Uart16550::read(Access access) {
  bool wants_input;
  u64 value;
  {
    const std::lock_guard lock(mutex_);
    value = read_bytewise(access, [this](u64 offset) { return read_register(offset); });
    wants_input = wants_refused_input();
  }
  if (wants_input && input_wanted_) input_wanted_();
  return value;
}

void Uart16550::write(Access access, u64 value) {
  bool wants_input;
  {
    const std::lock_guard lock(mutex_);
    write_bytewise(access, value, [this](u64 offset, u8 byte) { write_register(offset, byte); });
    wants_input = wants_refused_input();
  }
  if (wants_input && input_wanted_) input_wanted_();
}

u8 Uart16550::read_register(u64 offset) {
  switch (offset) {
    case 0: return divisor_access() ? static_cast<u8>(divisor_) : read_receiver();
    case 1: return divisor_access() ? static_cast<u8>(divisor_ >> 8) : ier_;
    case 2: return read_interrupt_identification();
    case 3: return lcr_;
    case 4: return mcr_;
    case 5: return read_line_status();
    case 6: return read_modem_status();
    default: return scratch_;
  }
}

void Uart16550::write_register(u64 offset, u8 value) {
  switch (offset) {
    case 0:
      if (!divisor_access()) return write_transmitter(value);
      divisor_ = static_cast<u16>((divisor_ & 0xff00) | value);
      return;
    case 1:
      if (!divisor_access()) return write_interrupt_enable(value);
      divisor_ = static_cast<u16>((divisor_ & 0xff) | value << 8);
      return;
    case 2: return write_fifo_control(value);
    case 3: return write_line_control(value);
    case 4: return write_modem_control(value);
    case 7: scratch_ = value; return;
    default: return;  // LSR and MSR are read-only
  }
}

bool Uart16550::fifos_enabled() const { return fcr::Enable::get(fcr_); }
bool Uart16550::loopback() const { return mcr::Loop::get(mcr_); }
bool Uart16550::divisor_access() const { return lcr::DivisorAccess::get(lcr_); }

// ---- receiver ----

u8 Uart16550::read_receiver() {
  const u8 data = pop_received();
  update_interrupt();
  return data;
}

u8 Uart16550::pop_received() {
  if (received_count_ == 0) return received_[0].data;  // the register keeps the last character
  const u8 data = received_[0].data;
  --received_count_;
  std::copy_n(received_.begin() + 1, received_count_, received_.begin());
  if (received_count_ == 0) received_[0].data = data;
  return data;
}

// From our own transmitter, which does not ask whether there is room: a full FIFO is an overrun and keeps what it has; the
// single register of the 16450 mode is overwritten.
void Uart16550::receive_looped(Received received) {
  if (received_count_ < receiver_capacity()) {
    received_[received_count_++] = received;
  } else {
    overrun_ = true;
    if (!fifos_enabled()) received_[0] = received;
  }
}

// Errors belong to the character at the top of the FIFO; reading takes them back.
u8 Uart16550::read_line_status() {
  u8 value = overrun_ ? lsr::OverrunError::mask : 0;
  if (received_count_ != 0) value |= static_cast<u8>(lsr::DataReady::mask | received_[0].errors);
  if (transmitter_empty()) value |= static_cast<u8>(lsr::TransmitterHoldingEmpty::mask | lsr::TransmitterEmpty::mask);
  const auto end = received_.begin() + static_cast<long>(received_count_);
  if (fifos_enabled() && std::any_of(received_.begin(), end, [](Received each) { return each.errors != 0; })) {
    value |= lsr::FifoError::mask;
  }
  overrun_ = false;
  received_[0].errors = 0;
  update_interrupt();
  return value;
}

// ---- transmitter ----

void Uart16550::write_transmitter(u8 value) {
  thre_pending_ = false;
  if (loopback()) {
    receive_looped({value, 0});
  } else {
    put_output(value);
  }
  thre_pending_ = transmitter_empty();
  update_interrupt();
}

// ---- interrupts ----

// The cause of highest priority (datasheet table 4).
u8 Uart16550::interrupt_id() const {
  const bool line_error = overrun_ || (received_count_ != 0 && received_[0].errors != 0);
  if (ier::LineStatus::get(ier_) && line_error) return iir::line_status;
  if (ier::ReceivedData::get(ier_) && received_count_ != 0) {
    constexpr std::array<u8, 4> levels{1, 4, 8, 14};
    const bool reached = !fifos_enabled() || received_count_ >= levels[fcr::Trigger::get(fcr_)];
    return reached ? iir::received_data : iir::character_timeout;
  }
  if (ier::TransmitterHoldingEmpty::get(ier_) && thre_pending_) return iir::transmitter_holding_empty;
  if (ier::ModemStatus::get(ier_) && (msr_ & msr::deltas) != 0) return iir::modem_status;
  return iir::none;
}

void Uart16550::update_interrupt() {
  const bool level = interrupt_id() != iir::none;
  if (level == line_) return;
  line_ = level;
  irq_.set(level);
}

u8 Uart16550::read_interrupt_identification() {
  const u8 id = interrupt_id();
  if (id == iir::transmitter_holding_empty) {
    thre_pending_ = false;
    update_interrupt();
  }
  return static_cast<u8>(id | (fifos_enabled() ? iir::fifos_enabled : 0));
}

// Enabling the THRE interrupt while THR is empty raises it, each time: drivers start transmission so, and test for it.
void Uart16550::write_interrupt_enable(u8 value) {
  const bool enabled = ier::TransmitterHoldingEmpty::get(ier_);
  ier_ = value & ier::writable;
  if (!enabled && ier::TransmitterHoldingEmpty::get(ier_)) thre_pending_ = transmitter_empty();
  update_interrupt();
}

// ---- control ----

void Uart16550::write_fifo_control(u8 value) {
  const bool toggled = fcr::Enable::get(fcr_ ^ value);
  fcr_ = fcr::Enable::get(value) ? value & fcr::kept : 0;
  if (toggled || fcr::ClearReceiver::get(value)) received_count_ = 0;
  if (toggled || fcr::ClearTransmitter::get(value)) thre_pending_ = transmitter_empty();
  update_interrupt();
}

void Uart16550::write_line_control(u8 value) {
  const bool break_begins = lcr::Break::get(value) && !lcr::Break::get(lcr_);
  lcr_ = value;
  if (break_begins && loopback()) receive_looped({0, lsr::BreakInterrupt::mask | lsr::FramingError::mask});
  update_interrupt();
}

void Uart16550::write_modem_control(u8 value) {
  mcr_ = value & mcr::writable;
  u8 lines = msr::connected;
  if (loopback()) {
    lines = static_cast<u8>(
        msr::ClearToSend::of(mcr::RequestToSend::get(mcr_)) | msr::DataSetReady::of(mcr::TerminalReady::get(mcr_)) |
        msr::RingIndicator::of(mcr::Out1::get(mcr_)) | msr::CarrierDetect::of(mcr::Out2::get(mcr_)));
  }
  set_modem_lines(lines);
  update_interrupt();
}

void Uart16550::set_modem_lines(u8 lines) {
  const u8 before = msr_ & msr::lines;
  u8 changes = static_cast<u8>((before ^ lines) >> 4);
  // The ring indicator tells of its end only.
  if (msr::RingIndicator::get(lines)) changes &= static_cast<u8>(~msr::TrailingRing::mask);
  msr_ = static_cast<u8>(lines | (msr_ & msr::deltas) | changes);
}

u8 Uart16550::read_modem_status() {
  const u8 value = msr_;
  msr_ &= msr::lines;
  update_interrupt();
  return value;
}

void Uart16550::state(state::Archive& archive) {
  const std::lock_guard lock(mutex_);
  archive.begin("uart16550", 1);
  for (u8* reg : {&ier_, &fcr_, &lcr_, &mcr_, &msr_, &scratch_}) archive(*reg);
  archive.require((ier_ & ~ier::writable) == 0 && (fcr_ & ~fcr::kept) == 0 && (mcr_ & ~mcr::writable) == 0,
                  "registers");
  archive(divisor_);
  archive(overrun_);
  archive(thre_pending_);
  auto count = static_cast<u32>(received_count_);
  archive(count);
  archive.require(count <= receiver_capacity(), "received characters");
  if (archive.ok()) received_count_ = count;
  for (Received& each : received_) {
    archive(each.data);
    archive(each.errors);
    archive.require((each.errors & ~lsr::errors) == 0, "errors of a character");
  }
  archive(output_, output_bytes);
  archive(flush_at_);
  archive(refused_input_);
  archive.end();
  if (!archive.loading() || !archive.ok()) return;
  line_ = interrupt_id() != iir::none;
  irq_.set(line_);
  if (flush_at_ != 0) alarm_->set(flush_at_);
}

}  // namespace doppel
