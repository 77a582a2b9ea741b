// See ps2.h.
#include "device/input/ps2.h"

#include <algorithm>

#include "base/check.h"

namespace doppel {

namespace {

constexpr u8 acknowledge = 0xfa, resend = 0xfe, self_test_passed = 0xaa;

// Of both devices.
constexpr u8 identify = 0xf2, set_rate = 0xf3, enable = 0xf4, disable = 0xf5, set_defaults_command = 0xf6,
             repeat_last = 0xfe, reset_device = 0xff;

namespace keyboard {
constexpr u8 set_leds = 0xed, echo = 0xee, scan_code_set = 0xf0;
constexpr u8 first_key_type = 0xf7, last_key_type = 0xfd;  // settings of scan code set 3
constexpr std::array<u8, 3> identity{acknowledge, 0xab, 0x83};
constexpr u8 only_scan_code_set = 2;
}  // namespace keyboard

namespace mouse {
constexpr u8 scale_1_1 = 0xe6, scale_2_1 = 0xe7, set_resolution = 0xe8, status_request = 0xe9, stream_mode = 0xea,
             read_data = 0xeb, leave_wrap_mode = 0xec, wrap_mode = 0xee, remote_mode = 0xf0;
constexpr u8 identity = 0x00;
constexpr u8 no_buttons = 0x08;  // first byte of a packet
constexpr u8 default_resolution = 2, default_rate = 100;
}  // namespace mouse

void reply(Ps2Queue& queue, std::initializer_list<u8> bytes) { queue.push({bytes.begin(), bytes.size()}); }

}  // namespace

bool Ps2Queue::push(std::span<const u8> bytes) {
  if (bytes.size() > capacity - count_) return false;
  std::copy(bytes.begin(), bytes.end(), bytes_.begin() + count_);
  count_ = static_cast<u8>(count_ + bytes.size());
  return true;
}

u8 Ps2Queue::pop() {
  CHECK(count_ != 0);
  last_ = bytes_[0];
  --count_;
  std::copy_n(bytes_.begin() + 1, count_, bytes_.begin());
  return last_;
}

void Ps2Queue::state(state::Archive& archive) {
  archive(bytes_);
  archive(count_);
  archive(last_);
  archive.require(count_ <= capacity, "PS/2 queue");
  if (!archive.ok()) count_ = 0;
}

// A command takes the place of whatever was still to be sent.
void Ps2Keyboard::write(u8 byte) {
  queue_.clear();
  if (argument_of_ != 0 && byte < keyboard::set_leds) return write_argument(byte);
  argument_of_ = 0;
  switch (byte) {
    case keyboard::echo: return reply(queue_, {keyboard::echo});
    case identify: queue_.push(keyboard::identity); return;
    case repeat_last: return reply(queue_, {queue_.last()});
    case reset_device: scanning_ = true; return reply(queue_, {acknowledge, self_test_passed});
    case keyboard::set_leds:
    case keyboard::scan_code_set:
    case set_rate: argument_of_ = byte; break;
    case enable:
    case set_defaults_command: scanning_ = true; break;
    case disable: scanning_ = false; break;
    default:
      if (byte < keyboard::first_key_type || byte > keyboard::last_key_type) return reply(queue_, {resend});
  }
  reply(queue_, {acknowledge});
}

void Ps2Keyboard::write_argument(u8 byte) {
  const bool asks = argument_of_ == keyboard::scan_code_set && byte == 0;
  argument_of_ = 0;
  if (asks) return reply(queue_, {acknowledge, keyboard::only_scan_code_set});
  reply(queue_, {acknowledge});
}

void Ps2Keyboard::state(state::Archive& archive) {
  archive.begin("ps2-keyboard", 1);
  queue_.state(archive);
  archive(argument_of_);
  archive(scanning_);
  archive.end();
}

void Ps2Mouse::set_defaults() {
  reporting_ = remote_ = wrap_ = scaled_ = false;
  resolution_ = mouse::default_resolution;
  rate_ = mouse::default_rate;
}

bool Ps2Mouse::write_in_wrap_mode(u8 byte) {
  if (!wrap_ || byte == reset_device || byte == mouse::leave_wrap_mode) return false;
  reply(queue_, {byte});
  return true;
}

void Ps2Mouse::write(u8 byte) {
  queue_.clear();
  if (write_in_wrap_mode(byte)) return;
  if (argument_of_ != 0) {
    (argument_of_ == set_rate ? rate_ : resolution_) = byte;
    argument_of_ = 0;
    return reply(queue_, {acknowledge});
  }
  switch (byte) {
    case reset_device: set_defaults(); return reply(queue_, {acknowledge, self_test_passed, mouse::identity});
    case identify: return reply(queue_, {acknowledge, mouse::identity});
    case repeat_last: return reply(queue_, {queue_.last()});
    case mouse::read_data: return reply(queue_, {acknowledge, mouse::no_buttons, 0, 0});
    case mouse::status_request: {
      const auto status = static_cast<u8>(remote_ << 6 | reporting_ << 5 | scaled_ << 4);
      return reply(queue_, {acknowledge, status, resolution_, rate_});
    }
    case set_rate:
    case mouse::set_resolution: argument_of_ = byte; break;
    case mouse::scale_1_1: scaled_ = false; break;
    case mouse::scale_2_1: scaled_ = true; break;
    case mouse::stream_mode: remote_ = false; break;
    case mouse::remote_mode: remote_ = true; break;
    case mouse::wrap_mode: wrap_ = true; break;
    case mouse::leave_wrap_mode: wrap_ = false; break;
    case enable: reporting_ = true; break;
    case disable: reporting_ = false; break;
    case set_defaults_command: set_defaults(); break;
    default: return reply(queue_, {resend});
  }
  reply(queue_, {acknowledge});
}

void Ps2Mouse::state(state::Archive& archive) {
  archive.begin("ps2-mouse", 1);
  queue_.state(archive);
  archive(argument_of_);
  for (bool* flag : {&reporting_, &remote_, &wrap_, &scaled_}) archive(*flag);
  archive(resolution_);
  archive(rate_);
  archive.end();
}

}  // namespace doppel
