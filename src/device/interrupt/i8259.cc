// 8259A datasheet: initialization command words, operation command words, priority; see i8259.h.
#include "device/interrupt/i8259.h"

#include "base/bits.h"
#include "base/check.h"

namespace doppel {

namespace {

namespace icw1 {
using Icw4Needed = Bits<0>;
using Single = Bits<1>;
using Marker = Bits<4>;  // tells ICW1 from OCW2 and OCW3
}  // namespace icw1
namespace icw4 {
using AutoEoi = Bits<1>;
using SpecialFullyNested = Bits<4>;
}  // namespace icw4
namespace ocw2 {
using Level = Bits<0, 3>;
using Command = Bits<5, 3>;  // R, SL, EOI
enum : u8 {
  rotate_in_auto_eoi_clear,
  eoi,
  no_operation,
  specific_eoi,
  rotate_in_auto_eoi_set,
  rotate_eoi,
  set_priority,
  rotate_specific_eoi
};
}  // namespace ocw2
namespace ocw3 {
using ReadIsr = Bits<0>;
using ReadRegister = Bits<1>;
using Poll = Bits<2>;
using Marker = Bits<3>;
using SpecialMask = Bits<5>;
using EnableSpecialMask = Bits<6>;
}  // namespace ocw3

constexpr unsigned cascade_irq = 2;

}  // namespace

// The levels of the inputs stay: they are the state of those who drive them.
void I8259Chip::reset() {
  vector_base_ = elcr_ = 0;
  write_icw1(0);
  next_icw_ = 0;
}

void I8259Chip::set_input(unsigned input, bool level) {
  const u8 bit = static_cast<u8>(1 << input);
  if (level && !(inputs_ & bit) && !(elcr_ & bit)) latched_ |= bit;
  inputs_ = static_cast<u8>(level ? inputs_ | bit : inputs_ & ~bit);
}

void I8259Chip::set_elcr(u8 value) {
  elcr_ = value & level_capable_;
  latched_ &= static_cast<u8>(~elcr_);
}

// Of a set of inputs the one of highest priority: the first after the lowest. -1 if the set is empty.
int I8259Chip::highest(u8 inputs) const {
  for (unsigned i = 1; i <= 8; ++i) {
    const unsigned input = (lowest_ + i) & 7;
    if (inputs & (1 << input)) return static_cast<int>(input);
  }
  return -1;
}

// The request that may interrupt now: unmasked, and of higher priority than all that is in service. In special mask mode
// masked inputs in service hold off nothing; in special fully nested mode the slave may interrupt its own service.
int I8259Chip::pending() const {
  const int request = highest(requests() & static_cast<u8>(~imr_));
  if (request < 0) return -1;
  u8 in_service = isr_;
  if (special_mask_) in_service &= static_cast<u8>(~imr_);
  if (special_fully_nested_ && is_master) in_service &= static_cast<u8>(~cascade_input);
  const int serving = highest(in_service);
  const auto rank = [this](int input) { return (input - lowest_ - 1) & 7; };
  if (serving >= 0 && rank(serving) <= rank(request)) return -1;
  return request;
}

void I8259Chip::serve(unsigned input) {
  const u8 bit = static_cast<u8>(1 << input);
  latched_ &= static_cast<u8>(~bit);
  if (!auto_eoi_) {
    isr_ |= bit;
  } else if (rotate_on_auto_eoi_) {
    lowest_ = static_cast<u8>(input);
  }
}

int I8259Chip::acknowledge() {
  const int input = initializing() ? -1 : pending();
  if (input >= 0) serve(static_cast<unsigned>(input));
  return input;
}

u8 I8259Chip::read(bool a0) {
  if (poll_) {  // the read is the INTA pulse
    poll_ = false;
    const int input = acknowledge();
    return input < 0 ? 0 : static_cast<u8>(0x80 | input);
  }
  if (a0) return imr_;
  return read_isr_ ? isr_ : requests();
}

void I8259Chip::write(bool a0, u8 value) {
  if (!a0) {
    if (icw1::Marker::get(value)) return write_icw1(value);
    return ocw3::Marker::get(value) ? write_ocw3(value) : write_ocw2(value);
  }
  if (initializing()) return write_icw(value);
  imr_ = value;  // OCW1
}

// Starts the initialization sequence: an edge must come again to count, IMR and ISR are cleared, priorities are those of reset.
void I8259Chip::write_icw1(u8 value) {
  latched_ = imr_ = isr_ = 0;
  lowest_ = 7;
  auto_eoi_ = rotate_on_auto_eoi_ = special_fully_nested_ = special_mask_ = read_isr_ = poll_ = false;
  wants_icw3_ = !icw1::Single::get(value);
  wants_icw4_ = icw1::Icw4Needed::get(value);
  next_icw_ = 2;
}

void I8259Chip::write_icw(u8 value) {
  switch (next_icw_) {
    case 2:
      vector_base_ = value & 0xf8;
      next_icw_ = wants_icw3_ ? 3 : wants_icw4_ ? 4 : 0;
      break;
    case 3: next_icw_ = wants_icw4_ ? 4 : 0; break;
    default:
      auto_eoi_ = icw4::AutoEoi::get(value);
      special_fully_nested_ = icw4::SpecialFullyNested::get(value);
      next_icw_ = 0;
  }
}

void I8259Chip::end_of_interrupt(unsigned input, bool rotate) {
  isr_ &= static_cast<u8>(~(1 << input));
  if (rotate) lowest_ = static_cast<u8>(input);
}

void I8259Chip::write_ocw2(u8 value) {
  const u8 level = static_cast<u8>(ocw2::Level::get(value));
  switch (const auto command = ocw2::Command::get(value)) {
    case ocw2::eoi:
    case ocw2::rotate_eoi: {
      // A masked input in service is not ended by a non-specific EOI in special mask mode.
      const int serving = highest(special_mask_ ? isr_ & static_cast<u8>(~imr_) : isr_);
      if (serving >= 0) end_of_interrupt(static_cast<unsigned>(serving), command == ocw2::rotate_eoi);
      break;
    }
    case ocw2::specific_eoi:
    case ocw2::rotate_specific_eoi: end_of_interrupt(level, command == ocw2::rotate_specific_eoi); break;
    case ocw2::rotate_in_auto_eoi_clear:
    case ocw2::rotate_in_auto_eoi_set: rotate_on_auto_eoi_ = command == ocw2::rotate_in_auto_eoi_set; break;
    case ocw2::set_priority: lowest_ = level; break;
    default: break;
  }
}

void I8259Chip::write_ocw3(u8 value) {
  if (ocw3::EnableSpecialMask::get(value)) special_mask_ = ocw3::SpecialMask::get(value);
  poll_ = ocw3::Poll::get(value);
  if (!poll_ && ocw3::ReadRegister::get(value)) read_isr_ = ocw3::ReadIsr::get(value);
}

void I8259Chip::state(state::Archive& archive) {
  for (u8* field : {&inputs_, &latched_, &elcr_, &imr_, &isr_, &vector_base_, &lowest_, &next_icw_}) archive(*field);
  for (bool* flag : {&wants_icw3_, &wants_icw4_, &auto_eoi_, &rotate_on_auto_eoi_, &special_fully_nested_,
                     &special_mask_, &read_isr_, &poll_})
    archive(*flag);
  archive.require(!(elcr_ & ~level_capable_) && !(latched_ & elcr_), "i8259: edge/level control");
  archive.require(!(vector_base_ & 7) && lowest_ < 8, "i8259: vector base or priority");
  archive.require(next_icw_ <= 4 && next_icw_ != 1, "i8259: initialization sequence");
}

// ---- the pair ----

I8259::I8259(IrqLine output) : output_(std::move(output)) { master_.is_master = true; }

void I8259::reset() {
  const std::lock_guard lock(mutex_);
  master_.reset();
  slave_.reset();
  master_.set_cascade(false);
  output_level_ = false;
  output_.lower();
}

void I8259::state(state::Archive& archive) {
  const std::lock_guard lock(mutex_);
  archive.begin("i8259", 1);
  master_.state(archive);
  slave_.state(archive);
  archive.end();
  if (!archive.loading() || !archive.ok()) return;
  master_.set_cascade(slave_.output());
  output_level_ = master_.output();
  output_.set(output_level_);
}

IrqLine I8259::line(unsigned irq) {
  CHECK(irq < 16);
  return IrqLine([this, irq](bool level) { set_irq(irq, level); });
}

void I8259::set_irq(unsigned irq, bool level) {
  CHECK(irq < 16);
  if (irq == cascade_irq) return;
  const std::lock_guard lock(mutex_);
  (irq < 8 ? master_ : slave_).set_input(irq & 7, level);
  update();
}

void I8259::update() {
  master_.set_cascade(slave_.output());
  if (master_.output() == output_level_) return;
  output_level_ = !output_level_;
  output_.set(output_level_);
}

u8 I8259::acknowledge() {
  const std::lock_guard lock(mutex_);
  const int input = master_.acknowledge();
  u8 vector;
  if (input == static_cast<int>(cascade_irq)) {
    const int slave_input = slave_.acknowledge();
    vector = slave_.vector(slave_input < 0 ? 7 : static_cast<unsigned>(slave_input));
  } else {
    vector = master_.vector(input < 0 ? 7 : static_cast<unsigned>(input));
  }
  update();
  return vector;
}

u8 I8259::read_port(Block block, unsigned offset) {
  if (block == Block::elcr) return offset ? slave_.elcr() : master_.elcr();
  return (block == Block::master ? master_ : slave_).read(offset & 1);
}

void I8259::write_port(Block block, unsigned offset, u8 value) {
  if (block == Block::elcr) return (offset ? slave_ : master_).set_elcr(value);
  (block == Block::master ? master_ : slave_).write(offset & 1, value);
}

// The chips are 8 bits wide: a wider access is one access per byte.
u64 I8259::Ports::read(Access access) {
  const std::lock_guard lock(pic.mutex_);
  u64 value = 0;
  for (unsigned i = 0; i < access.bytes; ++i)
    value |= u64{pic.read_port(block, static_cast<unsigned>(access.offset + i) & 1)} << (8 * i);
  pic.update();  // a poll serves
  return value;
}

void I8259::Ports::write(Access access, u64 value) {
  const std::lock_guard lock(pic.mutex_);
  for (unsigned i = 0; i < access.bytes; ++i)
    pic.write_port(block, static_cast<unsigned>(access.offset + i) & 1, static_cast<u8>(value >> (8 * i)));
  pic.update();
}

}  // namespace doppel
