// Programs of a SmallGuest that are written with Xbyak and run under the translator.
#pragma once

#include <xbyak/xbyak.h>

#include <chrono>
#include <functional>
#include <future>
#include <thread>

#include "base/check.h"
#include "engine/translator/translator.h"
#include "support/small_guest.h"

namespace doppel::test {

// Translates what runs a second time.
inline std::unique_ptr<Engine> eager_translator() { return std::move(make_translator({.warm_up = 1}).value()); }

// Code at `address`, which absolute displacements count from.
class Program : public Xbyak::CodeGenerator {
 public:
  explicit Program(const std::function<void(Program&)>& write, u64 address = at::code)
      : Xbyak::CodeGenerator(0x4000), address_(address) {
    write(*this);
    ready();
  }
  void put(SmallGuest& guest) const { put(guest, address_); }
  // Elsewhere than at the linear address that it was written for.
  void put(SmallGuest& guest, u64 physical) const {
    for (std::size_t i = 0; i < getSize(); ++i) guest.write(physical + i, getCode()[i], 1);
  }
  // The address of what is written next.
  u64 here() const { return address_ + getSize(); }
  void pad_to(u64 address) {
    while (here() < address) nop();
  }
  void call_absolute(u64 target) { branch(0xe8, target); }
  void jump_absolute(u64 target) { branch(0xe9, target); }

 private:
  void branch(int opcode, u64 target) {
    db(opcode);
    dd(static_cast<u32>(target - (here() + 4)));
  }

  const u64 address_;
};

// How a guest that goes on for ever ends when its vCPU is kicked, which must not take long.
inline std::string end_of_kicked(SmallGuest& guest) {
  auto ended = std::async(std::launch::async, [&] { return guest.run(unlimited_budget); });
  std::this_thread::sleep_for(std::chrono::milliseconds(50));  // by then it runs translated
  guest.vcpu().kick();
  CHECK(ended.wait_for(std::chrono::seconds(20)) == std::future_status::ready);  // there is no way to end it
  return ended.get();
}

}  // namespace doppel::test
