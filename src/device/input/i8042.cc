// See i8042.h.
#include "device/input/i8042.h"

#include "base/bits.h"

namespace doppel {

namespace {

namespace status {
using OutputFull = Bits<0>;
using System = Bits<2>;
using LastWasCommand = Bits<3>;
using NotLocked = Bits<4>;
using AuxOutput = Bits<5>;
}  // namespace status

namespace command_byte {
using KeyboardInterrupt = Bits<0>;
using AuxInterrupt = Bits<1>;
using System = Bits<2>;
using KeyboardDisable = Bits<4>;
using AuxDisable = Bits<5>;
using Translate = Bits<6>;
constexpr u8 at_reset = KeyboardInterrupt::mask | System::mask | AuxDisable::mask | Translate::mask;
}  // namespace command_byte

constexpr u8 write_ram = 0x60, write_output = 0xd1, write_keyboard_output = 0xd2, write_aux_output = 0xd3,
             write_aux = 0xd4;
constexpr u8 self_test_passed = 0x55, no_password = 0xf1, line_test_passed = 0x00, not_locked = 0x80;

// Scan codes of set 2 to set 1, for 0x00 to 0x84; what is above stays.
// clang-format off
constexpr std::array<u8, 0x85> set1_of_set2{
    0xff, 0x43, 0x41, 0x3f, 0x3d, 0x3b, 0x3c, 0x58, 0x64, 0x44, 0x42, 0x40, 0x3e, 0x0f, 0x29, 0x59,
    0x65, 0x38, 0x2a, 0x70, 0x1d, 0x10, 0x02, 0x5a, 0x66, 0x71, 0x2c, 0x1f, 0x1e, 0x11, 0x03, 0x5b,
    0x67, 0x2e, 0x2d, 0x20, 0x12, 0x05, 0x04, 0x5c, 0x68, 0x39, 0x2f, 0x21, 0x14, 0x13, 0x06, 0x5d,
    0x69, 0x31, 0x30, 0x23, 0x22, 0x15, 0x07, 0x5e, 0x6a, 0x72, 0x32, 0x24, 0x16, 0x08, 0x09, 0x5f,
    0x6b, 0x33, 0x25, 0x17, 0x18, 0x0b, 0x0a, 0x60, 0x6c, 0x34, 0x35, 0x26, 0x27, 0x19, 0x0c, 0x61,
    0x6d, 0x73, 0x28, 0x74, 0x1a, 0x0d, 0x62, 0x6e, 0x3a, 0x36, 0x1c, 0x1b, 0x75, 0x2b, 0x63, 0x76,
    0x55, 0x56, 0x77, 0x78, 0x79, 0x7a, 0x0e, 0x7b, 0x7c, 0x4f, 0x7d, 0x4b, 0x47, 0x7e, 0x7f, 0x6f,
    0x52, 0x53, 0x50, 0x4c, 0x4d, 0x48, 0x01, 0x45, 0x57, 0x4e, 0x51, 0x4a, 0x37, 0x49, 0x46, 0x54,
    0x80, 0x81, 0x82, 0x41, 0x54};
// clang-format on
constexpr u8 break_prefix = 0xf0;

}  // namespace

I8042::I8042(IrqLine keyboard, IrqLine aux, std::function<void()> request_reset)
    : keyboard_irq_(std::move(keyboard)), aux_irq_(std::move(aux)), request_reset_(std::move(request_reset)) {
  ram_[0] = command_byte::at_reset;
}

void I8042::reset() {
  const std::lock_guard lock(mutex_);
  ram_ = {command_byte::at_reset};
  argument_of_ = output_ = reply_ = 0;
  last_was_command_ = output_full_ = output_from_aux_ = reply_waits_ = reply_from_aux_ = break_follows_ = false;
  a20_ = true;
  keyboard_ = {};
  mouse_ = {};
  update_lines();
}

bool I8042::type(std::span<const u8> scan_codes) {
  const std::lock_guard lock(mutex_);
  const bool taken = keyboard_.type(scan_codes);
  fill_output();
  return taken;
}

u64 I8042::read_data(Access) {
  const std::lock_guard lock(mutex_);
  const u8 value = output_;  // an empty buffer gives its last byte
  output_full_ = false;
  update_lines();
  fill_output();
  return value;
}

u64 I8042::read_status(Access) {
  const std::lock_guard lock(mutex_);
  return status::OutputFull::of(output_full_) | status::System::of(command_byte::System::get(ram_[0])) |
         status::LastWasCommand::of(last_was_command_) | status::NotLocked::of(1) |
         status::AuxOutput::of(output_full_ && output_from_aux_);
}

void I8042::write_data(Access, u64 value) {
  bool reset = false;
  {
    const std::lock_guard lock(mutex_);
    last_was_command_ = false;
    if (argument_of_ != 0) {
      const u8 of = argument_of_;
      argument_of_ = 0;
      reset = argument(of, static_cast<u8>(value));
    } else {  // data for the keyboard switches its clock on
      ram_[0] = static_cast<u8>(command_byte::KeyboardDisable::set(ram_[0], 0));
      keyboard_.write(static_cast<u8>(value));
    }
    fill_output();
  }
  if (reset && request_reset_) request_reset_();
}

void I8042::write_command(Access, u64 value) {
  bool reset;
  {
    const std::lock_guard lock(mutex_);
    last_was_command_ = true;
    argument_of_ = 0;
    reset = command(static_cast<u8>(value));
    fill_output();
  }
  if (reset && request_reset_) request_reset_();
}

bool I8042::command(u8 command) {
  u8& byte = ram_[0];
  switch (command) {
    case 0x20 ... 0x3f: reply(ram_[command & 31]); break;
    case 0x60 ... 0x7f:
    case write_output:
    case write_keyboard_output:
    case write_aux_output:
    case write_aux: argument_of_ = command; break;
    case 0xa4: reply(no_password); break;
    case 0xa7: byte = static_cast<u8>(command_byte::AuxDisable::set(byte, 1)); break;
    case 0xa8: byte = static_cast<u8>(command_byte::AuxDisable::set(byte, 0)); break;
    case 0xa9: reply(line_test_passed); break;
    case 0xaa:
      byte = static_cast<u8>(command_byte::System::set(byte, 1));
      reply(self_test_passed);
      break;
    case 0xab: reply(line_test_passed); break;
    case 0xad: byte = static_cast<u8>(command_byte::KeyboardDisable::set(byte, 1)); break;
    case 0xae: byte = static_cast<u8>(command_byte::KeyboardDisable::set(byte, 0)); break;
    case 0xc0: reply(not_locked); break;
    case 0xd0: reply(output_port()); break;
    case 0xdd: a20_ = false; break;
    case 0xdf: a20_ = true; break;
    case 0xe0: reply(0); break;                     // test inputs
    case 0xf0 ... 0xff: return (command & 1) == 0;  // pulses the output lines whose bits are clear; 0 is reset
    default: break;
  }
  return false;
}

bool I8042::argument(u8 command, u8 value) {
  switch (command) {
    case write_output: return write_output_port(value);
    case write_keyboard_output: reply(value); break;
    case write_aux_output: reply(value, true); break;
    case write_aux:
      ram_[0] = static_cast<u8>(command_byte::AuxDisable::set(ram_[0], 0));
      mouse_.write(value);
      break;
    default: ram_[command - write_ram] = value; break;
  }
  update_lines();  // the command byte may have changed
  return false;
}

bool I8042::write_output_port(u8 value) {
  a20_ = (value & 2) != 0;
  return (value & 1) == 0;
}

u8 I8042::output_port() const { return static_cast<u8>(1 | a20_ << 1 | keyboard_line_ << 4 | aux_line_ << 5); }

// An earlier reply that nobody fetched is lost.
void I8042::reply(u8 value, bool from_aux) {
  reply_ = value;
  reply_from_aux_ = from_aux;
  reply_waits_ = true;
}

// The next byte goes into the output buffer once it is free: replies first, then the devices whose clocks run.
void I8042::fill_output() {
  while (!output_full_) {
    if (reply_waits_) {
      output_ = reply_;
      output_from_aux_ = reply_from_aux_;
      reply_waits_ = false;
      output_full_ = true;
    } else if (!command_byte::KeyboardDisable::get(ram_[0]) && !keyboard_.queue().empty()) {
      u8 code = keyboard_.queue().pop();
      if (command_byte::Translate::get(ram_[0]) && !translate(code)) continue;
      output_ = code;
      output_from_aux_ = false;
      output_full_ = true;
    } else if (!command_byte::AuxDisable::get(ram_[0]) && !mouse_.queue().empty()) {
      output_ = mouse_.queue().pop();
      output_from_aux_ = true;
      output_full_ = true;
    } else {
      break;
    }
  }
  update_lines();
}

// Set 2 says "0xf0, code" for a release, set 1 "code with the top bit". Returns false for what yields no byte.
bool I8042::translate(u8& code) {
  if (code == break_prefix) {
    break_follows_ = true;
    return false;
  }
  if (code < set1_of_set2.size()) code = set1_of_set2[code];
  if (break_follows_) code |= 0x80;
  break_follows_ = false;
  return true;
}

void I8042::update_lines() {
  const bool keyboard = output_full_ && !output_from_aux_ && command_byte::KeyboardInterrupt::get(ram_[0]);
  const bool aux = output_full_ && output_from_aux_ && command_byte::AuxInterrupt::get(ram_[0]);
  if (keyboard != keyboard_line_) keyboard_irq_.set(keyboard);
  if (aux != aux_line_) aux_irq_.set(aux);
  keyboard_line_ = keyboard;
  aux_line_ = aux;
}

void I8042::state(state::Archive& archive) {
  const std::lock_guard lock(mutex_);
  archive.begin("i8042", 1);
  archive(ram_);
  archive(argument_of_);
  archive.require(argument_of_ == 0 || (argument_of_ & 0xe0) == write_ram ||
                      (argument_of_ >= write_output && argument_of_ <= write_aux),
                  "command");
  archive(output_);
  archive(reply_);
  for (bool* flag : {&last_was_command_, &a20_, &output_full_, &output_from_aux_, &reply_waits_, &reply_from_aux_,
                     &break_follows_}) {
    archive(*flag);
  }
  keyboard_.state(archive);
  mouse_.state(archive);
  archive.end();
  if (!archive.loading() || !archive.ok()) return;
  keyboard_line_ = aux_line_ = false;
  update_lines();
}

}  // namespace doppel
